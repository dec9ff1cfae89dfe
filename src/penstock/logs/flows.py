# SPDX-License-Identifier: Apache-2.0
"""Log lines of connections that the kernel engine carried, from what its datapath tells of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Final, NamedTuple, Protocol

from penstock.logs.flow_subject import FlowSubject
from penstock.logs.outlet import Means
from penstock.logs.record import Record
from penstock.logs.sessions import SessionLogger
from penstock.model import Configuration, Service
from penstock.model import Protocol as Transport

_MILLISECOND = 1_000_000
_NOBODY = -1  # no real server's number
_ENDS = frozenset({"si", "sp", "bi", "bp"})


class How(IntEnum):
    """Why the datapath tells of a flow: ``enum log_how`` of its types.h."""

    BOTH_ENDED = 0
    CLIENT_RESET = 1
    REAL_RESET = 2
    SILENT = 3
    CUT = 4
    ANSWERED = 5
    REFUSED = 6


class Told(NamedTuple):
    """What the datapath tells of one flow. Addresses are 4 or 16 bytes; zeros: unknown."""

    client: bytes
    vip: bytes
    source: bytes
    target: bytes
    client_port: int
    vip_port: int
    source_port: int
    target_port: int
    begun: int  # ns of the monotonic clock, as the next two
    answered: int  # 0: it was not
    ended: int
    bytes_in: int
    bytes_out: int
    service: int
    real: int
    how: int
    cause: str  # of CUT: K, D or U
    client_ended: bool
    real_ended: bool


made_told: Final[Callable[[tuple[object, ...]], Told]] = partial(tuple.__new__, Told)
"""One with all fields, in their order; the constructor takes twice the time."""


@dataclass(frozen=True, slots=True)
class Server:
    """A real server by names."""

    pool: str
    name: str


class Numbers(Protocol):
    """What the engine's numbers mean, and how many connections there are now."""

    def service_name(self, number: int) -> str | None: ...
    def server(self, number: int) -> Server | None: ...
    def live(self) -> int: ...
    def service_live(self, number: int) -> int: ...
    def server_live(self, number: int) -> int: ...
    def pool_live(self, pool: str) -> int: ...


@dataclass(slots=True)
class _Logged:
    """A service that is logged."""

    service: Service
    logger: SessionLogger
    servers_timeout: bool  # the server's is the one that ends a silent flow


@dataclass(slots=True)
class _Place:
    """What all lines of one service and real server have in common, for a moment."""

    frontend: str
    backend: str
    server: str | None
    wants_ends: bool  # of our connection to the server
    live: int = 0
    frontend_live: int = 0
    server_live: int = 0
    backend_live: int = 0


class FlowLog:
    """Writes the lines of one engine's services, as the configuration that runs has them."""

    def __init__(self, numbers: Numbers, means: Means, monotonic: Callable[[], int]) -> None:
        """*monotonic*: nanoseconds of the clock that flows are timed by."""
        self._numbers = numbers
        self._means = means
        self._monotonic = monotonic
        self._services: dict[str, _Logged] = {}
        self._by_number: dict[int, _Logged | None] = {}
        self._places: dict[tuple[int, int], _Place] = {}  # by service and real server
        self._offset = 0
        self.written = 0  # lines

    def follow(self, numbers: Numbers) -> None:
        """Go on with an engine that was opened anew."""
        self._numbers = numbers
        self._by_number.clear()
        self._places.clear()

    def configure(self, configuration: Configuration) -> None:
        """From now on, as *configuration* has it."""
        self._services = {
            service.name: _Logged(
                service,
                SessionLogger(service.sessions, self._means, service.proxy, service.unique_id),
                _is_servers(configuration, service),
            )
            for service in configuration.services
            if service.sessions is not None and not service.disabled
        }
        self._by_number.clear()

    @property
    def wanted(self) -> bool:
        """Whether any service is logged."""
        return bool(self._services)

    def begin_batch(self) -> None:
        """Numbers are asked for anew, once for all lines that follow."""
        self._by_number.clear()
        self._places.clear()
        self._offset = self._means.clock() - self._monotonic()

    def write(self, told: Told) -> None:
        """The line of one flow, if its service is still there."""
        number = told.service
        if number not in self._by_number:
            name = self._numbers.service_name(number)
            self._by_number[number] = self._services.get(name) if name is not None else None
        logged = self._by_number[number]
        if logged is None:
            return
        record = self._record(told, logged)
        self.written += 1
        if logged.logger.begins:
            protocol = "UDP" if logged.service.protocol is Transport.UDP else "TCP"
            logged.logger.begin(record, protocol, 0)
        else:
            logged.logger.write(record)

    def _record(self, told: Told, logged: _Logged) -> Record:
        begun, answered, how = told.begun, told.answered, told.how
        refused = how == How.REFUSED
        key = (told.service, _NOBODY if refused else told.real)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = self._place(key, logged)
        record = Record(place.frontend, place.backend, begun + self._offset)
        record.client, record.client_port = _shown(told.client), told.client_port
        record.wanted, record.wanted_port = _shown(told.vip), told.vip_port
        if place.server is not None:
            record.server = place.server
            record.queued = 0
            if place.wants_ends:
                record.source, record.source_port = _known(told.source), told.source_port
                record.target, record.target_port = _known(told.target), told.target_port
            record.server_live, record.backend_live = place.server_live, place.backend_live
        if answered:
            record.connected = (answered - begun) // _MILLISECOND
        # As HAProxy has it: a connection that has ended still is one of its frontend's.
        if how == How.ANSWERED:
            record.closed = record.connected
            record.live, record.frontend_live = place.live, place.frontend_live
        else:
            record.closed = (told.ended - begun) // _MILLISECOND
            record.received, record.sent = told.bytes_in, told.bytes_out
            record.live, record.frontend_live = place.live + 1, place.frontend_live + 1
        record.end = _end(told, logged)
        record.number = self.written
        if logged.logger.samples:
            record.subject = FlowSubject(record, logged.service, self._means.clock)
        return record

    def _place(self, key: tuple[int, int], logged: _Logged) -> _Place:
        number, real = key
        numbers, service, uses = self._numbers, logged.service, logged.logger.uses
        server = None if real == _NOBODY else numbers.server(real)
        pool = server.pool if server is not None else service.pool
        place = _Place(
            service.proxy,
            pool or service.proxy,
            server.name if server is not None else None,
            wants_ends=not uses.isdisjoint(_ENDS),
        )
        if "ac" in uses:
            place.live = numbers.live()
        if "fc" in uses:
            place.frontend_live = numbers.service_live(number)
        if server is not None:
            if "sc" in uses:
                place.server_live = numbers.server_live(real)
            if "bc" in uses:
                place.backend_live = numbers.pool_live(server.pool)
        return place


def _shown(address: bytes) -> str:
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def _known(address: bytes) -> str | None:
    return _shown(address) if any(address) else None


def _end(told: Told, logged: _Logged) -> str:
    """The termination state (manual 8.5)."""
    stage = "D" if told.answered else "C"
    match told.how:
        case How.CLIENT_RESET:
            return "C" + stage
        case How.REAL_RESET:
            return "S" + stage
        case How.REFUSED:
            return "SC"
        case How.CUT:
            return f"{told.cause}-"
        case How.SILENT if logged.service.protocol is Transport.TCP:
            if not told.answered:
                return "sC"
            if told.client_ended != told.real_ended:
                return "sD" if told.client_ended else "cD"
            return "sD" if logged.servers_timeout else "cD"
    return "--"  # of datagrams, silence is the end


def _is_servers(configuration: Configuration, service: Service) -> bool:
    if service.pool is None:
        return False
    times, client = configuration.pool(service.pool).timeouts, service.timeouts.client
    if times.tunnel is not None or times.server is None:
        return False
    return client is None or times.server < client


__all__ = ["FlowLog", "How", "Numbers", "Server", "Told", "made_told"]
