# SPDX-License-Identifier: Apache-2.0
"""The proxy engine beside HAProxy: new connections, requests, bulk, memory, two workers.

All of them run at once, each on ports of its own, and are loaded in turn; who is not asked does
nothing. One worker meets ``nbthread 1``. Times are of the balancer's own processes, so that what
clients and servers cost is in none of them; rates depend on all who share the machine's cores.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import bench
from bench import measures
from bench.contenders import Running
from bench.field import BULK, WEB, Field, Links, build
from bench.machine import MIB, process_cpu, proportional_bytes, with_descendants
from bench.measures import Options, Sample
from penstock.lab import programs
from penstock.lab.network import LabError, Network, until
from penstock.lab.rig import bracketed

_CONFIGURATION: Final = """\
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    {option}
listen web
    bind {vip}:{web}
    balance roundrobin
    server r1 {first}:{to_web}
    server r2 {second}:{to_web}
listen bulk
    bind {vip}:{bulk}
    server r1 {first}:{to_bulk}
"""
_CONNECTIONS: Final = 64  # wrk's
_FIRST_PORT: Final = 8000
_SPARE_DESCRIPTORS: Final = 100
_PENSTOCK, _TWO, _HAPROXY, _SPLICE = "penstock", "penstock-2", "haproxy", "haproxy-splice"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What makes a contender; *command* with ``{file}`` for its configuration."""

    number: int
    name: str
    command: tuple[str, ...]
    measured: tuple[str, ...]
    option: str = ""


@dataclass(frozen=True, slots=True)
class Contender:
    """A balancer at work: services ``web`` and ``bulk`` on ports of its own."""

    name: str
    process: int
    web: int
    bulk: int
    measured: tuple[str, ...]

    def pids(self) -> list[int]:
        return with_descendants(self.process)

    def cpu(self) -> list[float]:
        """Seconds of each of its processes so far."""
        return [process_cpu(pid) for pid in self.pids()]


@dataclass(frozen=True, slots=True)
class Aim:
    """*mine* over *theirs*, each of a contender and a quantity; medians of rounds' ratios."""

    title: str
    mine: tuple[str, str]
    theirs: tuple[str, str]
    least: float | None = None
    most: float | None = None

    def verdict(self, ratio: float) -> str:
        """Whether it holds; empty where nothing is aimed at."""
        if self.least is not None:
            return f"aim >= {self.least:g} ({'holds' if ratio >= self.least else 'missed'})"
        if self.most is not None:
            return f"aim <= {self.most:g} ({'holds' if ratio <= self.most else 'missed'})"
        return ""


AIMS: Final = (
    Aim("new connections/s", (_PENSTOCK, "connections/s"), (_HAPROXY, "connections/s"), 0.95),
    Aim("CPU per connection", (_PENSTOCK, "us a connection"), (_HAPROXY, "us a connection")),
    Aim("requests/s", (_PENSTOCK, "requests/s"), (_HAPROXY, "requests/s"), 0.95),
    Aim("CPU per request", (_PENSTOCK, "us a request"), (_HAPROXY, "us a request")),
    Aim("bulk", (_PENSTOCK, "Gbit/s"), (_HAPROXY, "Gbit/s"), 1.2),
    Aim("bulk, CPU", (_PENSTOCK, "s a GB"), (_HAPROXY, "s a GB")),
    Aim("bulk, HAProxy with splice-auto", (_PENSTOCK, "Gbit/s"), (_SPLICE, "Gbit/s")),
    Aim("the same, CPU", (_PENSTOCK, "s a GB"), (_SPLICE, "s a GB")),
    Aim("idle connections, memory", (_PENSTOCK, "idle MiB"), (_HAPROXY, "idle MiB"), most=1.5),
    Aim("two workers, connections/s", (_TWO, "connections/s"), (_PENSTOCK, "connections/s")),
    Aim("two workers, what they can do", (_TWO, "capacity/s"), (_PENSTOCK, "capacity/s"), 1.8),
)


@dataclass(slots=True)
class Figures:
    """Every round's, by contender and quantity."""

    all: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    errors: int = 0

    def add(self, contender: str, quantity: str, value: float) -> None:
        self.all.setdefault((contender, quantity), []).append(value)

    def ratio(self, aim: Aim) -> float | None:
        mine, theirs = self.all.get(aim.mine), self.all.get(aim.theirs)
        if not mine or not theirs:
            return None
        return (
            median(a / b for a, b in zip(mine, theirs, strict=True) if b) if all(theirs) else None
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=4, help="default: 4")
    parser.add_argument("--seconds", type=int, default=2, help="of each measure (2)")
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections (10000)")
    parser.add_argument(
        "--measures",
        metavar="NAME,...",
        default=",".join(_MEASURES),
        help="%(default)s",
    )


def run(arguments: argparse.Namespace) -> int:
    """1 when an aim was missed or an error counted."""
    names = arguments.measures.split(",")
    for name in names:
        if name not in _MEASURES:
            raise LabError(f"there is no '{name}': {', '.join(_MEASURES)}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idle = min(arguments.idle, (hard - _SPARE_DESCRIPTORS) // 2)  # two sockets each
    if idle < arguments.idle:
        print(f"{idle} idle connections instead of {arguments.idle}: ulimit -Hn allows no more")
    options = Options(seconds=arguments.seconds, idle=idle, calm=0.0)
    figures = Figures()
    with (
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as directory,
        Network("psb") as network,
    ):
        ground = build(network, Path(directory), 4, Links.OFFLOAD, bulk=True)
        # In everybody's favour: each connection takes a port towards a server, and all contenders
        # share them. Without this HAProxy is slowed down to hundreds a second once it comes to
        # those that the servers still hold in TIME_WAIT.
        ground.middle.sysctl("net/ipv4/ip_local_port_range", "1024 65535")
        for namespace in (ground.client, ground.middle, ground.servers):
            namespace.sysctl("net/ipv4/tcp_max_tw_buckets", "0")
        contenders = _start(ground)
        if "memory" in names:
            _measure_memory(ground, contenders, options, figures)
        for turn in range(arguments.rounds):
            for measure in names:
                order = contenders[turn % len(contenders) :] + contenders[: turn % len(contenders)]
                for one in order:
                    if measure in one.measured:
                        _MEASURES[measure](ground, one, options, figures)
            print(f"round {turn + 1} of {arguments.rounds} done", file=sys.stderr, flush=True)
    return _report(figures)


def _start(ground: Field) -> list[Contender]:
    program = str(Path(bench.__file__).parent / "proxied.py")
    every = ("connections", "requests", "bulk")
    one, two = (sys.executable, program, "{file}", "1"), (sys.executable, program, "{file}", "2")
    haproxy = ("haproxy", "-db", "-f", "{file}")
    return [
        _launch(ground, Recipe(0, _PENSTOCK, one, every)),
        _launch(ground, Recipe(1, _HAPROXY, haproxy, every)),
        _launch(ground, Recipe(2, _TWO, two, ("connections",))),
        _launch(ground, Recipe(3, _SPLICE, haproxy, ("bulk",), "option splice-auto")),
    ]


def _launch(ground: Field, recipe: Recipe) -> Contender:
    web, name = _FIRST_PORT + 10 * recipe.number, recipe.name
    file = ground.directory / f"{name}.cfg"
    file.write_text(
        _CONFIGURATION.format(
            option=recipe.option,
            vip=bracketed(ground.vip),
            first=bracketed(ground.reals[0]),
            second=bracketed(ground.reals[1]),
            web=web,
            bulk=web + 1,
            to_web=WEB,
            to_bulk=BULK,
        )
    )
    command = [word.format(file=file) for word in recipe.command]
    log = ground.directory / f"{name}.log"
    with log.open("wb") as output:
        process = ground.middle.start(*command, output=output)
    until(f"{name} to listen", lambda: ground.middle.listens(web) or process.poll() is not None)
    if process.poll() is not None:
        raise LabError(f"{name} ended: {log.read_text(errors='replace').strip()}")
    return Contender(name, process.pid, web, web + 1, recipe.measured)


def _connections(ground: Field, one: Contender, options: Options, figures: Figures) -> None:
    load, cpu = _wrk(ground, one, options, close=True)
    figures.errors += load.errors
    figures.add(one.name, "connections/s", load.rate)
    figures.add(one.name, "us a connection", sum(cpu) / max(load.requests, 1) * 1e6)
    # With a core for each, the busiest process is the first that cannot do more.
    figures.add(one.name, "capacity/s", load.requests / max(*cpu, 1e-9))


def _requests(ground: Field, one: Contender, options: Options, figures: Figures) -> None:
    load, cpu = _wrk(ground, one, options, close=False)
    figures.errors += load.errors
    figures.add(one.name, "requests/s", load.rate)
    figures.add(one.name, "us a request", sum(cpu) / max(load.requests, 1) * 1e6)


def _wrk(
    ground: Field, one: Contender, options: Options, *, close: bool
) -> tuple[programs.Load, list[float]]:
    before = one.cpu()
    load = programs.wrk(
        ground.client,
        ground.vip,
        one.web,
        seconds=options.seconds,
        connections=_CONNECTIONS,
        close=close,
    )
    return load, [b - a for a, b in zip(before, one.cpu(), strict=True)]


def _bulk(ground: Field, one: Contender, options: Options, figures: Figures) -> None:
    before = sum(one.cpu())
    bits = programs.iperf(ground.client, ground.vip, one.bulk, ("-t", str(options.seconds)))
    figures.add(one.name, "Gbit/s", bits / 1e9)
    gigabytes = bits * options.seconds / 8e9
    figures.add(one.name, "s a GB", (sum(one.cpu()) - before) / max(gigabytes, 1e-9))


def _memory(ground: Field, one: Contender, options: Options, figures: Figures) -> None:
    """Measured once, before the rounds: see ``_measure_memory()``."""


def _measure_memory(
    ground: Field, contenders: list[Contender], options: Options, figures: Figures
) -> None:
    """What processes and the kernel's slabs grow by, beyond what both ends cost alone."""
    direct = measures.memory(ground, Running(ground.reals[0], None), options)
    kernel = _value(direct, "idle kernel")
    for one in contenders:
        if one.name not in (_PENSTOCK, _HAPROXY):
            continue
        running = Running(ground.vip, one.process)
        rest = _resident(one)
        grown = measures.memory(ground, running, options, one.web)
        process = _value(grown, "idle process") - rest
        beyond = _value(grown, "idle kernel") - kernel
        figures.errors += max(sample.errors for sample in grown)
        figures.add(one.name, "at rest MiB", rest)
        figures.add(one.name, "idle, process MiB", process)
        figures.add(one.name, "idle, kernel MiB", beyond)
        figures.add(one.name, "idle MiB", process + beyond)


def _resident(one: Contender) -> float:
    return proportional_bytes(one.pids()) / MIB


def _value(samples: list[Sample], quantity: str) -> float:
    return next(one.value for one in samples if one.quantity == quantity)


_MEASURES: Final[dict[str, Callable[[Field, Contender, Options, Figures], None]]] = {
    "memory": _memory,
    "connections": _connections,
    "requests": _requests,
    "bulk": _bulk,
}


def _report(figures: Figures) -> int:
    for (contender, quantity), values in sorted(figures.all.items(), key=lambda item: item[0][1]):
        spread = "" if len(values) == 1 else f"  ({min(values):,.2f} to {max(values):,.2f})"
        print(f"{quantity:<20} {contender:<15} {median(values):>12,.2f}{spread}")
    print(f"errors: {figures.errors}")
    missed = figures.errors > 0
    for aim in AIMS:
        ratio = figures.ratio(aim)
        if ratio is not None:
            verdict = aim.verdict(ratio)
            missed = missed or verdict.endswith("(missed)")
            print(
                f"{aim.title:<34} {aim.mine[0]} / {aim.theirs[0]}: {ratio:.2f}  {verdict}".rstrip()
            )
    return int(missed)
