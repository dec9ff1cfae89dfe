# SPDX-License-Identifier: Apache-2.0
"""Nanoseconds a packet, by BPF_PROG_TEST_RUN, net of a stub that is fed the same packets.

A packet of an established flow runs through the whole XDP program as it is shipped: parsing,
look-up, rewriting, checksums, accounting. Only the transmission itself is missing. New flows run
through the TC program, which opens them; those to the near pool need no route look-up. Packets of
IPVS's services leave as they would: translated, as they came, or in a tunnel.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from bench.frames import ACK, SYN, Frame, frame
from bench.stand import FAR_PORT, NEAR_PORT, RULE_PORTS, VIP, Kind, Stand, stand
from penstock.lab.network import LabError, Network
from penstock.model import Protocol

# What is aimed at, for TCP over IPv4: net ns where a trivial XDP_PASS costs 30.
_TRIVIAL: Final = 30
_AIMS: Final = {1: 110, 1 << 16: 200, 1 << 19: 270}
_IPIP_AIMS: Final = {1: 105, 1 << 16: 200, 1 << 19: 265}
_GUE_MORE: Final = 30  # net ns beyond IPIP's
_SINGLY: Final = 20_000  # packets a run where each has a system call of its own
_SIZES: Final = "1,1024,65536,524288"
_FLOWS_A_RUN: Final = 1 << 17  # opened in one timed run: far fewer than there are source ports
_TRIES: Final = 5
_FORWARDED: Final = {Kind.XDP: "EVENT_FORWARDED_XDP", Kind.TC: "EVENT_FORWARDED_TC"}
_OPENED: Final = "EVENT_FLOW_NEW"


@dataclass(frozen=True, slots=True)
class Case:
    """One row: *flows* established ones in turn, or, with none, a new one each packet."""

    title: str
    kind: Kind
    family: int
    protocol: Protocol
    flows: int
    port: int = FAR_PORT
    method: str = ""  # of IPVS's, a key of RULE_PORTS

    def frame(self, flags: int) -> Frame:
        return frame(VIP[self.family], self.port, self.protocol, flags)

    @property
    def aim(self) -> float | None:
        """How many times a trivial program it may cost at most; None: nothing is aimed at."""
        if self.kind is not Kind.XDP or self.family != 4 or self.protocol is not Protocol.TCP:
            return None
        aims = {"": _AIMS, "-i": _IPIP_AIMS}.get(self.method, {})
        return aims[self.flows] / _TRIVIAL if self.flows in aims else None

    @property
    def lengthens(self) -> bool:
        """Whether the packet gets an outer header."""
        return self.method.startswith("-i")

    @property
    def singly(self) -> bool:
        """Whether every packet needs a buffer of its own.

        The kernel marks an skb that TC has encapsulated, and then refuses it another outer header.
        """
        return self.kind is Kind.TC and self.lengthens


@dataclass(frozen=True, slots=True)
class Result:
    """Nanoseconds of each round; of *line* they are net."""

    trivial: list[int]
    stub: list[int]
    subject: list[int]
    line: list[int]

    @property
    def net(self) -> float:
        return median(a - b for a, b in zip(self.subject, self.stub, strict=True))

    @property
    def lowest(self) -> int:
        return min(self.subject) - min(self.stub)

    @property
    def ratio(self) -> float:
        """Net to trivial."""
        return self.net / max(median(self.trivial), 1)


def cases(sizes: list[int]) -> Iterator[Case]:
    """*sizes*: numbers of established flows, powers of two."""
    tcp, udp = Protocol.TCP, Protocol.UDP
    for family in (4, 6):
        for protocol in (tcp, udp):
            for flows in sizes:
                yield Case(
                    f"{protocol.upper()}, IPv{family}, established",
                    Kind.XDP,
                    family,
                    protocol,
                    flows,
                )
    for flows in sizes:
        yield Case("TCP, IPv4, established", Kind.TC, 4, tcp, flows)
    for kind in Kind:
        for method, port in RULE_PORTS.items():
            for flows in sizes:
                yield Case(f"ipvsadm {method}", kind, 4, tcp, flows, port, method)
    for family in (4, 6):
        name = f"IPv{family}, new flow"
        yield Case(f"SYN, {name}, no route look-up", Kind.TC, family, tcp, 0, NEAR_PORT)
        yield Case(f"SYN, {name}", Kind.TC, family, tcp, 0)
        yield Case(f"UDP, {name}", Kind.TC, family, udp, 0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeat", type=int, default=1_000_000, help="packets a run (1000000)")
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    parser.add_argument(
        "--flows", metavar="N,...", default=_SIZES, help="powers of two (%(default)s)"
    )
    parser.add_argument("--only", metavar="TEXT", default="", help="cases with this in their title")
    parser.add_argument("--max-flows", type=int, default=1 << 20, help="size of the tables")


def run(arguments: argparse.Namespace) -> int:
    sizes = [int(word) for word in arguments.flows.split(",")]
    if any(size < 1 or size & (size - 1) for size in sizes):
        raise LabError("numbers of flows must be powers of two")
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(everywhere)})
    try:
        with (
            tempfile.TemporaryDirectory(prefix="penstock-bench-") as name,
            Network("psb") as network,
            stand(network, Path(name), arguments.max_flows) as made,
        ):
            _print_head()
            results = {}
            for case in cases(sizes):
                if arguments.only in case.title:
                    results[case] = _measure(made, case, arguments.repeat, arguments.rounds)
                    _print(case, results[case])
            _print_gue(results)
    finally:
        os.sched_setaffinity(0, everywhere)
    return 0


def _measure(made: Stand, case: Case, repeat: int, rounds: int) -> Result:
    """Trivial, stub and subject in turn, *rounds* times."""
    result = Result([], [], [], [])
    packet = case.frame(ACK if case.flows else SYN)
    most = _SINGLY if case.singly else repeat if case.flows else _FLOWS_A_RUN
    repeat = min(repeat, most)
    if case.flows:
        made.clear(case.family)
        opened = made.feed(Kind.TC, case.frame(SYN), case.flows, case.flows)
        _expect(case, opened.reasons, _OPENED, case.flows)
    for _ in range(rounds):
        result.trivial.append(made.trivial(packet, repeat))
        if case.lengthens and not case.singly:
            result.stub.append(made.stub_of_longer(case.kind, packet, repeat, case.flows))
        else:
            result.stub.append(made.stub(case.kind, packet, repeat, case.flows, singly=case.singly))
        if case.flows and case.kind is Kind.XDP:
            result.line.append(made.line(packet, repeat, case.flows))
        if case.flows:
            result.subject.append(_established(made, case, packet, repeat))
        else:
            made.clear(case.family)
            new = made.feed(case.kind, packet, repeat)
            _expect(case, new.reasons, _OPENED, repeat)
            result.subject.append(new.nanoseconds)
    return result


def _established(made: Stand, case: Case, packet: Frame, repeat: int) -> int:
    """Nanoseconds of a run in which every packet was forwarded by the program meant.

    Next hops are good for two seconds; a run that outlasted them is made again.
    """
    got: dict[str, int] = {}
    for _ in range(_TRIES):
        made.forget_hops()
        # Each flow's next hop is looked up before a tunnel's outer header is refused.
        made.feed(Kind.TC, case.frame(ACK), case.flows, case.flows)
        timed = made.feed(case.kind, packet, repeat, case.flows, singly=case.singly)
        got = timed.reasons
        if got.get(_FORWARDED[case.kind]) == repeat and len(got) == 1:
            return timed.nanoseconds
        time.sleep(0.1)
    raise LabError(f"{case.title}: {repeat} packets came to {got}")


def _expect(case: Case, got: dict[str, int], reason: str, count: int) -> None:
    if got.get(reason) != count:
        raise LabError(f"{case.title}: {count} packets came to {got}")


def _print_head() -> None:
    print(
        f"{'':<38} {'hook':<4} {'flows':>8} {'XDP_PASS':>8} {'stub':>6} {'with':>6}"
        f" {'net ns':>7} {'lowest':>7} {'line':>5} {'x PASS':>7} {'aim':>6}"
    )


def _print(case: Case, result: Result) -> None:
    aim = "" if case.aim is None else f"{case.aim:>6.1f} {_verdict(result.ratio <= case.aim)}"
    flows = f"{case.flows:,}" if case.flows else "new"
    line = f"{median(result.line):.0f}" if result.line else ""
    print(
        f"{case.title:<38} {case.kind:<4} {flows:>8} {median(result.trivial):>8.0f}"
        f" {median(result.stub):>6.0f} {median(result.subject):>6.0f} {result.net:>7.0f}"
        f" {result.lowest:>7} {line:>5} {result.ratio:>7.2f} {aim}",
        flush=True,
    )


def _print_gue(results: dict[Case, Result]) -> None:
    """What GUE costs beyond IPIP, each outer header with its checksum or without."""
    for case, result in results.items():
        plain = replace(case, title="ipvsadm -i", method="-i", port=RULE_PORTS["-i"])
        if case.method.startswith("-i gue") and case.kind is Kind.XDP and plain in results:
            more = result.net - results[plain].net
            aim = _GUE_MORE * median(result.trivial) / _TRIVIAL
            print(
                f"{case.title}, {case.flows:,} flows: {more:+.0f} ns beyond ipip,"
                f" aim {aim:.0f} ({_verdict(more <= aim)})"
            )


def _verdict(holds: bool) -> str:
    return "holds" if holds else "missed"
