# SPDX-License-Identifier: Apache-2.0
"""penstock and its peers side by side: A B C, B C A, …, each on a network of its own."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.contenders import CONTENDERS, DIRECT, HAPROXY, Contender
from bench.field import Links, build
from bench.machine import MIB, Memory, wait_for_calm
from bench.measures import MEASURES, PROGRAM_OF, Options, Sample
from bench.report import Record, as_json, lines, rows
from penstock.lab.network import LabError, Network

_QUICK: Final = Options(seconds=1, per_second=200.0, idle=200, settle=0.3, calm=0.0)
_SPARE_DESCRIPTORS: Final = 400


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be run."""

    contenders: tuple[Contender, ...]
    measures: tuple[str, ...]
    links: tuple[Links, ...]
    family: int
    rounds: int
    threads: int
    options: Options

    def rounds_of(self) -> list[tuple[int, Links, Contender]]:
        """Who runs when. The order moves on by one each round, so that no place is anybody's."""
        order = []
        for number in range(self.rounds):
            for links in self.links:
                those = [one for one in self.contenders if links in one.links]
                turn = number % max(1, len(those))
                order += [(number, links, one) for one in those[turn:] + those[:turn]]
        return order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ",".join(one.name for one in CONTENDERS)
    parser.add_argument("--quick", action="store_true", help="one short round: does it work?")
    parser.add_argument("--only", metavar="NAME,...", default=names, help=f"of {names}")
    parser.add_argument(
        "--measures", metavar="NAME,...", default=",".join(MEASURES), help="default: %(default)s"
    )
    parser.add_argument(
        "--links",
        metavar="NAME,...",
        default="offload,plain",
        help="offload: 64 KiB packets, TC only; plain: as XDP needs them (default: both)",
    )
    parser.add_argument("--family", type=int, choices=(4, 6), default=4, help="of addresses")
    parser.add_argument("--rounds", type=int, help="default: 5")
    parser.add_argument("--seconds", type=int, help="of each measure (default: 3)")
    parser.add_argument("--rate", type=float, help="new connections a second for latency (500)")
    parser.add_argument("--idle", type=int, help="idle connections (10000)")
    parser.add_argument("--threads", type=int, default=1, help="of HAProxy and nginx (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")


def plan(arguments: argparse.Namespace) -> Plan:
    """The plan that the command line asks for. Raises LabError for names nobody has."""
    options = _QUICK if arguments.quick else Options()
    if arguments.seconds is not None:
        options = replace(options, seconds=arguments.seconds)
    if arguments.rate is not None:
        options = replace(options, per_second=arguments.rate)
    if arguments.idle is not None:
        options = replace(options, idle=arguments.idle)
    known = {one.name: one for one in CONTENDERS}
    return Plan(
        contenders=tuple(known[name] for name in _names(arguments.only, known)),
        measures=tuple(name for name in MEASURES if name in _names(arguments.measures, MEASURES)),
        links=tuple(Links(name) for name in _names(arguments.links, [one.value for one in Links])),
        family=arguments.family,
        rounds=arguments.rounds or (1 if arguments.quick else 5),
        threads=arguments.threads,
        options=options,
    )


def _names(text: str, known: Collection[str]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise LabError(f"there is no {name!r}; known are {', '.join(known)}")
    return names


def possible(wanted: Plan) -> tuple[Plan, list[str]]:
    """*wanted* without what this machine cannot do, and a sentence for each part left out."""
    said = []
    contenders = []
    for one in wanted.contenders:
        lacks = one.missing()
        if lacks is None:
            contenders.append(one)
        else:
            said.append(f"left out: {one.name}: the program {lacks} is missing")
    measures = []
    for name in wanted.measures:
        program = PROGRAM_OF.get(name)
        if program is None or shutil.which(program):
            measures.append(name)
        else:
            said.append(f"left out: {name}: the program {program} is missing")
    links = wanted.links
    if Links.PLAIN in links and shutil.which("ethtool") is None:
        links = tuple(one for one in links if one is not Links.PLAIN)
        said.append("left out: plain links: the program ethtool is missing")
    # A proxy has two descriptors for each connection, and cannot raise the hard limit either.
    limit = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _SPARE_DESCRIPTORS) // 2
    options = wanted.options
    if "memory" in measures and options.idle > limit:
        said.append(
            f"{limit} idle connections instead of {options.idle}: ulimit -Hn allows no more"
        )
        options = replace(options, idle=limit)
    made = replace(
        wanted,
        contenders=tuple(contenders),
        measures=tuple(measures),
        links=links,
        options=options,
    )
    return made, said


def _measure(wanted: Plan, links: Links, contender: Contender) -> list[Sample]:
    """Every measure of one contender on a fresh network. Raises LabError."""
    found = []
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, Network("psb") as network:
        field = build(network, Path(name), wanted.family, links, bulk="bulk" in wanted.measures)
        before = Memory.now()
        running = contender.start(field, wanted.threads)
        field.await_answer(running.address)
        if "memory" in wanted.measures:
            found.append(Sample("start", (before.available - Memory.now().available) / MIB))
        for measure in wanted.measures:
            found += MEASURES[measure](field, running, wanted.options)
        running.verify()
    return found


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write the JSON. 0, or 1 when a contender could not be measured."""
    asked = plan(arguments)
    wanted, said = possible(asked)
    for sentence in said:
        print(sentence, flush=True)
    # Descriptors for the idle connections, here and in every program we start.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    records: list[Record] = []
    failures = 0
    worst = 0.0
    order = wanted.rounds_of()
    for step, (number, links, contender) in enumerate(order, 1):
        others = wait_for_calm(wanted.options.calm)
        worst = max(worst, others)
        print(
            f"[{step}/{len(order)}] round {number + 1}, links {links}: {contender.name}"
            f" (others use {others:.0%} of the CPUs)",
            flush=True,
        )
        try:
            samples = _measure(wanted, links, contender)
        except LabError as error:
            print(f"  failed: {error}", flush=True)
            failures += 1
            continue
        records += [
            Record(links, contender.name, number, one.quantity, one.value, one.errors)
            for one in samples
        ]
    table = rows(records, [one.name for one in CONTENDERS], DIRECT, HAPROXY)
    for line in lines(table):
        print(line)
    print(f"\nmost of the CPUs that others used just before a measurement: {worst:.0%}")
    if arguments.json is not None:
        facts = _facts(wanted, worst)
        arguments.json.write_text(json.dumps(as_json(records, table, facts), indent=1) + "\n")
    return 1 if failures or not records else 0


def _facts(wanted: Plan, worst: float) -> dict[str, str | float]:
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count() or 0,
        "family": wanted.family,
        "rounds": wanted.rounds,
        "threads": wanted.threads,
        "seconds": wanted.options.seconds,
        "rate": wanted.options.per_second,
        "idle": wanted.options.idle,
        "others": worst,
    }
