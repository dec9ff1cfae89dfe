# SPDX-License-Identifier: Apache-2.0
"""Source ports towards a real that holds finished connections in TIME_WAIT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from bpf_invariants import check
from bpf_lab import CLIENTS, PARTED, REALS, VIP, Hook, Lab, Result, ticks
from bpf_packets import TCP, decode, frame, ip

pytestmark = pytest.mark.root
FAMILIES = pytest.mark.parametrize("family", [4, 6])
HOOKS = pytest.mark.parametrize("hook", ["tc", "xdp"])
PORT = 40000
EARLY = "EVENT_PORT_REUSED_EARLY"
PAST_TIME_WAIT = ticks(61)
SILENT = ticks(3)


@dataclass
class Clock:
    """What a side's next segment says: its sequence number and, when it has one, its timestamp."""

    seq: int
    stamp: int | None = None


class Connection:
    """One client port to one VIP by way of a single source port."""

    def __init__(self, lab: Lab, family: int, client: int = 0, port: int = 40000) -> None:
        self.lab, self.family = lab, family
        self.client = (CLIENTS[family][client], port)
        self.vip = (VIP[family], 80)
        self.real = self.snat = ("", 0)

    def client_sends(
        self, flags: str, clock: Clock, ack: int = 0, payload: bytes = b"", hook: Hook = "tc"
    ) -> Result:
        segment = _segment(self.client, self.vip, flags, clock, ack, payload)
        got = self.lab.send(frame(segment, "front"), hook)
        if got.forwarded:
            seen = decode(got.frame)
            self.real, self.snat = seen.target, seen.source
        return got

    def real_sends(self, flags: str, clock: Clock, ack: int = 0, hook: Hook = "tc") -> Result:
        segment = _segment(self.real, self.snat, flags, clock, ack, b"")
        return self.lab.send(frame(segment, "back"), hook, at="back")

    def open(self, clock: Clock) -> Connection:
        got = self.client_sends("S", clock)
        assert got.reasons.get("EVENT_FLOW_NEW") == 1, got.reasons
        assert EARLY not in got.reasons
        self.real_sends("SA", Clock(7000), clock.seq + 1)
        self.client_sends("A", clock, 7001)
        self.real_sends("A", Clock(7001), clock.seq + 1)
        return self

    def close(self, order: str, clock: Clock, hook: Hook = "tc", payload: bytes = b"") -> None:
        """*order*: real, client, or both (two FINs that cross). *clock*: of the client's FIN."""
        after = clock.seq + len(payload) + 1
        if order == "real":
            assert self.real_sends("FA", Clock(7001), clock.seq, hook).forwarded
            got = self.client_sends("FA", clock, 7002, payload, hook)
        else:
            assert self.client_sends("FA", clock, 7001, payload, hook).forwarded
            acked = after if order == "client" else clock.seq
            got = self.real_sends("FA", Clock(7001), acked, hook)
        assert got.reasons.get("EVENT_FLOW_CLOSED") == 1, got.reasons


def _segment(source: tuple[str, int], target: tuple[str, int], flags: str, clock: Clock, ack: int,
             payload: bytes):  # type: ignore[no-untyped-def]  # fmt: skip
    options: Sequence[tuple[str, object]] = ()
    if clock.stamp is not None:
        options = [("NOP", None), ("NOP", None), ("Timestamp", (clock.stamp, 0))]
        if "S" in flags:
            options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (clock.stamp, 0)),
                       ("NOP", None), ("WScale", 7)]  # fmt: skip
    tcp = TCP(sport=source[1], dport=target[1], flags=flags, seq=clock.seq, ack=ack)
    tcp.options = list(options)
    return ip(source[0], target[0]) / tcp / payload


@pytest.fixture
def one_port(lab: Lab) -> Lab:
    """A single source port: whoever comes next must take it over or go without."""
    lab.set_control("snat_first", PORT)
    lab.set_control("snat_last", PORT)
    lab.set_port_usable(PORT, True)
    return lab


def _service(lab: Lab, family: int, reals: int = 1) -> None:
    pool = lab.pool([lab.real(REALS[family][n], 80) for n in range(reals)])
    lab.service(VIP[family], 80, pool)


NEWER, OLDER = Clock(50, 9_000_000), Clock(50, 5_000_000)
CASES = {
    # name: who closes, what the FIN said, what the next SYN says, whether the real would take it
    "the client waits": ("client", Clock(900, 7_000_000), OLDER, True),
    "newer timestamp": ("real", Clock(900, 7_000_000), NEWER, True),
    "older timestamp": ("real", Clock(900, 7_000_000), OLDER, False),
    "timestamp too near": ("real", Clock(900, 7_000_000), Clock(50, 7_000_900), False),
    "timestamp wrapped": ("real", Clock(900, 0xFFFF_FFF0), Clock(50, 5000), True),
    "timestamp lost": ("real", Clock(900, 7_000_000), Clock(2000), False),
    "higher sequence number": ("real", Clock(900), Clock(2000), True),
    "same sequence number": ("real", Clock(900), Clock(901), False),
    "next sequence number": ("real", Clock(900), Clock(902), True),
    "lower sequence number": ("real", Clock(900), Clock(800), False),
    "sequence number wrapped": ("real", Clock(0xFFFF_FF00), Clock(100), True),
    "sequence number although newly stamped": ("real", Clock(900), Clock(800, 9), False),
    "both close, newer": ("both", Clock(900, 7_000_000), NEWER, True),
    "both close, older": ("both", Clock(900, 7_000_000), OLDER, False),
}


@FAMILIES
@HOOKS
@pytest.mark.parametrize("case", CASES)
def test_a_port_comes_back_when_the_real_would_take_it(
    one_port: Lab, family: int, hook: Hook, case: str
) -> None:
    order, fin, syn, takes = CASES[case]
    _service(one_port, family)
    first = Connection(one_port, family).open(Clock(fin.seq - 1, fin.stamp))
    first.close(order, fin, hook)
    one_port.age(SILENT)
    got = Connection(one_port, family, client=1).client_sends("S", syn)
    assert got.reasons.get("EVENT_FLOW_NEW") == 1, got.reasons
    assert (EARLY not in got.reasons) == takes, got.reasons
    check(one_port)


@FAMILIES
def test_payload_of_the_fin_counts(one_port: Lab, family: int) -> None:
    _service(one_port, family)
    Connection(one_port, family).open(Clock(899)).close("real", Clock(900), "tc", b"x" * 100)
    one_port.age(SILENT)
    got = Connection(one_port, family, client=1).client_sends("S", Clock(1001))
    assert got.reasons.get(EARLY) == 1


@FAMILIES
def test_a_reset_connection_leaves_no_time_wait(one_port: Lab, family: int) -> None:
    _service(one_port, family)
    first = Connection(one_port, family).open(Clock(100, 7_000_000))
    first.client_sends("RA", Clock(101, 7_000_001))
    one_port.age(SILENT)
    got = Connection(one_port, family, client=1).client_sends("S", OLDER)
    assert EARLY not in got.reasons


@FAMILIES
def test_late_packets_are_still_waited_for(one_port: Lab, family: int) -> None:
    """Two seconds at least before another client gets the port, whatever its clock says."""
    _service(one_port, family)
    Connection(one_port, family).open(Clock(899, 7_000_000)).close("real", Clock(900, 7_000_000))
    other = Connection(one_port, family, client=1)
    assert other.client_sends("S", NEWER).reasons == {"DROP_NO_PORT": 1}
    assert one_port.control("conns") == 0
    check(one_port)


@FAMILIES
def test_the_same_client_and_port_come_back_at_once(one_port: Lab, family: int) -> None:
    _service(one_port, family)
    Connection(one_port, family).open(Clock(899, 7_000_000)).close("real", Clock(900, 7_000_000))
    got = Connection(one_port, family).client_sends("S", OLDER)
    assert got.reasons.get("EVENT_FLOW_NEW") == 1
    assert EARLY not in got.reasons


@FAMILIES
@HOOKS
def test_a_port_is_remembered_when_its_client_went_to_another_real(
    one_port: Lab, family: int, hook: Hook
) -> None:
    _service(one_port, family, reals=2)
    first = Connection(one_port, family).open(Clock(899, 7_000_000))
    first.close("real", Clock(900, 7_000_000))
    again = Connection(one_port, family).open(Clock(2000, 7_100_000))
    assert again.real != first.real
    parted = [flow for flow in one_port.live() if flow.ctl & PARTED]
    assert len(parted) == 1
    check(one_port)
    late = first.real_sends("FA", Clock(7001), 901, hook)
    assert not late.forwarded, "its client has gone on to another connection"
    assert late.reasons == {"DROP_PARTED" if hook == "tc" else "PASS_TO_TC": 1}
    one_port.age(SILENT, *parted)
    got = Connection(one_port, family, client=1).client_sends("S", OLDER)
    assert got.reasons.get(EARLY) == 1, "the first real is still in TIME_WAIT with that port"
    check(one_port)


@FAMILIES
def test_the_memory_of_a_port_ends_with_time_wait(one_port: Lab, family: int) -> None:
    _service(one_port, family, reals=2)
    Connection(one_port, family).open(Clock(899, 7_000_000)).close("real", Clock(900, 7_000_000))
    Connection(one_port, family).open(Clock(2000, 7_100_000))
    (parted,) = [flow for flow in one_port.live() if flow.ctl & PARTED]
    one_port.age(PAST_TIME_WAIT - 2 * ticks(5), parted)
    one_port.sweep()
    assert any(flow.ctl & PARTED for flow in one_port.live())
    one_port.age(2 * ticks(5), parted)
    one_port.sweep()
    assert not any(flow.ctl & PARTED for flow in one_port.live())
    assert one_port.control("flows") == 1
    check(one_port)
