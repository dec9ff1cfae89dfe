# SPDX-License-Identifier: Apache-2.0
"""The Runtime API's sockets and their clients, on the daemon's selector; never waits."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable
from dataclasses import replace

from penstock.engine.proxy.handover import send_listeners
from penstock.engine.proxy.held import Held, Staged
from penstock.engine.proxy.listening import Spot, spots
from penstock.errors import DatapathError
from penstock.model import Protocol
from penstock.proxied import Listener, LocalAddress, LocalKind
from penstock.runtime_api.context import Context, Runtime, Session
from penstock.runtime_api.terminal import Terminal
from penstock.runtime_sockets import AccessLevel, RuntimeSocket, RuntimeSockets
from penstock.spare import Spare

_CHUNK = 1 << 16  # bytes made ahead of what the client has taken
_TURN = 1 << 16  # bytes for one client before others get their turn
_LONGEST_TURN = 0.005  # seconds, for output that is long in the making
_BACKLOG = 128
_PRIVATE = 0o600
_FROM_MASTER = RuntimeSocket(
    Listener(LocalAddress(LocalKind.INHERITED, "0")), AccessLevel.ADMIN, exposes_listeners=True
)


class _Open(Held):
    """A socket that is listened on."""

    def __init__(self, spot: Spot, of: RuntimeSocket) -> None:
        """Raises DatapathError."""
        super().__init__(spot, _BACKLOG)
        self.of = of


class _Client:
    __slots__ = ("ended", "events", "seen", "sock", "terminal", "unsent")

    def __init__(self, sock: socket.socket, terminal: Terminal, now: float) -> None:
        self.sock = sock
        self.terminal = terminal
        self.unsent = bytearray()
        self.seen = now
        self.events = selectors.EVENT_READ
        self.ended = False  # it sends no more


class RuntimeServer:
    """Answers commands on the sockets that the running configuration names."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        runtime: Runtime,
        clock: Callable[[], float],
    ) -> None:
        self._selector = selector
        self._runtime = runtime
        self._clock = clock
        self._settings = RuntimeSockets()
        self._open: dict[tuple[object, ...], _Open] = {}
        self._clients: dict[int, _Client] = {}
        self._listens = True
        self._always: list[_Open] = []  # also with no room for clients
        self._spare = Spare()

    # -- sockets ---------------------------------------------------------------------------

    def stage(self, settings: RuntimeSockets) -> Staged:
        """Open what *settings* add. Raises DatapathError, and then nothing has changed."""
        wanted = [
            (_private(spot), one)
            for one in settings.sockets
            for spot in spots(one.listener, Protocol.TCP)
        ]
        fresh: dict[tuple[object, ...], _Open] = {}
        try:
            for spot, one in wanted:
                if spot.place in self._open:
                    self._open[spot.place].check(spot)
                elif spot.place not in fresh:
                    fresh[spot.place] = _Open(spot, one)
        except DatapathError:
            for opened in fresh.values():
                opened.close()
            raise
        return Staged(lambda: self._commit(settings, wanted, fresh), fresh.values())

    def _commit(
        self,
        settings: RuntimeSockets,
        wanted: list[tuple[Spot, RuntimeSocket]],
        fresh: dict[tuple[object, ...], _Open],
    ) -> None:
        self._settings = settings
        self._runtime.sockets = settings.sockets
        places = {spot.place: (spot, one) for spot, one in wanted}
        for place, held in list(self._open.items()):
            if place not in places:
                del self._open[place]
                self._shut(held)
        for place, opened in fresh.items():
            self._open[place] = opened
            if self._listens:
                self._register(opened)
        for place, (spot, one) in places.items():
            self._open[place].follow(spot)
            self._open[place].of = one
        self._look_for_room()

    def listen_for_next(self, path: str) -> None:
        """Also listen at *path*, for the process that comes after. Raises DatapathError."""
        listener = Listener(LocalAddress(LocalKind.UNIX, path))
        of = RuntimeSocket(listener, AccessLevel.ADMIN, exposes_listeners=True)
        opened = _Open(_private(next(iter(spots(listener, Protocol.TCP)))), of)
        self._selector.register(
            opened.sock, selectors.EVENT_READ, lambda _events: self._accept(opened)
        )
        self._always.append(opened)

    def attach(self, link: socket.socket, on_end: Callable[[], None]) -> None:
        """Take clients that a master passes over *link*; *on_end*: it has gone."""
        link.setblocking(False)

        def take(_events: int) -> None:
            try:
                data, fds, _, _ = socket.recv_fds(link, 64, 16)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            for fd in fds:
                self._welcome(socket.socket(fileno=fd), _FROM_MASTER)
            if not data:
                self._selector.unregister(link)
                on_end()

        self._selector.register(link, selectors.EVENT_READ, take)

    def _register(self, opened: _Open) -> None:
        self._selector.register(
            opened.sock, selectors.EVENT_READ, lambda _events: self._accept(opened)
        )

    def _shut(self, held: _Open) -> None:
        if self._listens:
            self._selector.unregister(held.sock)
        held.close()

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        for held in self._open.values():
            self._shut(held)
        self._open.clear()
        for opened in self._always:
            self._selector.unregister(opened.sock)
            opened.close()
        self._always.clear()
        self._spare.close()

    def _look_for_room(self) -> None:
        """Listen while there are fewer clients than may be; further ones wait to be accepted."""
        room = len(self._clients) < self._settings.maxconn
        if room == self._listens:
            return
        self._listens = room
        for held in self._open.values():
            if room:
                self._register(held)
            else:
                self._selector.unregister(held.sock)

    # -- clients ---------------------------------------------------------------------------

    def drop_idle(self) -> None:
        """Hang up on clients that have been silent for too long."""
        now = self._clock()
        for client in list(self._clients.values()):
            patience = client.terminal.session.timeout
            if now - client.seen > patience:
                self._drop(client)

    def _accept(self, opened: _Open) -> None:
        sock = self._spare.accept(opened.sock)
        if sock is not None:
            self._welcome(sock, opened.of)

    def _welcome(self, sock: socket.socket, one: RuntimeSocket) -> None:
        sock.setblocking(False)
        session = Session(one.level, one.severity, self._settings.timeout / 1000)
        session.exposes_listeners = one.exposes_listeners
        terminal = Terminal(self._runtime.registry, Context(self._runtime, session))
        client = _Client(sock, terminal, self._clock())
        self._clients[sock.fileno()] = client
        self._selector.register(sock, client.events, lambda events: self._on_events(client, events))
        self._look_for_room()

    def _on_events(self, client: _Client, events: int) -> None:
        client.seen = self._clock()
        try:
            if events & selectors.EVENT_READ and not client.ended:
                data = client.sock.recv(_CHUNK)
                client.ended = not data
                client.terminal.receive(data)
            self._serve(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _serve(self, client: _Client) -> None:
        """Answer for one turn; then wait for room, for more commands, or for the next turn."""
        left, until = _TURN, self._clock() + _LONGEST_TURN
        while True:
            idle = self._fill(client, until)
            if client.terminal.session.hands_over:
                with contextlib.suppress(OSError):
                    send_listeners(client.sock, self._runtime.listeners())
                self._drop(client)
                return
            sent = self._send(client)
            left -= sent
            if client.unsent or left <= 0 or (not idle and self._clock() >= until):
                self._await(client, selectors.EVENT_WRITE)
                return
            if idle:
                break
        if client.terminal.over:
            self._drop(client)
        else:
            self._await(client, selectors.EVENT_READ)

    def _fill(self, client: _Client, until: float) -> bool:
        """Have output ready; True when the terminal has none for now."""
        while len(client.unsent) < _CHUNK:
            piece = client.terminal.output()
            if piece is None:
                return True
            client.unsent += piece.encode("utf-8", "surrogateescape")
            if self._clock() >= until:
                break
        return False

    def _send(self, client: _Client) -> int:
        total = 0
        with contextlib.suppress(BlockingIOError):
            while client.unsent:
                sent = client.sock.send(client.unsent)
                del client.unsent[:sent]
                total += sent
        return total

    def _await(self, client: _Client, events: int) -> None:
        if client.events != events:
            client.events = events
            data = self._selector.get_key(client.sock).data
            self._selector.modify(client.sock, events, data)

    def _drop(self, client: _Client) -> None:
        fd = client.sock.fileno()
        if fd >= 0 and self._clients.pop(fd, None) is not None:
            self._selector.unregister(client.sock)
            client.sock.close()
            self._look_for_room()


def _private(spot: Spot) -> Spot:
    """Nobody else may connect unless the file says so: whoever may, may stop the traffic."""
    if spot.listener.mode is not None:
        return spot
    return replace(spot, listener=replace(spot.listener, mode=_PRIVATE))
