# SPDX-License-Identifier: Apache-2.0
"""What many health checks cost the daemon: its CPU time, beside how many checks were made."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.machine import process_cpu
from penstock.lab.balancer import Balancer
from penstock.lab.network import LabError, Namespace, Network, until
from penstock.lab.programs import web_servers

LIMIT: Final = 0.5  # of a core, for 10,000 reals every 2 s
EVERY: Final = "0.0.0.0"  # noqa: S104  # of a namespace with nothing but its loopback device
PORT: Final = 8080
_POOL_SIZE: Final = 100
_VIP_PORT: Final = 20000
_UP_SECONDS: Final = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reals", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--inter", default="2s", help="between two checks of one (2s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of measurement (20)")


def configuration(reals: int, checks: str) -> str:
    """*reals* servers on addresses of 127/8, in pools of a hundred; *checks* ends each line."""
    return "\n".join(_lines(reals, checks)) + "\n"


def _lines(reals: int, checks: str) -> Iterator[str]:
    yield "defaults"
    yield "    mode tcp"
    yield "    timeout connect 2s"
    yield "    timeout client 60s"
    yield "    timeout server 60s"
    for number in range(reals):
        if number % _POOL_SIZE == 0:
            pool = number // _POOL_SIZE
            yield f"listen pool{pool}"
            yield f"    bind 127.0.0.1:{_VIP_PORT + pool}"
        address = f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        yield f"    server r{number} {address}:{PORT} {checks}"


def _up(balancer: Balancer) -> int:
    pools = balancer.status().pools
    return sum(real.state.startswith("UP") for pool in pools for real in pool.reals)


def _opened(namespace: Namespace) -> int:
    """TCP connections that the namespace's hosts have opened so far (RFC 1213 tcpActiveOpens)."""
    lines = namespace.run("cat", "/proc/self/net/snmp").stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("ActiveOpens")])


def run(arguments: argparse.Namespace) -> int:
    """1 when the daemon took more than half a core, or did not see every server up."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, Network("psb") as network:
        directory = Path(name)
        namespace = network.namespace("health")
        web_servers(namespace, directory / "web", {EVERY: "r"}, PORT)
        balancer = Balancer(namespace, directory / "penstock")
        balancer.start(configuration(arguments.reals, f"check inter {arguments.inter}"))
        process = balancer.process
        if process is None:
            raise LabError("penstock did not start")
        until("every server to be up", lambda: _up(balancer) == arguments.reals, _UP_SECONDS)
        cpu, opened, began = process_cpu(process.pid), _opened(namespace), time.monotonic()
        time.sleep(arguments.seconds)
        wall = time.monotonic() - began
        share = (process_cpu(process.pid) - cpu) / wall
        rate = (_opened(namespace) - opened) / wall
        up = _up(balancer)
    print(
        f"{arguments.reals:,} real servers checked every {arguments.inter} for {wall:.0f} s:"
        f" {rate:,.0f} checks/s, {share:.3f} of a core"
        f" ({share / LIMIT:.2f} of the {LIMIT} allowed), {arguments.reals - up} not up"
    )
    return 1 if share > LIMIT or up != arguments.reals else 0
