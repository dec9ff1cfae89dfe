# SPDX-License-Identifier: Apache-2.0
"""What flows, services and real servers take: the kernel's word for each map, and the daemon's."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.machine import MIB, proportional_bytes
from penstock.kernel.maps import Map
from penstock.lab.balancer import Balancer
from penstock.lab.network import LabError, Network

_FLOWS: Final = {4: ("flows4", "occupied4"), 6: ("flows6", "occupied6")}
# Arrays with an element a service or a real, there from the start.
_PER_SERVICE: Final = ("service_lives", "service_traffic")
_PER_REAL: Final = ("real_lives", "real_traffic")


@dataclass(frozen=True, slots=True)
class Footprint:
    """One running instance: bytes of each map (memlock), their sizes, and the daemon's memory."""

    maps: dict[str, int]
    entries: dict[str, int]
    max_flows: int
    process: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--services", type=int, default=1000, help="default: 1000")
    parser.add_argument("--reals", type=int, default=10_000, help="default: 10000")


def _configuration(services: int, reals: int) -> str:
    """Every service with a pool of its own; the reals dealt out evenly."""
    return "\n".join(_lines(services, reals)) + "\n"


def _lines(services: int, reals: int) -> Iterator[str]:
    yield "defaults"
    yield "    mode tcp"
    yield "    timeout connect 2s"
    yield "    timeout client 60s"
    yield "    timeout server 60s"
    for service in range(services):
        yield f"listen service{service}"
        yield f"    bind 127.0.0.1:{2000 + service}"
        for number in range(service, reals, services):
            address = f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
            yield f"    server r{number} {address}:8080"


def measure(network: Network, directory: Path, services: int, reals: int) -> Footprint:
    """Run penstock on so much configuration and weigh it. Raises LabError."""
    namespace = network.namespace(f"m{services}")
    balancer = Balancer(namespace, directory / f"penstock{services}")
    balancer.start(_configuration(services, reals))
    if balancer.process is None:
        raise LabError("penstock did not start")
    maps: dict[str, int] = {}
    entries: dict[str, int] = {}
    for path in sorted((balancer.paths.pins / "maps").iterdir()):
        with Map.from_pin(path) as one:
            maps[path.name] = _memlock(one)
            entries[path.name] = one.info.max_entries
    found = Footprint(
        maps, entries, balancer.status().max_flows, proportional_bytes([balancer.process.pid])
    )
    balancer.stop()
    return found


def _memlock(one: Map) -> int:
    """Bytes that the kernel says a map takes (exact since Linux 6.4)."""
    text = Path(f"/proc/self/fdinfo/{one.fd}").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("memlock:"))


def run(arguments: argparse.Namespace) -> int:
    services, reals = arguments.services, arguments.reals
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, Network("psb") as network:
        small = measure(network, Path(name), 1, 1)
        large = measure(network, Path(name), services, reals)
    print(f"{'map':<18} {'elements':>10} {'empty, KiB':>12} {'full, KiB':>12}")
    for one, size in large.maps.items():
        print(
            f"{one:<18} {large.entries[one]:>10,} {small.maps[one] / 1024:>12,.0f}"
            f" {size / 1024:>12,.0f}"
        )
    print(
        f"all maps: {sum(small.maps.values()) / MIB:,.1f} MiB with 1 service and 1 real server,"
        f" {sum(large.maps.values()) / MIB:,.1f} MiB with {services:,} and {reals:,}"
    )
    for family, names in _FLOWS.items():
        taken = sum(large.maps[one] for one in names)
        print(
            f"flows, IPv{family}: {taken / large.max_flows:,.0f} bytes each, with the room that"
            f" hashing needs ({large.max_flows:,} flows: {taken / MIB:,.0f} MiB, taken at start)"
        )
    for what, count, growing, ready in (
        ("service", services, ("services", "vips", "pools"), _PER_SERVICE),
        ("real server", reals, ("reals",), _PER_REAL),
    ):
        grown = sum(large.maps[one] - small.maps[one] for one in growing) / max(count - 1, 1)
        standing = sum(large.maps[one] / large.entries[one] for one in ready)
        print(
            f"a {what}: {grown:,.0f} bytes in {', '.join(growing)},"
            f" and {standing:,.0f} that stand ready in {', '.join(ready)}"
        )
    print(
        f"the daemon (PSS without maps): {small.process / MIB:,.1f} MiB with 1 service,"
        f" {large.process / MIB:,.1f} MiB with {services:,} services and {reals:,} real servers"
    )
    return 0
