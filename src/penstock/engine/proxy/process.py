# SPDX-License-Identifier: Apache-2.0
"""A worker as the daemon sees it: a child process and the socket to it."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import termios

from penstock.engine.proxy.forked import ForkedProcess, can_fork, fork_worker
from penstock.engine.proxy.messages import Ask, Drain, Hello, Order, Put, send
from penstock.engine.proxy.privileges import Owner
from penstock.engine.proxy.questions import Question, await_answer
from penstock.errors import DatapathError

_END_SECONDS = 5.0
_ANSWER_SECONDS = 2.0  # that the daemon waits at most: a worker may have just been started
_PATIENCE = 10.0  # seconds that a worker may not listen to us before it counts as stuck


class WorkerProcess:
    """Started by the constructor. Raises OSError where no process can be started."""

    def __init__(
        self, number: int, workers: int, owner: Owner, program: str, *, forks: bool = False
    ) -> None:
        """*program*: what log lines call us; *forks*: this process is penstock's own."""
        self._program = program
        self._answers, self._their_answers = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._asked = 0
        self._link, theirs = socket.socketpair()
        self._link.settimeout(_PATIENCE)
        with theirs:
            link = theirs.fileno()
            arguments = list(map(str, (link, number, workers, owner.user, owner.group)))
            self._process: ForkedProcess | subprocess.Popen[bytes]
            if forks and can_fork():
                self._process = fork_worker(arguments, link)
            else:
                command = [sys.executable, "-m", "penstock.engine.proxy", *arguments]
                self._process = subprocess.Popen(  # noqa: S603  # this very program
                    command, pass_fds=[link], stdin=subprocess.DEVNULL
                )

    def greet(self, board: int) -> None:
        """The first order: *board* is the board's descriptor."""
        self.send(Hello(self._program, os.getpid()), (board, self._their_answers.fileno()))
        self._their_answers.close()

    def ask(self, question: Question) -> object:
        """What it answers. Raises DatapathError where it does not answer soon."""
        self._asked += 1
        self.send(Ask(self._asked, question))
        try:
            return await_answer(self._answers, self._asked, _ANSWER_SECONDS)
        except (TimeoutError, OSError):
            raise DatapathError("the proxy engine is busy and does not answer; ask again") from None

    @property
    def pid(self) -> int:
        return self._process.pid

    def status(self) -> int | None:
        """Its exit status; None: it runs."""
        return self._process.poll()

    @property
    def has_heard(self) -> bool:
        """Whether it has taken in every order, or is gone."""
        unread = fcntl.ioctl(self._link, termios.TIOCOUTQ, bytes(4))
        return not int.from_bytes(unread, sys.byteorder) or self.status() is not None

    def send(self, order: Order, fds: tuple[int, ...] = ()) -> None:
        """Raises nothing: one that is gone or stuck is replaced by whoever looks after it."""
        try:
            send(self._link, order, order.descriptors if isinstance(order, Put) else fds)
        except TimeoutError:
            self._process.kill()  # half an order is worse than none
        except (BrokenPipeError, ConnectionResetError):
            pass

    def end(self, order: Drain, *, wait: bool) -> None:
        self.send(order)
        self.close()
        if not wait:
            return
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self._link.close()
        self._answers.close()
        self._their_answers.close()
