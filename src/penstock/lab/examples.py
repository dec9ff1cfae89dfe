# SPDX-License-Identifier: Apache-2.0
"""Plays somebody's haproxy.cfg: servers where it says they are, and somebody who runs it.

::

    client 10.71.0.2, and strangers 203.0.113.0/24 ── balancer 10.71.0.1 ── three hosts, on which
    every server of the file has an address of its own
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from penstock.config.haproxy import LoadResult, loads
from penstock.lab.network import Network, until
from penstock.lab.relocate import World, relocate
from penstock.lab.runners import Runner
from penstock.lab.speakers import Caller, Speakers
from penstock.lab.topology import Host, two_armed
from penstock.model import Bind, Pool, PortRange, RealServer, Service

STRANGER: Final = "203.0.113.7"
STRANGERS: Final = ("203.0.113.0/24", "10.66.0.0/16")
_HOSTS: Final = 3
_FIRST_SERVER: Final = 129  # the upper half of a host's /24 is for servers


@dataclass(frozen=True, slots=True)
class Play:
    """One configuration being run."""

    loaded: LoadResult
    places: Mapping[str, str]  # the file's hosts -> their addresses in the lab
    runner: Runner

    @property
    def services(self) -> tuple[Service, ...]:
        return tuple(one for one in self.loaded.configuration.services if not one.disabled)

    def service(self, name: str) -> Service:
        return next(one for one in self.services if one.name == name)

    def pool(self, name: str) -> Pool:
        return self.loaded.configuration.pool(name)

    def real(self, pool: str, name: str) -> RealServer:
        return next(one for one in self.pool(pool).reals if one.name == name)

    def up(self, pool: str) -> list[str]:
        """Names of the servers that new connections may go to now: backups when no other is up."""
        weights = {real.name: real.weight for real in self.pool(pool).reals}
        there = [one for one in self.runner.pools()[pool] if one.up and weights[one.name] > 0]
        active = [one.name for one in there if not one.backup]
        backups = [one.name for one in there if one.backup]
        return active or (backups if self.pool(pool).allbackups else backups[:1])

    def live(self, pool: str) -> int:
        """How many connections the servers of *pool* have now."""
        return sum(one.live for one in self.runner.pools()[pool])

    def all_checked(self) -> bool:
        """Whether every check has had a result."""
        return all(one.checked for servers in self.runner.pools().values() for one in servers)


class Stage:
    """The network of a balancer that *runner* lets play on. Gone with *network*."""

    def __init__(self, network: Network, directory: Path) -> None:
        self.site = two_armed(network, _HOSTS)
        self.directory = directory
        self.speakers = Speakers()
        network.on_close(self.speakers.close)
        for number, host in enumerate(self.site.reals, 1):
            upper_half = f"10.71.{number}.128/25"
            host.namespace.ip("route", "add", "local", upper_half, "dev", "lo")
        for strangers in STRANGERS:
            self.site.client.namespace.ip("route", "add", "local", strangers, "dev", "lo")
            self.site.balancer.namespace.route(strangers, self.site.client.v4)
        self.caller = Caller(self.site.client.namespace)

    def play(self, text: str, runner: Runner) -> Play:
        """Let *runner* run *text*, all servers listening, until each check has had a result.

        Raises CommandRefused and LabError when it is refused, ConfigError when it is no
        configuration.
        """
        places: dict[str, str] = {}
        leaders: set[str] = set()
        numbers = count()

        def server(host: str) -> str:
            if host not in places:
                number = next(numbers)
                places[host] = self._place(number, six=":" in host)
                if number == 0:
                    leaders.add(places[host])
            return places[host]

        vips = (self.site.balancer.v4, self.site.balancer.v6)
        moved = relocate(text, World(vips, server, self.directory))
        for name in re.findall(r" crt (\S+)", moved):
            self._certificate(Path(name))
        loaded = loads(moved)
        self.speakers.silence()
        for address, port in _doors(loaded):
            self.speakers.open(
                self._host(address).namespace, address, port, leader=address in leaders
            )
        runner.run(moved)
        play = Play(loaded, places, runner)
        until("every check to have a result", play.all_checked)
        return play

    def unsupported(self, text: str) -> str:
        """Why no engine can run one of the services of *text*; empty when all of them run."""
        reasons = (
            one.engine_reason
            for one in loads(text, exists=lambda _: True).configuration.services
            if one.unsupported
        )
        return next(reasons, "")

    def calls(self, bind: Bind) -> list[tuple[str, int]]:
        """Where clients reach *bind*: address and port, of each family, both ends of a range."""
        balancer = self.site.balancer
        if not bind.wildcard:
            addresses = [str(bind.vip)]
        elif bind.vip.version == 4:
            addresses = [balancer.v4]
        else:
            addresses = [balancer.v6, *([balancer.v4] if bind.v4v6 else [])]
        return [(address, port) for address in addresses for port in _ends(bind.ports)]

    def _certificate(self, file: Path) -> None:
        """Make *file*, a key and a certificate that it signed itself."""
        if not file.exists():
            self.site.balancer.namespace.run(
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ),
                *("-nodes", "-subj", "/CN=lab", "-days", "2"),
                *("-keyout", str(file), "-out", f"{file}.crt"),
            )
            file.write_text(file.read_text() + Path(f"{file}.crt").read_text())

    def _place(self, number: int, *, six: bool) -> str:
        on = number % _HOSTS
        last = _FIRST_SERVER + number // _HOSTS
        if not six:
            return f"10.71.{on + 1}.{last}"
        address = f"fd71:{on + 1}::{last:x}"
        namespace = self.site.reals[on].namespace
        namespace.ip("address", "replace", f"{address}/64", "dev", "eth0", "nodad")
        return address

    def _host(self, address: str) -> Host:
        if ":" in address:
            return self.site.reals[int(address.split(":")[1]) - 1]
        return self.site.reals[int(address.split(".")[2]) - 1]


def _doors(loaded: LoadResult) -> set[tuple[str, int]]:
    """Every address and port at which a server of the file is to listen."""
    found: set[tuple[str, int]] = set()
    configuration = loaded.configuration
    for pool in configuration.pools:
        asked = {port for service in configuration.services for port in _ports(service, pool.name)}
        for real in pool.reals:
            if real.address is None or real.link.local is not None:
                continue
            found |= {(str(real.address), real.port.of(port)) for port in asked}
            if real.check is not None and real.check.port is not None:
                checked_at = real.check.address or real.address
                found.add((str(checked_at), real.check.port))
    return found


def _ports(service: Service, pool: str) -> Iterator[int]:
    """Ports by which clients of *service* may come to *pool*."""
    if pool == service.pool or any(route.pool == pool for route in service.front.routes):
        for bind in service.binds:
            yield from _ends(bind.ports)
        if not service.binds:
            yield 0  # its clients come by a UNIX socket


def _ends(ports: PortRange) -> tuple[int, ...]:
    return (ports.first,) if len(ports) == 1 else (ports.first, ports.last)
