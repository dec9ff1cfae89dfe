# SPDX-License-Identifier: Apache-2.0
"""The sockets of all HTTP services, on an epoll of their own inside the daemon's loop.

As with the health checks, whoever owns the loop watches ``fileno()`` and calls ``run_once()`` when
it is readable or ``next_deadline()`` has come. A turn does little, whoever asks how much
(``limits``): checks are not to wait for those who look at them.
"""

from __future__ import annotations

import heapq
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import structlog

from penstock.engine.proxy.held import Held, Staged
from penstock.engine.proxy.listening import Spot, spots
from penstock.engine.proxy.tls import listener_context, wrap_client
from penstock.errors import DatapathError
from penstock.http_service import HttpService
from penstock.model import Protocol
from penstock.spare import Spare
from penstock.statistics.served import Tally
from penstock.web.asked import Caller
from penstock.web.client import Client, Stage
from penstock.web.errors import page
from penstock.web.http1 import Answer, Request
from penstock.web.limits import (
    ANSWERS_A_TURN,
    EVENTS_A_TURN,
    MAX_PRODUCING,
    Patience,
    most_clients,
)

_log = structlog.get_logger("penstock")

_LEAST_WAIT = 0.1  # s between two looks at one client

Site = Callable[[Request, Caller], Answer]
"""What one service answers; must not wait."""


class _Open(Held):
    """A socket that is listened on, for whoever has it now."""

    service: _Service | None = None


@dataclass(slots=True)
class _Service:
    """A running service; one that a reload took away lives on in its clients."""

    service: HttpService
    site: Site
    admits: Callable[[Caller], bool]
    tally: Tally
    contexts: dict[object, ssl.SSLContext] = field(default_factory=dict)
    clients: dict[int, Client] = field(default_factory=dict)  # the longest silent first


class WebServer:
    """*build* makes a site of a service, and says whom it lets connect."""

    def __init__(
        self,
        build: Callable[[HttpService], tuple[Site, Callable[[Caller], bool]]],
        clock: Callable[[], float],
    ) -> None:
        self._build = build
        self._clock = clock
        self._epoll = select.epoll()
        self._spare = Spare()
        self._open: dict[tuple[object, ...], _Open] = {}
        self._by_fd: dict[int, _Open | tuple[_Service, Client]] = {}
        self._asking: deque[tuple[_Service, Client]] = deque()
        self._asked = 0.0  # when the last of them began to wait: it is due since then
        self._timers: list[tuple[float, int, int]] = []  # deadline, whose serial, descriptor
        self._serial = 0
        self._producing = 0
        self._tallies: dict[str, Tally] = {}

    def tally(self, name: str) -> Tally | None:
        """What has been counted of the service called *name*; None: there is none."""
        return self._tallies.get(name)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def next_deadline(self) -> float | None:
        """When ``run_once()`` is next due, on the clock given."""
        if self._asking:
            return self._asked
        return self._timers[0][0] if self._timers else None

    # -- configuration -------------------------------------------------------------------------

    def stage(self, services: Iterable[HttpService]) -> Staged:
        """Open what *services* add. Raises PenstockError, and then nothing has changed."""
        wanted: dict[tuple[object, ...], tuple[Spot, _Service]] = {}
        for service in services:
            if service.disabled:
                continue
            tally = self._tallies.get(service.name, Tally())
            running = _Service(service, *self._build(service), tally)
            for listener in service.listeners:
                if listener.tls is not None:
                    running.contexts[listener.tls] = listener_context(listener.tls, listener.origin)
                for spot in spots(listener, Protocol.TCP):
                    wanted.setdefault(spot.place, (spot, running))
        fresh: dict[tuple[object, ...], _Open] = {}
        try:
            for place, (spot, _) in wanted.items():
                if place in self._open:
                    self._open[place].check(spot)
                else:
                    fresh[place] = _Open(spot, 0)
        except DatapathError:
            for opened in fresh.values():
                opened.close()
            raise
        return Staged(lambda: self._commit(wanted, fresh), fresh.values())

    def _commit(
        self,
        wanted: dict[tuple[object, ...], tuple[Spot, _Service]],
        fresh: dict[tuple[object, ...], _Open],
    ) -> None:
        for place in [place for place in self._open if place not in wanted]:
            self._shut(self._open.pop(place))
        self._open |= fresh
        self._tallies = {one.service.name: one.tally for _, one in wanted.values()}
        for place, (spot, service) in wanted.items():
            opened = self._open[place]
            opened.follow(spot)
            opened.service = service
            self._by_fd[opened.sock.fileno()] = opened
        for opened in fresh.values():
            self._epoll.register(opened.sock.fileno(), select.EPOLLIN)

    def _shut(self, opened: _Open) -> None:
        self._by_fd.pop(opened.sock.fileno(), None)
        opened.close()

    def close(self) -> None:
        for one in list(self._by_fd.values()):
            if isinstance(one, tuple):
                self._drop(*one)
        for opened in self._open.values():
            self._shut(opened)
        self._open.clear()
        self._spare.close()
        self._epoll.close()

    # -- a turn --------------------------------------------------------------------------------

    def run_once(self, now: float) -> None:
        """Take in what has happened, answer one who asks, and drop who has taken too long."""
        for fd, _ in self._epoll.poll(0, EVENTS_A_TURN):
            one = self._by_fd.get(fd)
            if isinstance(one, _Open):
                self._accept(one, now)
            elif one is not None:
                self._advance(*one, lambda client: client.ready(now))
        for _ in range(min(ANSWERS_A_TURN, len(self._asking))):
            service, client = self._asking.popleft()
            client.queued = False
            if client.stage is Stage.ANSWER:
                self._advance(service, client, partial(self._serve, service, now))
        while self._timers and self._timers[0][0] <= now:
            _, serial, fd = heapq.heappop(self._timers)
            self._look_at(serial, fd, now)

    def _accept(self, opened: _Open, now: float) -> None:
        sock = self._spare.accept(opened.sock)
        if sock is None:
            return
        try:
            self._take(opened, sock, now)
        except OSError:
            sock.close()
        except Exception:
            # A bug in one rule must not take the daemon, and the health checks, with it.
            _log.exception("an HTTP connection failed; this is a bug", listener=str(opened.spot))

    def _take(self, opened: _Open, sock: socket.socket, now: float) -> None:
        service = opened.service
        if service is None or not self._has_room(service):
            sock.close()
            return
        sock.setblocking(False)
        client = self._client(service, opened, sock, now)
        fd = client.sock.fileno()
        self._by_fd[fd] = service, client
        service.clients[fd] = client
        service.tally.opened(now)
        self._epoll.register(fd, client.wants)
        self._serial = client.serial = self._serial + 1
        heapq.heappush(self._timers, (client.deadline, client.serial, fd))

    def _has_room(self, service: _Service) -> bool:
        """Whoever has asked nothing for longest makes room; False: all have asked."""
        if len(service.clients) < most_clients(service.service):
            return True
        silent = next((one for one in service.clients.values() if one.expendable), None)
        if silent is None:
            return False
        self._drop(service, silent)
        return True

    def _client(self, service: _Service, opened: _Open, sock: socket.socket, now: float) -> Client:
        listener = opened.spot.listener
        context = service.contexts.get(listener.tls)
        client = Client(
            sock,
            listener,
            Patience.of(service.service),
            service.tally,
            tls=None if context is None else lambda raw: wrap_client(context, raw),
            close=service.service.close,
            now=now,
        )
        # Behind a PROXY header the site looks, when it is known who it is.
        if not listener.accept_proxy and not service.admits(client.caller):
            service.tally.connections += 1
            service.tally.denied_connections += 1
            raise ConnectionRefusedError
        return client

    def _advance(self, service: _Service, client: Client, act: Callable[[Client], None]) -> None:
        """Let *client* go on, and see to what it waits for then."""
        fd, before, producing = client.sock.fileno(), client.wants, client.producing
        try:
            act(client)
        except (OSError, ssl.SSLError, ValueError):
            client.stage = Stage.OVER
        except Exception:
            # A bug in one answer must not take the daemon, and the health checks, with it.
            _log.exception("an HTTP answer failed; this is a bug", service=service.service.name)
            client.stage = Stage.OVER
        self._producing += client.producing - producing
        if client.stage is Stage.OVER:
            self._drop(service, client)
            return
        if client.stage is Stage.ANSWER and not client.queued:
            client.queued = True
            self._asking.append((service, client))
            self._asked = self._clock()
            service.clients[fd] = service.clients.pop(fd)  # now the last to be silent
        if client.wants != before:
            self._epoll.modify(fd, client.wants)

    def _serve(self, service: _Service, now: float, client: Client) -> None:
        if client.producing:
            client.produce(now)
        else:
            client.answer(self._answer(service, client), now)

    def _answer(self, service: _Service, client: Client) -> Answer:
        request = client.request
        if request is None or self._producing >= MAX_PRODUCING:
            return page(503, close=True)
        try:
            return service.site(request, client.caller)
        except Exception:
            # A bug in one answer must not take the daemon, and the health checks, with it.
            _log.exception("an HTTP request failed; this is a bug", service=service.service.name)
            return page(500, close=True)

    def _look_at(self, serial: int, fd: int, now: float) -> None:
        """A timer that has come may be an old one: deadlines move while a client gets on."""
        one = self._by_fd.get(fd)
        if not isinstance(one, tuple) or one[1].serial != serial:
            return
        service, client = one
        if client.stage is not Stage.ANSWER and client.deadline <= now:
            self._advance(service, client, lambda late: late.time_out(now))
        if client.stage is not Stage.OVER:
            due = max(client.deadline, now + _LEAST_WAIT)
            heapq.heappush(self._timers, (due, serial, fd))

    def _drop(self, service: _Service, client: Client) -> None:
        fd = client.sock.fileno()
        self._producing -= client.producing
        self._by_fd.pop(fd, None)
        service.clients.pop(fd, None)
        service.tally.live -= 1
        client.stage = Stage.OVER
        client.close()
