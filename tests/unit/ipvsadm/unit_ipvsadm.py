# SPDX-License-Identifier: Apache-2.0
"""A rule table that remembers, streams that are texts and names from a dictionary."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from penstock.ipvs.model import (
    AddDest,
    AddService,
    Command,
    Connection,
    Destination,
    DestRow,
    Flush,
    ServiceKey,
    ServiceRow,
    SyncDaemon,
    VirtualService,
)
from penstock.ipvsadm.command import restore, run, save
from penstock.ipvsadm.session import Session, Unavailable

VIP = ServiceKey(6, "198.51.100.7", 443)


class NamesOf:
    """What /etc/hosts and /etc/services would say."""

    def __init__(self) -> None:
        self.hosts = {"web.test": "198.51.100.7", "rs.test": "192.0.2.20"}
        self.ports = {("https", 6): 443, ("domain", 6): 53, ("domain", 17): 53}

    def address(self, host: str) -> str | None:
        return self.hosts.get(host)

    def port(self, service: str, protocol: int) -> int | None:
        return self.ports.get((service, protocol))

    def host(self, address: str) -> str:
        return next((name for name, a in self.hosts.items() if a == address), address)

    def service(self, port: int, protocol: int) -> str:
        known = (n for (n, proto), p in self.ports.items() if (p, proto) == (port, protocol))
        return next(known, str(port))


class Table:
    """Adds and flushes as the kernel would; all else is answered with ``answer``."""

    def __init__(self) -> None:
        self.rows: dict[ServiceKey, tuple[VirtualService, list[Destination]]] = {}
        self.commands: list[Command] = []
        self.requests = 0
        self.answer = 0
        self.entries: list[Connection] = []
        self.running: list[SyncDaemon] = []
        self.unavailable = ""
        self.forbidden = ""

    def check_user(self) -> None:
        if self.forbidden:
            raise Unavailable(self.forbidden)

    def carry_out(self, commands: Sequence[Command]) -> Sequence[int]:
        self._reach()
        self.requests += 1
        self.commands += commands
        return [self._one(command) for command in commands]

    def _reach(self) -> None:
        if self.unavailable:
            raise Unavailable(self.unavailable)

    def _one(self, command: Command) -> int:
        if isinstance(command, Flush):
            self.rows.clear()
        elif isinstance(command, AddService):
            if command.service.key in self.rows:
                return errno.EEXIST
            self.rows[command.service.key] = command.service, []
        elif isinstance(command, AddDest):
            if command.key not in self.rows:
                return errno.ESRCH
            self.rows[command.key][1].insert(0, command.dest)
        else:
            return self.answer
        return 0

    def services(self, key: ServiceKey | None = None) -> Sequence[ServiceRow]:
        self._reach()
        return [
            ServiceRow(service, tuple(DestRow(dest, weight=dest.weight) for dest in dests))
            for at, (service, dests) in self.rows.items()
            if key in (None, at)
        ]

    def connections(self) -> Sequence[Connection]:
        return self.entries

    def timeouts(self) -> tuple[int, int, int]:
        return 900, 120, 300

    def daemons(self) -> Sequence[SyncDaemon]:
        return self.running


class Texts:
    def __init__(self, stdin: str = "") -> None:
        self.stdin = stdin
        self.stdout = ""
        self.stderr = ""

    def read(self) -> str:
        return self.stdin

    def out(self, text: str) -> None:
        self.stdout += text

    def error(self, text: str) -> None:
        self.stderr += text


class Shell:
    """Runs the programs on one table; what they say and end with is kept."""

    def __init__(self) -> None:
        self.table = Table()
        self.status = 0
        self.out = ""
        self.err = ""

    def __call__(self, line: str, stdin: str = "") -> Shell:
        return self.words(*line.split(), stdin=stdin)

    def words(self, *words: str, stdin: str = "") -> Shell:
        streams = Texts(stdin)
        session = Session(self.table, streams, NamesOf())
        program = words[0]
        if program == "ipvsadm-save":
            self.status = save(words, session)
        elif program == "ipvsadm-restore":
            self.status = restore(session)
        else:
            self.status = run(words, session)
        self.out, self.err = streams.stdout, streams.stderr
        return self
