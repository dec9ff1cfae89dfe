# SPDX-License-Identifier: Apache-2.0
"""Random lives of connections, against a model that knows only what a user would."""

from __future__ import annotations

from dataclasses import dataclass, field

import bpf_invariants
import pytest
from bpf_cases import NEW, PORT, REAL_PORT, one_outcome
from bpf_lab import CLIENTS, REALS, VIP, Hook, Lab, Result
from bpf_packets import decode, tcp, udp
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from penstock.model import Protocol

pytestmark = pytest.mark.root

# Time goes in leaps far longer than a run takes, so that its own ticks do not matter.
LEAP = 1000  # past a finished flow's 60 s
CONNECT, HALF, IDLE = 1500, 2500, 3500  # ticks: outlast one, two and three leaps
MAXCONN = 5
PORTS = st.integers(20000, 20003)
CLIENT = st.integers(0, 1)
PROTOS = st.sampled_from(["tcp", "udp"])
HOOK: st.SearchStrategy[Hook] = st.sampled_from(["tc", "xdp"])
REAL = st.integers(0, 1)


@dataclass
class Conversation:
    """What a user knows of a connection."""

    real: tuple[str, int]
    snat: tuple[str, int]
    replied: bool = False
    fins: set[str] = field(default_factory=set)
    reset: bool = False
    silence: int = 0  # leaps

    @property
    def finished(self) -> bool:
        return self.reset or len(self.fins) == 2


class Life(RuleBasedStateMachine):
    lab: Lab
    family: int

    @initialize()
    def start(self) -> None:
        self.lab.reset()
        self.open: dict[tuple[str, int, int], Conversation] = {}  # proto, client, port
        self.up = [True, True]
        self.reals = {}
        for proto, protocol in (("tcp", Protocol.TCP), ("udp", Protocol.UDP)):
            addresses = REALS[self.family][:2]
            self.reals[proto] = [
                self.lab.real(address, REAL_PORT, protocol=protocol) for address in addresses
            ]
            self.lab.service(
                VIP[self.family],
                PORT,
                self.lab.pool(self.reals[proto]),
                protocol=protocol,
                maxconn=MAXCONN,
                connect=CONNECT,
                idle=IDLE,
                half=HALF,
            )

    def deliver(self, frame: bytes, hook: Hook, at: str) -> Result:
        """As an interface does: XDP first, where it is there, and what it leaves goes to TC."""
        if hook == "xdp":
            got = self.lab.send(frame, "xdp", at=at)
            if one_outcome(got.reasons) != "PASS_TO_TC":
                return got
            assert got.frame == frame
        return self.lab.send(frame, "tc", at=at)

    def is_up(self, address: str) -> bool:
        return self.up[REALS[self.family].index(address)]

    def live(self, proto: str) -> list[Conversation]:
        return [
            one for (kind, _, _), one in self.open.items() if kind == proto and not one.finished
        ]

    def opening(self, proto: str, client: int, port: int, hook: Hook) -> None:
        """A packet that has no flow and may open one."""
        ends = (CLIENTS[self.family][client], port), (VIP[self.family], PORT)
        sent = tcp(*ends, "S") if proto == "tcp" else udp(*ends, b"?")
        got = self.deliver(sent, hook, "front")
        outcome = one_outcome(got.reasons)
        if len(self.live(proto)) >= MAXCONN:
            assert outcome == "DROP_SERVICE_MAXCONN"
        elif not any(self.up):
            assert outcome == ("PASS_REFUSED" if proto == "tcp" else "DROP_UDP_REFUSED")
        else:
            assert got.reasons.get(NEW) == 1
            seen = decode(got.frame)
            assert self.is_up(seen.target[0])
            self.open[proto, client, port] = Conversation(seen.target, seen.source)

    @rule(port=PORTS, client=CLIENT, hook=HOOK)
    def syn(self, port: int, client: int, hook: Hook) -> None:
        known = self.open.get(("tcp", client, port))
        moved = known and not known.replied and not self.is_up(known.real[0])
        if known is None or known.finished or moved:
            self.open.pop(("tcp", client, port), None)
            self.opening("tcp", client, port, hook)
        else:
            self.client_speaks("tcp", client, port, "S", hook)

    @rule(port=PORTS, client=CLIENT, hook=HOOK, flags=st.sampled_from(["A", "PA", "FA", "RA"]))
    def segment(self, port: int, client: int, hook: Hook, flags: str) -> None:
        if ("tcp", client, port) in self.open:
            self.client_speaks("tcp", client, port, flags, hook)
            return
        ends = (CLIENTS[self.family][client], port), (VIP[self.family], PORT)
        sent = tcp(*ends, flags)
        got = self.deliver(sent, hook, "front")
        assert one_outcome(got.reasons) == "PASS_NO_FLOW"
        assert got.frame == sent

    @rule(port=PORTS, client=CLIENT, hook=HOOK)
    def datagram(self, port: int, client: int, hook: Hook) -> None:
        if ("udp", client, port) in self.open:
            self.client_speaks("udp", client, port, "", hook)
        else:
            self.opening("udp", client, port, hook)

    def client_speaks(self, proto: str, client: int, port: int, flags: str, hook: Hook) -> None:
        one = self.open[proto, client, port]
        ends = (CLIENTS[self.family][client], port), (VIP[self.family], PORT)
        sent = tcp(*ends, flags) if proto == "tcp" else udp(*ends, b"more")
        got = self.deliver(sent, hook, "front")
        assert got.forwarded
        seen = decode(got.frame)
        assert (seen.source, seen.target) == (one.snat, one.real)
        self.note(one, "client", flags)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), hook=HOOK, flags=st.sampled_from(["SA", "A", "PA", "FA", "RA"]))
    def real_speaks(self, data: st.DataObject, hook: Hook, flags: str) -> None:
        proto, client, port = data.draw(st.sampled_from(sorted(self.open)))
        one = self.open[proto, client, port]
        ends = one.real, one.snat
        sent = tcp(*ends, flags, at="back") if proto == "tcp" else udp(*ends, b"!", at="back")
        got = self.deliver(sent, hook, "back")
        assert got.forwarded
        seen = decode(got.frame)
        assert seen.source == (VIP[self.family], PORT)
        assert seen.target == (CLIENTS[self.family][client], port)
        one.replied = True
        self.note(one, "real", flags if proto == "tcp" else "")

    def note(self, one: Conversation, side: str, flags: str) -> None:
        one.silence = 0
        if "F" in flags:
            one.fins.add(side)
        if "R" in flags:
            one.reset = True

    @rule(real=REAL, up=st.booleans())
    def health(self, real: int, up: bool) -> None:  # hypothesis gives it by name
        self.up[real] = up
        for reals in self.reals.values():
            self.lab.set_real(reals[real], "available", int(up))

    @rule()
    def time_passes(self) -> None:
        self.lab.age(LEAP)
        for one in self.open.values():
            one.silence += 1

    def leaps_allowed(self, proto: str, one: Conversation) -> int:
        if one.finished:
            return 0
        if proto == "udp":
            return IDLE // LEAP
        if not one.replied:
            return CONNECT // LEAP
        return (HALF if one.fins else IDLE) // LEAP

    @rule()
    def sweep(self) -> None:
        gone = [
            key for key, one in self.open.items() if one.silence > self.leaps_allowed(key[0], one)
        ]
        assert self.lab.sweep() == len(gone)
        for key in gone:
            del self.open[key]

    @invariant()
    def holds(self) -> None:
        bpf_invariants.check(self.lab)
        for proto, reals in self.reals.items():
            live = self.live(proto)
            for number, address in zip(reals, REALS[self.family], strict=False):
                assert self.lab.real_conns(number) == sum(one.real[0] == address for one in live), (
                    f"{proto} {address}"
                )
        assert self.lab.control("conns") == len(self.live("tcp")) + len(self.live("udp"))
        assert len(self.lab.forward_flows()) == len(self.open)


@pytest.mark.parametrize("family", [4, 6])
def test_any_life_is_counted_right(lab: Lab, family: int) -> None:
    machine = type("Life", (Life,), {"lab": lab, "family": family})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
