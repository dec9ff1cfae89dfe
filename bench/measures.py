# SPDX-License-Identifier: Apache-2.0
"""What is measured of a contender at work, and with which program."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import client
from bench.contenders import Running
from bench.field import BULK, WEB, Field
from bench.machine import MIB, CpuTime, Memory, others_cpu, proportional_bytes, wait_for_calm
from penstock.lab import programs
from penstock.lab.network import LabError

_CLIENT: Final = str(Path(client.__file__))
_CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how hard."""

    seconds: int = 3  # of each measure; wrk and iperf3 take whole ones
    per_second: float = 500.0  # new connections while latency is measured
    idle: int = 10_000  # connections while memory is measured
    settle: float = 1.5  # seconds: proxies connect to servers after they have answered clients
    calm: float = 10.0  # seconds to wait for a machine without other load, at most


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of one run; ``errors`` are those of the run it comes from."""

    quantity: str  # a key of report.QUANTITIES
    value: float
    errors: int = 0


Measure = Callable[[Field, Running, Options], list[Sample]]


def memory(field: Field, running: Running, options: Options, port: int = WEB) -> list[Sample]:
    """Of idle connections: the balancer's processes, and what the kernel's objects grew by."""
    before = Memory.now()
    process = subprocess.Popen(
        field.client.command(
            *(sys.executable, _CLIENT, "idle", running.address, str(port), str(options.idle))
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches us alone
    )
    with process:
        try:
            opened = _number(process, "open")
            time.sleep(options.settle)
            after = Memory.now()
            own = proportional_bytes(running.pids())
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close() if process.stdin else None
            alive = _number(process, "alive")
        except BaseException:
            process.kill()
            raise
    wait_for_calm(options.calm)  # so many connections take a while to close
    errors = options.idle - min(opened, alive)
    return [
        Sample("idle process", own / MIB, errors),
        Sample("idle kernel", (after.slab - before.slab) / MIB, errors),
    ]


def _number(process: subprocess.Popen[str], name: str) -> int:
    line = process.stdout.readline() if process.stdout else ""
    try:
        return int(json.loads(line)[name])
    except (ValueError, KeyError) as error:
        raise LabError(f"the idle client said {line!r}") from error


def latency(field: Field, running: Running, options: Options) -> list[Sample]:
    """Of a new connection at an even, moderate rate: connect() to the answer's first byte."""
    done = field.client.run(
        *(sys.executable, _CLIENT, "rate", running.address, str(WEB)),
        *(str(options.per_second), str(options.seconds)),
        timeout=options.seconds + 30,
    )
    report = json.loads(done.stdout)
    errors = int(report["errors"])
    return [
        Sample("latency p50", float(report["p50"]), errors),
        Sample("latency p99", float(report["p99"]), errors),
    ]


def bulk(field: Field, running: Running, options: Options) -> list[Sample]:
    """One TCP stream from the client to the server."""
    try:
        bits = programs.iperf(field.client, running.address, BULK, ("-t", str(options.seconds)))
    except (LabError, ValueError):  # iperf3 has no result to print
        return [Sample("bulk", 0.0, 1)]
    return [Sample("bulk", bits / 1e9)]


def _load(field: Field, running: Running, options: Options, *, close: bool) -> list[Sample]:
    others, before = others_cpu(), CpuTime.now()
    load = programs.wrk(
        field.client,
        running.address,
        WEB,
        seconds=options.seconds,
        connections=_CONNECTIONS,
        close=close,
    )
    busy = CpuTime.now().since(before).busy - (others_cpu() - others)
    what = "connection" if close else "request"
    return [
        Sample(f"{what}s", load.rate, load.errors),
        Sample(f"{what} cpu", busy / max(load.requests, 1) * 1e6, load.errors),
    ]


def requests(field: Field, running: Running, options: Options) -> list[Sample]:
    """Requests on connections that are kept, and the machine's CPU time for each."""
    return _load(field, running, options, close=False)


def connections(field: Field, running: Running, options: Options) -> list[Sample]:
    """Requests on a connection each, and the machine's CPU time for each."""
    return _load(field, running, options, close=True)


# In this order: idle memory wants a kernel without leftovers, and connections leave the most.
MEASURES: Final[dict[str, Measure]] = {
    "memory": memory,
    "latency": latency,
    "bulk": bulk,
    "requests": requests,
    "connections": connections,
}
# What they need besides the programs of every field.
PROGRAM_OF: Final = {"bulk": "iperf3", "requests": "wrk", "connections": "wrk"}
