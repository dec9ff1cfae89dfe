# SPDX-License-Identifier: Apache-2.0
"""Sockets for the peers of one section: dials them, lets them call, exchanges what tables hold.

Driven by someone else's loop: watch ``fileno()`` for input, call ``run_once`` when it is readable
and at ``deadline()``. Times in ms of a clock that only grows.

A process that makes place for another one listens no more and tells it all: as in HAProxy it calls
its own name at its own address, where the other one listens by then.
"""

from __future__ import annotations

import os
import random
import select
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address

from penstock.engine.proxy.listening import open_socket
from penstock.engine.proxy.secure import TlsContexts
from penstock.errors import DatapathError
from penstock.proxied import Listener, LocalAddress, LocalKind
from penstock.stick.peers_session import Code, Lesson, PeerSession, Progress, State
from penstock.stick.peers_view import PeersView, PeerView, SharedView
from penstock.stick.sections import Peer, PeersSpec
from penstock.stick.table import Table
from penstock.terms import Address

RECONNECT = 5000  # PEER_RECONNECT_TIMEOUT of HAProxy
_RESYNC = 5000  # PEER_RESYNC_TIMEOUT: who has found no teacher by then knows all there is
_COLLISION = (50, 2050)  # doc/peers.txt: before calling again after both have called
_READ = 65536
_ENOUGH = 262144  # bytes waiting to be sent: no more is made until some have gone
_BACKLOG = 16
_NOWHERE = IPv4Address(0), 0
# In HAProxy's words and numbers (its src/peers.c).
_STATUSES: dict[int, str] = {
    Code.SUCCESS: "ESTA",
    Code.TRY_AGAIN: "RETR",
    Code.PROTOCOL: "PROT",
    Code.VERSION: "VERS",
    Code.HOST: "NAME",
    Code.PEER: "UNKN",
}
_STAGES = {State.HELLO: 1, State.STATUS: 6, State.OPEN: 7, State.CLOSED: 9}
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_PACE = 10  # between one telling of changes and the next, so that busy tables tell many at once


@dataclass(slots=True, eq=False)
class _Link:
    sock: socket.socket
    session: PeerSession
    shaking: bool  # TLS is not agreed yet, or the connection not there for it
    remote: _Remote | None  # None: a caller that has not said who it is
    out: bytearray = field(default_factory=bytearray)
    writing: bool = False
    caller: str = ""  # where it called from; "": we called
    answered: bool = False  # whether its hello is


@dataclass(slots=True, eq=False)
class _Remote:
    peer: Peer
    call_at: int
    link: _Link | None = None
    progress: Progress = field(default_factory=Progress)
    partial: bool = False  # has taught us, and did not know all
    calls: int = 0
    collisions: int = 0
    agreed_at: int | None = None  # when a hello was last answered, in either way


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """*code* is how the last hello was answered, None before one was."""

    name: str
    open: bool
    code: int | None


class Peers:
    """One peers section at work. Raises DatapathError when it cannot listen."""

    def __init__(
        self,
        spec: PeersSpec,
        tables: dict[str, Table],
        now: int,
        *,
        inherited: Mapping[int, int] | None = None,
    ) -> None:
        """*tables* by the names that peers know (``Tables.shared_with``).

        *inherited*: where inherited sockets are, if not under their own number.
        """
        self._spec = spec
        self._tls = TlsContexts()
        self._tables = tables
        self._poll = select.epoll()
        self._remotes = {peer.name: _Remote(peer, now) for peer in spec.peers}
        self._links: dict[int, _Link] = {}
        self._codes: dict[str, int] = {}
        self._learned = not spec.peers
        self._learned_at = now + _RESYNC
        self._told = now
        self._heir: _Remote | None = None  # the process that comes after this one
        self._heir_until = 0  # when it has to have asked for what we know
        self._began = int(time.time())
        self._turns = 0
        self._listener: socket.socket | None = None
        self._place: tuple[Address, int] | None = None  # of a network, where we listen
        if spec.listen is not None:
            try:
                self._listener = _listen(*spec.listen, inherited or {})
            except OSError as error:
                self._poll.close()
                raise DatapathError(
                    f"{spec.origin}: cannot listen for peers on {_shown(*spec.listen)}:"
                    f" {error.strerror}"
                ) from error
            self._place = _place(self._listener)
            self._poll.register(self._listener.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when ``run_once`` has something to do."""
        return self._poll.fileno()

    def close(self) -> None:
        self._part()
        self._poll.close()

    def _part(self) -> None:
        for link in list(self._links.values()):
            self._end(link)
        if self._listener is not None:
            self._poll.unregister(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def pass_on(self, now: int) -> None:
        """Stop but for this: tell all to the process that listens in our place."""
        self._part()
        self._remotes.clear()
        if self._place is not None:
            peer = Peer(self._spec.local, *self._place, tls=self._spec.local_tls)
            self._heir = _Remote(peer, now)
            self._heir_until = now + _RESYNC
            self._call(self._heir, now)

    def has_passed_on(self, now: int) -> bool:
        """Whether that is done, or nobody is there to be told."""
        link = self._heir.link if self._heir is not None else None
        if link is None or link.session.confirmed:
            return True
        return now >= self._heir_until and not link.session.teaching

    def status(self) -> tuple[PeerStatus, ...]:
        return tuple(
            PeerStatus(
                name,
                remote.link is not None and remote.link.session.state is State.OPEN,
                self._codes.get(name),
            )
            for name, remote in self._remotes.items()
        )

    def view(self, now: int) -> PeersView:
        """All there is to see."""
        return PeersView(
            self._spec.name,
            self._began,
            self._learned,
            self._learned_at - now,
            self._turns,
            tuple(self._view_of(remote, now) for remote in self._remotes.values()),
        )

    def _view_of(self, remote: _Remote, now: int) -> PeerView:
        peer, link, progress = remote.peer, remote.link, remote.progress
        session = link.session if link is not None else None
        code = self._codes.get(peer.name)
        status = "NONE" if code is None else _STATUSES.get(code, "NONE")
        under_way = session is not None and session.state is not State.OPEN
        if under_way or (code is None and remote.calls):
            status = "CONN"
        sent, heard = session.texts() if session is not None else ({}, {})
        return PeerView(
            peer.name,
            str(peer.address),
            peer.port,
            status=status,
            is_open=session is not None and session.state is State.OPEN,
            stage=None if session is None else _STAGES[session.state],
            caller=link.caller if link is not None else "",
            tls=link is not None and isinstance(link.sock, ssl.SSLSocket),
            handshake_ago=None if remote.agreed_at is None else now - remote.agreed_at,
            call_in=remote.call_at - now if link is None else None,
            heartbeat_in=None if session is None else session.heartbeat_in(now),
            heartbeats_sent=progress.heartbeats_sent,
            heartbeats_heard=progress.heartbeats_heard,
            silences=progress.silences,
            calls=remote.calls,
            faults=progress.faults,
            collisions=remote.collisions,
            learning=session is not None and session.lesson is Lesson.ASKED,
            partial=remote.partial,
            tables=self._idle_tables(progress) if session is None else session.shared(),
            sent_texts=sent,
            heard_texts=heard,
        )

    def _idle_tables(self, progress: Progress) -> tuple[SharedView, ...]:
        """As they are while there is no connection."""
        return tuple(
            SharedView(
                table.spec.name,
                number,
                0,
                progress.acked.get(table.spec.wire_name, 0),
                0,
                0,
                table.update,
            )
            for number, table in enumerate(self._tables.values(), start=1)
        )

    @property
    def learned(self) -> bool:
        """Whether we know all that peers knew before, or nobody was there to tell it."""
        return self._learned

    def deadline(self) -> int:
        """When ``run_once`` is to be called; sooner when tables have changed since it was asked."""
        times = [link.session.deadline() for link in self._links.values()]
        times += [remote.call_at for remote in self._remotes.values() if remote.link is None]
        if not self._learned:
            times.append(self._learned_at)
        if any(link.session.behind and not link.writing for link in self._links.values()):
            times.append(self._told + _PACE)
        return min(times, default=self._learned_at + RECONNECT)

    def run_once(self, now: int) -> None:
        """Read, write, call and tell, without waiting."""
        self._told = now
        self._turns += 1
        for fd, events in self._poll.poll(0):
            if self._listener is not None and fd == self._listener.fileno():
                self._accept(now)
                continue
            link = self._links.get(fd)
            if link is None:
                continue
            if link.shaking:
                self._shake(link, now)
            elif events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read(link, now)
        self._learn(now)
        for remote in self._remotes.values():
            if remote.link is None and now >= remote.call_at:
                self._call(remote, now)
        for link in list(self._links.values()):
            self._turn(link, now)

    # -- connections -----------------------------------------------------------------------------

    def _call(self, remote: _Remote, now: int) -> None:
        remote.call_at = now + RECONNECT
        remote.calls += 1
        peer = remote.peer
        sock = socket.socket(_family(peer.address.version), socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect((str(peer.address), peer.port))
        except BlockingIOError:
            pass
        except OSError:
            sock.close()
            return
        session = PeerSession(
            self._spec.local,
            self._tables,
            now,
            remote=peer.name,
            progress=remote.progress,
            complete=self._learned,
        )
        remote.link = self._add(sock, session, remote, shaking=peer.tls is not None)

    def _accept(self, now: int) -> None:
        assert self._listener is not None  # noqa: S101  # it was what could be read
        try:
            sock, where = self._listener.accept()
        except OSError:
            return  # the caller has gone, or there are no descriptors: it will call again
        sock.setblocking(False)
        try:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._spec.tls is not None:
                sock = self._tls.accept(self._spec.tls, sock)
        except OSError:
            sock.close()
            return
        session = PeerSession(
            self._spec.local,
            self._tables,
            now,
            known={*self._remotes, self._spec.local},
            complete=self._learned,
        )
        link = self._add(sock, session, None, shaking=self._spec.tls is not None)
        link.caller = f"{where[0]}:{where[1]}" if isinstance(where, tuple) else "unix"

    def _shake(self, link: _Link, now: int) -> None:
        """Agree on TLS, as far as it goes."""
        tls = link.remote.peer.tls if link.remote is not None else None
        try:
            if tls is not None and not isinstance(link.sock, ssl.SSLSocket):
                link.sock.getpeername()  # else it is not connected yet
                link.sock = self._tls.wrap(tls, link.sock, None)
            assert isinstance(link.sock, ssl.SSLSocket)  # noqa: S101  # or nobody would shake
            link.sock.do_handshake()
            link.shaking = link.writing = False
            events = select.EPOLLIN
        except ssl.SSLWantReadError:
            events = select.EPOLLIN
        except ssl.SSLWantWriteError:
            events = select.EPOLLIN | select.EPOLLOUT
        except OSError:
            self._end(link)
            return
        self._poll.modify(link.sock.fileno(), events)
        if not link.shaking:
            self._read(link, now)  # what came with the end of the handshake

    def _learn(self, now: int) -> None:
        """Have one peer at a time tell all it knows, until one did who knows all."""
        links = list(self._links.values())
        if self._heir is not None:
            return
        if self._learned or any(link.session.lesson is Lesson.ASKED for link in links):
            return
        for link in links:
            remote = link.remote
            if remote is not None and link.session.state is State.OPEN and not remote.partial:
                link.session.ask()
                return
        self._learned = now >= self._learned_at

    def _add(
        self, sock: socket.socket, session: PeerSession, remote: _Remote | None, *, shaking: bool
    ) -> _Link:
        link = _Link(sock, session, shaking, remote)
        self._links[sock.fileno()] = link
        events = select.EPOLLIN | (select.EPOLLOUT if shaking else 0)
        self._poll.register(sock.fileno(), events)
        return link

    def _end(self, link: _Link) -> None:
        if self._links.pop(link.sock.fileno(), None) is None:
            return
        self._poll.unregister(link.sock.fileno())
        link.sock.close()
        if link.remote is not None and link.remote.link is link:
            link.remote.link = None

    # -- bytes -----------------------------------------------------------------------------------

    def _read(self, link: _Link, now: int) -> None:
        self._receive(link, now)
        # What TLS has decrypted no longer makes its socket readable.
        while isinstance(link.sock, ssl.SSLSocket) and link.sock.fileno() >= 0:
            if not link.sock.pending():
                return
            self._receive(link, now)

    def _receive(self, link: _Link, now: int) -> None:
        try:
            data = link.sock.recv(_READ)
        except _NOT_NOW:
            return
        except OSError:
            data = b""
        if not data:
            if link.session.lesson is Lesson.ASKED:
                self._learned_at = now + _RESYNC
            self._end(link)
            return
        session = link.session
        session.receive(data, now)
        if link.remote is None and session.code == Code.SUCCESS and session.remote is not None:
            if session.remote == self._spec.local:
                self._inherit(link, now)
            else:
                self._welcome(link, self._remotes[session.remote], now)
        if link.remote is not None:
            if session.code is not None:
                if not link.answered:
                    link.answered, link.remote.agreed_at = True, now
                self._codes[link.remote.peer.name] = session.code
            if session.lesson is Lesson.FINISHED:
                self._learned = True
            if session.lesson is Lesson.PARTIAL and not link.remote.partial:
                link.remote.partial = True
                self._learned_at = now + _RESYNC

    def _welcome(self, link: _Link, remote: _Remote, now: int) -> None:
        """A caller has said its name: of two connections with it, the later one stays."""
        before = remote.link
        link.remote, remote.link = remote, link
        if before is not None:
            # Both may do so at once; then it must not go on for ever.
            remote.call_at = now + random.randint(*_COLLISION)  # noqa: S311  # no secret
            remote.collisions += 1
            self._end(before)
        link.session.use_progress(remote.progress)

    def _inherit(self, link: _Link, now: int) -> None:
        """The process before this one calls: it knows all that we are to know."""
        link.remote = _Remote(Peer(self._spec.local, *_NOWHERE), now, link)
        link.session.ask()

    def _turn(self, link: _Link, now: int) -> None:
        session = link.session
        session.complete = self._learned
        session.tick(now)
        if link.shaking:
            if session.state is State.CLOSED:
                self._end(link)
            return
        while len(link.out) < _ENOUGH:
            session.push(now)
            made = session.take()
            if not made:
                break
            link.out += made
        self._write(link)
        if session.state is State.CLOSED:
            self._end(link)

    def _write(self, link: _Link) -> None:
        try:
            while link.out:
                del link.out[: link.sock.send(link.out)]
        except _NOT_NOW:
            pass
        except OSError:
            self._end(link)
            return
        if bool(link.out) is not link.writing:
            link.writing = bool(link.out)
            events = select.EPOLLIN | (select.EPOLLOUT if link.writing else 0)
            self._poll.modify(link.sock.fileno(), events)


def _family(version: int) -> int:
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def _place(listener: socket.socket) -> tuple[Address, int] | None:
    """None: it is a UNIX socket."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    host, port, *_ = listener.getsockname()
    return ip_address(host), port


def _shown(address: Address | LocalAddress, port: int) -> str:
    if isinstance(address, LocalAddress):
        return f"{address.kind}@{address.name}"
    return f"{address}:{port}"


def _listen(
    address: Address | LocalAddress, port: int, inherited: Mapping[int, int]
) -> socket.socket:
    """Raises OSError."""
    if isinstance(address, LocalAddress):
        return _local(address, inherited)
    sock = socket.socket(_family(address.version), socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The process that comes after this one listens there before this one stops.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
        sock.bind((str(address), port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _local(address: LocalAddress, inherited: Mapping[int, int]) -> socket.socket:
    if address.kind is LocalKind.INHERITED:
        number = int(address.name)
        sock = socket.socket(fileno=os.dup(inherited.get(number, number)))
        sock.setblocking(False)
        return sock
    return open_socket(Listener(address), stream=True, backlog=_BACKLOG)
