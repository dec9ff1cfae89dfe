# SPDX-License-Identifier: Apache-2.0
"""The master's command sockets (``-S``) and their clients, on the master's selector."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass

from penstock.errors import PenstockError
from penstock.haproxy.master_dialogue import Close, Dialogue, Forward, Reload, Say
from penstock.haproxy.roster import Child, Roster
from penstock.spare import Spare

_CHUNK = 1 << 16
_BACKLOG = 128
_PATIENCE = 2.0  # seconds that a worker may not take what it is asked: the master has others


@dataclass(frozen=True, slots=True)
class Address:
    """One ``-S``: where to listen, and what it says behind the commas."""

    where: str
    level: str = "admin"
    mode: int | None = None
    user: str | None = None
    group: str | None = None

    @classmethod
    def of(cls, text: str) -> Address:
        """*text* as on the command line. Raises PenstockError."""
        where, *options = text.split(",")
        said: dict[str, str] = {}
        while options:
            name = options.pop(0)
            if name not in ("level", "mode", "user", "group", "uid", "gid") or not options:
                raise PenstockError(f"-S {text}: '{name}' is not an option with a value of it")
            said[name] = options.pop(0)
        level = said.get("level", "admin")
        if level not in ("user", "operator", "admin"):
            raise PenstockError(f"-S {text}: 'level' is user, operator or admin, not '{level}'")
        mode = said.get("mode")
        if mode is not None and (not mode or mode.strip("01234567")):
            raise PenstockError(f"-S {text}: 'mode' expects an octal integer")
        return cls(
            where,
            level,
            int(mode, 8) if mode is not None else None,
            said.get("user") or (f"#{said['uid']}" if "uid" in said else None),
            said.get("group") or (f"#{said['gid']}" if "gid" in said else None),
        )

    def listen(self) -> socket.socket:
        """Raises PenstockError."""
        try:
            return self._listen()
        except (OSError, KeyError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise PenstockError(f"cannot listen on {self.where} for the master: {reason}") from None

    def _listen(self) -> socket.socket:
        kind, _, rest = self.where.partition("@")
        if kind == "fd" and rest.isdecimal():
            return socket.socket(fileno=os.dup(int(rest)))
        if kind in ("unix", "uxst") or self.where.startswith("/"):
            return self._listen_path(rest if not self.where.startswith("/") else self.where)
        if kind == "abns":
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.bind(b"\0" + rest.encode())
            sock.listen(_BACKLOG)
            return sock
        host, _, port = (rest or self.where).rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server(
            (host.strip("[]").replace("*", ""), int(port)), family=family, backlog=_BACKLOG
        )

    def _listen_path(self, path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        temporary = f"{path}.{os.getpid()}.tmp"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        before = os.umask(0o177 if self.mode is None else 0o777 & ~self.mode)
        try:
            sock.bind(temporary)
        finally:
            os.umask(before)
        os.chown(temporary, *self._owner())
        sock.listen(_BACKLOG)
        os.rename(temporary, path)
        return sock

    def _owner(self) -> tuple[int, int]:
        user, group = self.user, self.group
        return (
            -1
            if user is None
            else int(user[1:])
            if user.startswith("#")
            else pwd.getpwnam(user).pw_uid,
            -1
            if group is None
            else int(group[1:])
            if group.startswith("#")
            else grp.getgrnam(group).gr_gid,
        )


class _Client:
    __slots__ = ("answered", "dialogue", "sock", "unsent", "watched", "worker")

    def __init__(self, sock: socket.socket, dialogue: Dialogue) -> None:
        self.sock = sock
        self.dialogue = dialogue
        self.unsent = bytearray()
        self.worker: socket.socket | None = None  # whose answer is passed on
        self.watched: dict[socket.socket, int] = {}  # its sockets and the events waited for
        self.answered = False  # it has asked something


class MasterSockets:
    """Answers clients; each one's commands are carried out one after the other."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        roster: Roster,
        answer: Callable[[list[str], str], str | None],
        reload: Callable[[], None],
    ) -> None:
        self._selector = selector
        self._roster = roster
        self._answer = answer
        self._reload = reload
        self._spare = Spare()

    def listen(self, sock: socket.socket, level: str) -> None:
        """Take clients of *sock*, who may do what *level* may."""
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, lambda _: self._accept(sock, level))

    def _accept(self, listener: socket.socket, level: str) -> None:
        sock = self._spare.accept(listener)
        if sock is not None:
            sock.setblocking(False)
            self._watch(_Client(sock, Dialogue(self._roster, level, self._answer)))

    def _watch(self, client: _Client) -> None:
        """Wait for whoever has to do something now: the client, or the worker that it asked."""
        wanted: dict[socket.socket, int] = {}
        if client.unsent:
            wanted[client.sock] = selectors.EVENT_WRITE
        elif client.worker is not None:
            wanted[client.worker] = selectors.EVENT_READ
        else:
            wanted[client.sock] = selectors.EVENT_READ
        if wanted != client.watched:
            self._forget(client)
            for sock, events in wanted.items():
                self._selector.register(sock, events, lambda _: self._on_events(client))
            client.watched = wanted

    def _forget(self, client: _Client) -> None:
        for sock in client.watched:
            self._selector.unregister(sock)
        client.watched = {}

    def _on_events(self, client: _Client) -> None:
        try:
            if client.unsent:
                self._send(client)
            elif client.worker is not None:
                self._pass_on(client, client.worker)
            else:
                client.dialogue.receive(client.sock.recv(_CHUNK))
            self._go_on(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _go_on(self, client: _Client) -> None:
        """Carry out what there is to do, until something has to be waited for."""
        while client.worker is None and not client.unsent:
            if client.answered and client.dialogue.is_over():
                self._drop(client)
                return
            order = client.dialogue.next_order()
            if order is None:
                break
            client.answered = True
            match order:
                case Close():
                    self._drop(client)
                    return
                case Reload():
                    self._reload()
                    self._drop(client)
                    return
                case Forward(worker, text):
                    self._forward(client, worker, text)
                case Say(text):
                    client.unsent += text.encode()
                    self._send(client)
        self._watch(client)

    def _send(self, client: _Client) -> None:
        """What does not fit now goes when the client has read."""
        with contextlib.suppress(BlockingIOError):
            while client.unsent:
                del client.unsent[: client.sock.send(client.unsent)]

    def _forward(self, client: _Client, worker: Child, text: str) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs, socket.socket(fileno=os.dup(worker.link)) as link:
                socket.send_fds(link, [b"+"], [theirs.fileno()], socket.MSG_DONTWAIT)
            ours.settimeout(_PATIENCE)
            ours.sendall(text.encode())
            ours.shutdown(socket.SHUT_WR)
        except OSError:
            ours.close()
            client.unsent += b"Can't connect to the target CLI!\n"
            self._send(client)
            return
        ours.setblocking(False)
        client.worker = ours

    def _pass_on(self, client: _Client, worker: socket.socket) -> None:
        """The next part of a worker's answer; its end is followed by a prompt."""
        try:
            data = worker.recv(_CHUNK)
        except BlockingIOError:
            raise
        except OSError:
            data = b""
        if not data:
            self._forget(client)
            worker.close()
            client.worker = None
            data = client.dialogue.prompt_text().encode()
        client.unsent += data
        self._send(client)

    def _drop(self, client: _Client) -> None:
        self._forget(client)
        if client.worker is not None:
            client.worker.close()
        client.sock.close()
