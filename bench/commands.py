# SPDX-License-Identifier: Apache-2.0
"""How long the command line takes with many rules, Python's start included."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from penstock.lab.balancer import Balancer
from penstock.lab.network import LabError, Network

SERVICES: Final = 10_000
REALS: Final = 10  # of each service
_ADDS: Final = 9
_EXTRA: Final = "198.51.100.1:80"


@dataclass(frozen=True, slots=True)
class Timing:
    """What took how many seconds, and how many it may take."""

    what: str
    seconds: float
    aim: float

    @property
    def holds(self) -> bool:
        return self.seconds < self.aim


def rules(services: int, reals: int) -> Iterator[str]:
    """Lines for ``ipvsadm -R``; no two real servers have one address."""
    for service in range(services):
        vip = f"198.{18 + (service >> 16)}.{service >> 8 & 255}.{service & 255}:80"
        yield f"-A -t {vip} -s wlc\n"
        for number in range(service * reals + 1, (service + 1) * reals + 1):
            real = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:80"
            yield f"-a -t {vip} -r {real} -m -w 1\n"


def measure(directory: Path, services: int, reals: int) -> list[Timing]:
    """Restore so many rules, add one, list all. Raises LabError."""
    with Network("psb") as network:
        namespace = network.namespace("rules")
        balancer = Balancer(namespace, directory / "penstock")
        balancer.start_rules()
        with namespace.entered():
            restored, _ = _timed(balancer, "-R", stdin="".join(rules(services, reals)))
            added = []
            for _ in range(_ADDS):
                added.append(_timed(balancer, "-A", "-t", _EXTRA, "-s", "rr")[0])
                _timed(balancer, "-D", "-t", _EXTRA)
            listed, text = _timed(balancer, "-L", "-n")
        count = text.count("\n  -> ") - 1
        if count != services * reals:
            raise LabError(f"of {services * reals} real servers {count} are listed")
    title = f"{services:,} services x {reals} real servers"
    return [
        Timing(f"ipvsadm -R, {title}", restored, 5.0),
        Timing(f"ipvsadm -A, one service more (median of {_ADDS})", median(added), 0.150),
        Timing(f"ipvsadm -L -n, {services * reals:,} real servers", listed, 2.0),
    ]


def _timed(balancer: Balancer, *arguments: str, stdin: str = "") -> tuple[float, str]:
    """Seconds from the program's start to its end, and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(  # ourselves
        [sys.executable, "-m", "penstock", "ipvsadm", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **balancer.environment},
    )
    seconds = time.perf_counter() - start
    if done.returncode or done.stderr:
        raise LabError(f"ipvsadm {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return seconds, done.stdout
