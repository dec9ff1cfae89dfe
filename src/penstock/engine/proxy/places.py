# SPDX-License-Identifier: Apache-2.0
"""What the proxy engine listens on: sockets that the daemon opens, and which workers have them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import structlog

from penstock.engine.api import ServiceState
from penstock.engine.proxy.handover import Handed, Inheritance
from penstock.engine.proxy.listening import (
    Spot,
    open_spot,
    remove_path,
    seen_path,
    set_owner,
    spots,
)
from penstock.engine.proxy.messages import Listen, Order, Silence
from penstock.errors import DatapathError
from penstock.proxied import Listener, LocalKind

_log = structlog.get_logger("penstock")

Send = Callable[[int, Order, tuple[int, ...]], None]
"""Tells a worker, by its number, something that comes with descriptors."""

Fresh = dict[tuple[object, ...], list[socket.socket]]
"""Sockets that are open and nobody's yet, by place."""


def spots_of(state: ServiceState) -> list[Spot]:
    """Where a service listens: what a haproxy.cfg says, or a configuration made in Python."""
    listeners: Iterable[Listener] = state.front.listeners or (
        Listener(
            bind.vip,
            bind.ports,
            v4v6=bind.v4v6,
            interface=bind.interface,
            transparent=bind.transparent,
            origin=bind.origin,
        )
        for bind in state.binds
    )
    return [spot for one in listeners for spot in spots(one, state.protocol)]


@dataclass(slots=True)
class _Open:
    """A place that is listened on: one socket, or one for each worker."""

    spot: Spot
    service: str
    sockets: list[socket.socket]
    workers: tuple[int, ...]
    path: tuple[int, int] | None  # what a UNIX socket's was when it was opened

    def handed(self, number: int) -> list[tuple[Spot, socket.socket]]:
        """What worker *number* listens on; the first one also on what nobody else does."""
        if number not in self.workers:
            return []
        if self.spot.shared:
            return [(self.spot, self.sockets[0])]
        own = self.workers.index(number)
        rest = range(len(self.workers), len(self.sockets)) if own == 0 else ()
        return [(replace(self.spot, copy=at), self.sockets[at]) for at in (own, *rest)]


class Places:
    """Of one engine; *inheritance* is listened on instead of sockets of its own."""

    def __init__(self, send: Send, inheritance: Inheritance) -> None:
        self._send = send
        self._inheritance = inheritance
        self._open: dict[tuple[object, ...], _Open] = {}
        self._shared = False  # another process may listen on our sockets

    def open(self, wanted: Iterable[Spot], count: int, backlog: int) -> Fresh:
        """Sockets for those of *wanted* that are not listened on, *count* for each place.

        Raises DatapathError where one cannot be had; then there are none.
        """
        fresh: Fresh = {}
        try:
            for spot in wanted:
                if spot.place in self._open:
                    continue
                held = fresh.setdefault(spot.place, [])
                held += self._inheritance.take(spot)
                some = 1 if spot.shared else count
                held += [open_spot(spot, backlog) for _ in range(some - len(held))]
        except DatapathError:
            for held in fresh.values():
                for one in held:
                    one.close()
            raise
        return fresh

    def put(
        self,
        service: str,
        wanted: Iterable[Spot],
        workers: tuple[int, ...],
        *,
        backlog: int,
        fresh: Fresh,
    ) -> None:
        """Let *workers* listen for *service* on all of *wanted*, and on nothing else."""
        kept = list(wanted)
        places = {spot.place for spot in kept}
        for place, held in list(self._open.items()):
            if held.service == service and place not in places:
                self._close(place)
        for spot in kept:
            self._listen(spot, service, workers, backlog, fresh.get(spot.place))

    def move(self, service: str, workers: tuple[int, ...], *, backlog: int) -> None:
        """Let *workers* listen, and no others, on what *service* has."""
        for held in list(self._open.values()):
            if held.service == service:
                self._listen(held.spot, service, workers, backlog, None)

    def remove(self, service: str) -> None:
        for place, held in list(self._open.items()):
            if held.service == service:
                self._close(place)

    def of(self, number: int) -> Iterator[tuple[Listen, tuple[int, ...]]]:
        """What worker *number* is to be told, with the descriptors that go along."""
        for held in self._open.values():
            for spot, sock in held.handed(number):
                yield Listen(spot, held.service), (sock.fileno(),)

    def hand_over(self) -> list[Handed]:
        """What is listened on, for another process to go on with; paths stay from now on."""
        self._shared = True
        return [
            Handed(sock, held.spot.listener.interface or "")
            for held in self._open.values()
            if held.spot.local is None or held.spot.local.kind is not LocalKind.INHERITED
            for sock in held.sockets
        ]

    def settled(self) -> None:
        """Everything that is listened on has been put: the rest of the inheritance is nobody's."""
        self._inheritance.close()

    def close(self) -> None:
        """Let go of all of it; workers are not told."""
        for held in self._open.values():
            self._let_go(held)
        self._open.clear()

    def _listen(
        self,
        spot: Spot,
        service: str,
        workers: tuple[int, ...],
        backlog: int,
        fresh: list[socket.socket] | None,
    ) -> None:
        """Give *spot* to its service; a socket that is open already stays, with what it holds."""
        held = self._open.get(spot.place)
        if held is None:
            held = _Open(spot, service, fresh or [], workers, seen_path(spot))
            self._open[spot.place] = held
        elif (held.spot, held.service, held.workers) == (spot, service, workers):
            return
        else:
            self._silence(held)
            try:
                set_owner(spot, held.spot)
            except OSError as error:
                _log.warning(f"{spot}: cannot change its owner or mode: {error.strerror}")
            held.spot, held.service = spot, service
            _spread(held, workers, backlog)
        for number in held.workers:
            for each, sock in held.handed(number):
                self._send(number, Listen(each, service), (sock.fileno(),))

    def _silence(self, held: _Open) -> None:
        for number in held.workers:
            for spot, _ in held.handed(number):
                self._send(number, Silence(spot), ())

    def _close(self, place: tuple[object, ...]) -> None:
        held = self._open.pop(place)
        self._silence(held)
        self._let_go(held)

    def _let_go(self, held: _Open) -> None:
        for sock in held.sockets:
            sock.close()
        if not self._shared:
            remove_path(held.spot, held.path)


def _spread(held: _Open, workers: tuple[int, ...], backlog: int) -> None:
    """Let *workers* listen there. Sockets of those that no longer do are the first one's.

    So nothing is lost that waits to be accepted in them.
    """
    held.workers = workers
    if held.spot.shared:
        return
    try:
        while len(held.sockets) < len(workers):
            held.sockets.append(open_spot(held.spot, backlog))
    except DatapathError as error:  # it stays where it is, which is slower and right
        _log.warning(str(error))
        held.workers = workers[: len(held.sockets)]
