# SPDX-License-Identifier: Apache-2.0
"""What a command touches: the daemon, the standard streams, name services and its user.

The control socket's client and its vocabulary are imported when the daemon is asked, so that
``-h`` and errors of a command line cost no more than reading it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from penstock.ipvsadm.messages import MUST_BE_ROOT
from penstock.ipvsadm.names import Names, SystemNames

if TYPE_CHECKING:
    from penstock.api.wire import Reply, Request
    from penstock.ipvs.model import Command, Connection, ServiceKey, ServiceRow, SyncDaemon


class Unavailable(Exception):
    """Nobody carries IPVS out here; the text is the reason."""


class Rules(Protocol):
    """The rule table, as a command sees it. Methods raise Unavailable."""

    def check_user(self) -> None:
        """Raise Unavailable when this user may not use it."""

    def carry_out(self, commands: Sequence[Command]) -> Sequence[int]:
        """Run *commands* one after the other; an errno for each, 0 for done."""

    def services(self, key: ServiceKey | None = None) -> Sequence[ServiceRow]:
        """All services or one, none where that one is not there."""

    def connections(self) -> Sequence[Connection]:
        """All connections and persistence templates."""

    def timeouts(self) -> tuple[int, int, int]:
        """Seconds: TCP, TCP after a FIN, UDP."""

    def daemons(self) -> Sequence[SyncDaemon]:
        """The synchronisation daemons that run."""


class Streams(Protocol):
    """Standard input, output and error; texts hold other bytes as surrogates."""

    def read(self) -> str: ...

    def out(self, text: str) -> None: ...

    def error(self, text: str) -> None: ...


class Daemon:
    """The rule table behind the control socket; starts a daemon where there is none."""

    def check_user(self) -> None:
        if os.geteuid() != 0:
            raise Unavailable(MUST_BE_ROOT)

    def carry_out(self, commands: Sequence[Command]) -> Sequence[int]:
        from penstock.api.wire import Rules, RulesDone  # noqa: PLC0415

        reply = self._ask(Rules(tuple(commands)))
        if not isinstance(reply, RulesDone):
            raise _other_answer(reply)
        return reply.results

    def services(self, key: ServiceKey | None = None) -> Sequence[ServiceRow]:
        from penstock.api.wire import GetRules, RuleTable  # noqa: PLC0415

        reply = self._ask(GetRules(key))
        if not isinstance(reply, RuleTable):
            raise _other_answer(reply)
        return reply.services

    def connections(self) -> Sequence[Connection]:
        from penstock.api.wire import Connections, GetConnections  # noqa: PLC0415

        reply = self._ask(GetConnections())
        if not isinstance(reply, Connections):
            raise _other_answer(reply)
        return reply.entries

    def timeouts(self) -> tuple[int, int, int]:
        from penstock.api.wire import DirectorInfo, GetDirector  # noqa: PLC0415

        reply = self._ask(GetDirector())
        if not isinstance(reply, DirectorInfo):
            raise _other_answer(reply)
        return reply.tcp_timeout, reply.tcp_fin_timeout, reply.udp_timeout

    def daemons(self) -> Sequence[SyncDaemon]:
        from penstock.api.wire import DirectorInfo, GetDirector  # noqa: PLC0415

        reply = self._ask(GetDirector())
        if not isinstance(reply, DirectorInfo):
            raise _other_answer(reply)
        return reply.sync

    def _ask(self, request: Request) -> Reply:
        from penstock.api.client import ask  # noqa: PLC0415
        from penstock.errors import NotRunning, PenstockError  # noqa: PLC0415
        from penstock.instance.runtime import RuntimePaths  # noqa: PLC0415

        try:
            paths = RuntimePaths.of(os.environ)
            try:
                return ask(paths.socket, request)
            except NotRunning:
                from penstock.ipvsadm.start import ensure_daemon  # noqa: PLC0415

                ensure_daemon(paths)
                return ask(paths.socket, request)
        except PenstockError as error:
            raise Unavailable(str(error)) from error


def _other_answer(reply: Reply) -> Unavailable:
    return Unavailable(f"the daemon answers with {type(reply).__name__}; is it another version?")


class StandardStreams:
    """The process's own."""

    def read(self) -> str:
        return sys.stdin.buffer.read().decode(errors="surrogateescape")

    def out(self, text: str) -> None:
        sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
        sys.stdout.buffer.flush()

    def error(self, text: str) -> None:
        sys.stderr.buffer.write(text.encode(errors="surrogateescape"))
        sys.stderr.buffer.flush()


class Session:
    """All that a command needs of the world."""

    def __init__(
        self,
        rules: Rules | None = None,
        streams: Streams | None = None,
        names: Names | None = None,
    ) -> None:
        self.rules = rules or Daemon()
        self.streams = streams or StandardStreams()
        self.names = names or SystemNames()
