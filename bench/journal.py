# SPDX-License-Identifier: Apache-2.0
"""What logging connections of the kernel engine costs the daemon.

Connections are opened and reset by packets in BPF_PROG_TEST_RUN, as many a second as is asked for;
the datapath tells of each through its ring, and the daemon's own reader decodes, formats and sends
a line (``option tcplog``) for it to a syslog server on loopback, which another process is. Counted
is the reader's processor time.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import time
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from bench.frames import SYN, frame
from bench.stand import NEAR_PORT, VIP, Kind, Stand, stand
from penstock.engine.api import PutService
from penstock.engine.kernel.journal_reader import JournalReader
from penstock.lab.network import LabError, Network
from penstock.logs.flows import FlowLog
from penstock.logs.format import TCP_FORMAT, Reading, read_format
from penstock.logs.model import Facility, Journal, SessionLog, SyslogServer, Target
from penstock.logs.process import means_of
from penstock.logs.sinks import Sinks
from penstock.model import Configuration, Pool, Protocol, Service
from penstock.rules.patterns import Sources
from penstock.rules.vocabulary import Checkpoint

_RST: Final = 0x04
_SERVICE: Final = "near-tcp4"
_SLOT: Final = 0.05  # seconds, between two looks of the reader
_AIM: Final = 0.5  # of a processor
_RATES: Final = "5000,20000"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one rate."""

    fed: int
    lines: int
    seconds: float  # the reader's processor time
    slots: int
    skipped: int
    lost: int
    one_in: int

    @property
    def a_line(self) -> float:
        """Microseconds."""
        return self.seconds / self.lines * 1e6 if self.lines else 0.0

    @property
    def share(self) -> float:
        """Of a processor, at the rate that was asked for."""
        return self.seconds / (self.slots * _SLOT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rates", default=_RATES, help=f"connections a second ({_RATES})")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each rate (3)")


def run(arguments: argparse.Namespace) -> int:
    rates = [int(rate) for rate in arguments.rates.split(",")]
    slots = max(1, round(arguments.seconds / _SLOT))
    holds = True
    with (
        Network("bench") as network,
        tempfile.TemporaryDirectory() as directory,
        stand(network, Path(directory), 1 << 17) as made,
        _syslog_server() as port,
    ):
        print("connections/s      lines    us a line    share of a processor")
        for rate in rates:
            outcome = _measure(made, rate, slots, port)
            _print(rate, outcome)
            holds = holds and outcome.share <= _AIM
    return 0 if holds else 1


def _print(rate: int, outcome: Outcome) -> None:
    print(
        f"{rate:13,} {outcome.lines:10,} {outcome.a_line:12.1f} {outcome.share:23.2f}"
        + (f"    1 in {outcome.one_in} is logged" if outcome.one_in > 1 else "")
        + (f"    {outcome.skipped:,} skipped" if outcome.skipped else "")
        + (f"    {outcome.lost:,} LOST" if outcome.lost else "")
    )


def _measure(made: Stand, rate: int, slots: int, port: int) -> Outcome:
    target = Target(SyslogServer(IPv4Address("127.0.0.1"), port), Facility.LOCAL0)
    text = read_format(TCP_FORMAT, Reading((Checkpoint.LOG,), Sources()))
    log = SessionLog(Journal((target,)), format=text)
    made.engine.apply(PutService(replace(made.service(_SERVICE), log=log)))
    sinks = Sinks(print)
    flows = FlowLog(made.engine.journal, means_of(sinks), time.monotonic_ns)
    service = Service(_SERVICE, Protocol.TCP, (), _SERVICE, sessions=log)
    flows.configure(Configuration((service,), (Pool(_SERVICE, Protocol.TCP, ()),)))
    reader = JournalReader(made.engine.journal, flows, time.thread_time)
    each = round(rate * _SLOT)
    opens = frame(VIP[4], NEAR_PORT, Protocol.TCP, SYN)
    resets = frame(VIP[4], NEAR_PORT, Protocol.TCP, _RST)
    spent, fed = 0.0, 0
    before = flows.written
    counts = {"EVENT_LOG_SKIPPED": 0, "EVENT_LOG_LOST": 0}
    for _ in range(slots):
        made.clear(4)
        opened = made.feed(Kind.TC, opens, each).reasons.get("EVENT_FLOW_NEW", 0)
        ended = made.feed(Kind.TC, resets, each).reasons
        fed += opened
        for name in counts:
            counts[name] += ended.get(name, 0)
        start = time.thread_time()
        reader.run_once(time.monotonic())
        spent += time.thread_time() - start
    sinks.close()
    lines = flows.written - before
    if not lines:
        raise LabError("no line was written")
    skipped, lost = counts.values()
    return Outcome(fed, lines, spent, slots, skipped, lost, reader.one_in)


class _syslog_server:  # noqa: N801  # used as a function
    """A process that takes datagrams on loopback, until the end of the block: its port."""

    def __enter__(self) -> int:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
        self._pid = os.fork()
        if not self._pid:
            while sock.recv(65536) != b"end":
                pass
            os._exit(0)
        self._port = port
        sock.close()
        return port

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"end", ("127.0.0.1", self._port))
        os.waitpid(self._pid, 0)
