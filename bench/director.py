# SPDX-License-Identifier: Apache-2.0
"""IPVS's forwarding methods by TC and XDP beside nftables DNAT, and the speed of the command line.

Of each flood: packets a second for each core of CPU time that all parties together spent on it,
sending and receiving included, and its ratio to nftables and to a plain router in the same round.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Final

from bench import commands, flood
from bench.flood import DIRECT, MIDDLES, NFTABLES, Figures
from bench.machine import wait_for_calm
from penstock.lab.network import LabError

_MOST_FLOWS: Final = 1 << 15  # that the sender can tell apart


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=1.0, help="of each flood (1)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--flows", type=int, default=1024, help="a power of two (1024)")
    parser.add_argument("--calm", type=float, default=10.0, help="seconds to wait for others (10)")
    parser.add_argument("--services", type=int, default=commands.SERVICES, help="(10000)")
    parser.add_argument("--reals", type=int, default=commands.REALS, help="of each service (10)")
    parser.add_argument("--only", choices=("flood", "commands"), help="one of the two parts")


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 when something was not measured or an aim was missed."""
    flows = arguments.flows
    if not 1 <= flows <= _MOST_FLOWS or flows & (flows - 1):
        raise LabError(f"the number of flows must be a power of two up to {_MOST_FLOWS}")
    good = True
    if arguments.only != "commands":
        good = _floods(arguments)
    if arguments.only != "flood":
        with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
            timings = commands.measure(Path(name), arguments.services, arguments.reals)
        for one in timings:
            verdict = "holds" if one.holds else "missed"
            print(f"{one.what}: {one.seconds:.3f} s (aim: {one.aim:g} s, {verdict})")
        good = good and all(one.holds for one in timings)
    return 0 if good else 1


def _floods(arguments: argparse.Namespace) -> bool:
    found: dict[str, dict[int, Figures]] = {middle.name: {} for middle in MIDDLES}
    good = True
    everywhere = flood.one_processor()
    try:
        for number in range(arguments.rounds):
            turn = number % len(MIDDLES)
            for middle in MIDDLES[turn:] + MIDDLES[:turn]:
                wait_for_calm(arguments.calm)
                try:
                    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
                        figures = flood.measure(
                            middle, Path(name), arguments.flows, arguments.seconds
                        )
                except LabError as error:
                    print(f"{middle.name}: {error}", flush=True)
                    good = False
                else:
                    found[middle.name][number] = figures
    finally:
        os.sched_setaffinity(0, everywhere)
    print(
        f"{'UDP, ' + format(arguments.flows, ',') + ' flows':<18} {'packets/s':>11}"
        f" {'lost':>6} {'per core':>11} {'ns CPU':>7} {'x direct':>9} {'x nftables':>11}"
    )
    for name, rounds in found.items():
        if rounds:
            print(_row(name, rounds, found[DIRECT], found[NFTABLES]), flush=True)
    return good


def _row(
    name: str,
    rounds: dict[int, Figures],
    direct: dict[int, Figures],
    nftables: dict[int, Figures],
) -> str:
    figures = list(rounds.values())
    lost = sum(one.sent - one.arrived for one in figures) / sum(one.sent for one in figures)
    return (
        f"{name:<18} {median(one.arrived / one.seconds for one in figures):>11,.0f}"
        f" {lost:>6.1%} {median(one.per_core for one in figures):>11,.0f}"
        f" {median(one.nanoseconds for one in figures):>7.0f}"
        f" {_ratio(rounds, direct):>9} {_ratio(rounds, nftables):>11}"
    )


def _ratio(rounds: dict[int, Figures], others: dict[int, Figures]) -> str:
    """Median of the ratios within a round."""
    ratios = [
        one.per_core / others[number].per_core for number, one in rounds.items() if number in others
    ]
    return f"{median(ratios):.3f}" if ratios else "-"
