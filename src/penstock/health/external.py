# SPDX-License-Identifier: Apache-2.0
"""``option external-check``: a program decides, by its exit status (HAProxy manual 4.2).

It is started without a shell, watched through a pidfd, and killed when its time is up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
from dataclasses import dataclass

from penstock.checks.codes import CheckCode
from penstock.checks.model import External
from penstock.health.verdict import Verdict

_EXHAUSTED = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


@dataclass(frozen=True, slots=True)
class Facts:
    """What a program is told of the proxy and the server that it checks."""

    proxy: str
    proxy_id: int
    server: str
    server_id: int
    address: str  # a path where the server is a UNIX socket
    port: str  # empty then
    maxconn: int
    sessions: int


def arguments(external: External, facts: Facts) -> list[str]:
    """The command line: the proxy's address and port, then the server's."""
    address, port = (one or "NOT_USED" for one in external.listener)
    return [external.command, address, port, facts.address, facts.port]


def environment(external: External, facts: Facts) -> dict[str, str]:
    """Its environment: nothing of ours."""
    address, port = external.listener
    return {
        "PATH": external.path or "",  # nothing is found then, as with HAProxy
        "HAPROXY_PROXY_NAME": facts.proxy,
        "HAPROXY_PROXY_ID": str(facts.proxy_id),
        "HAPROXY_PROXY_ADDR": address,
        "HAPROXY_PROXY_PORT": port,
        "HAPROXY_SERVER_NAME": facts.server,
        "HAPROXY_SERVER_ID": str(facts.server_id),
        "HAPROXY_SERVER_ADDR": facts.address,
        "HAPROXY_SERVER_PORT": facts.port,
        "HAPROXY_SERVER_MAXCONN": str(facts.maxconn),
        "HAPROXY_SERVER_CURCONN": str(facts.sessions),
    }


class Program:
    """An ``Attempt`` that runs a program."""

    def __init__(self, external: External, facts: Facts, patience: float) -> None:
        """*patience*: seconds that it may take."""
        self._external = external
        self._facts = facts
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self.generation = 1
        self.deadline = 0.0
        self.wanted = select.EPOLLIN

    def fileno(self) -> int:
        return self._pidfd

    def begin(self, now: float) -> Verdict | None:
        self.deadline = now + self._patience
        made = environment(self._external, self._facts)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # the configuration names it
                arguments(self._external, self._facts),
                executable=_find(self._external.command, made["PATH"]),
                env=made,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                close_fds=True,
                start_new_session=True,  # so that what it starts goes with it
            )
        except OSError as error:
            if error.errno in _EXHAUSTED:
                return _not_started(error)
            # HAProxy forks first; its child exits with 255 when there is no such program.
            return Verdict(CheckCode.PROCERR, number=255)
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError as error:
            return _not_started(error)
        return None

    def ready(self, events: int, now: float) -> Verdict | None:
        assert self._process is not None  # noqa: S101  # its pidfd is what was ready
        status = self._process.poll()
        if status is None:
            return None
        if status == 0:
            return Verdict(CheckCode.PROCOK)
        return Verdict(CheckCode.PROCERR, number=status if status > 0 else -1)

    def expired(self, now: float) -> Verdict:
        return Verdict(CheckCode.PROCTOUT)

    def close(self) -> None:
        """Kill it if it still runs; it is waited for, so that no zombie stays."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd = -1


def _not_started(error: OSError) -> Verdict:
    """This machine cannot, which says nothing of the program (HAProxy's src/extcheck.c)."""
    return Verdict(CheckCode.SOCKERR, os.strerror(error.errno or errno.EIO))


def _find(command: str, path: str) -> str:
    """Where *command* is; as it stands when it is nowhere."""
    if "/" in command:
        return command
    for folder in path.split(":"):
        candidate = os.path.join(folder or ".", command)
        if os.access(candidate, os.X_OK):
            return candidate
    return command
