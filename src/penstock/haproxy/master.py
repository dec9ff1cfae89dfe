# SPDX-License-Identifier: Apache-2.0
"""The master while its workers work: signals, ends of processes, the master's command sockets.

It reads no configuration: for a reload it executes itself, reads, starts a worker, and executes
itself again to come back here small. What it knows goes along in the environment, sockets and
children stay what they are.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from typing import Final, NoReturn

from penstock.dialect import VERSION
from penstock.errors import PenstockError
from penstock.haproxy.arguments import Arguments
from penstock.haproxy.master_sockets import Address, MasterSockets
from penstock.haproxy.roster import VARIABLE, Child, Roster
from penstock.haproxy.voice import Voice
from penstock.instance import notify

SIGNALS: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP),
    *(signal.SIGCHLD, signal.SIGTTOU, signal.SIGTTIN),
)
_INTERRUPTED: Final = (0, 130, 143)  # ends that are no failure of a worker


def execute_again(roster: Roster, words: list[str]) -> NoReturn:
    """Become a new master with the same children. Signals wait until it listens to them.

    Raises OSError where the program cannot be executed any more.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.environ[VARIABLE] = roster.to_text()
    for child in roster.children:
        if child.link >= 0:
            os.set_inheritable(child.link, True)
    program = os.path.abspath(sys.argv[0])
    name = [] if os.path.basename(program) == "haproxy" else ["haproxy"]
    if program.endswith(".py"):  # python -m penstock
        start = [sys.executable, "-m", "penstock", *name, *words]
        os.execv(sys.executable, start)  # noqa: S606  # ourselves
    os.execv(program, [program, *name, *words])  # noqa: S606


class Master:
    """The loop."""

    def __init__(
        self, roster: Roster, arguments: Arguments, words: list[str], voice: Voice
    ) -> None:
        self._roster = roster
        self._arguments = arguments
        self._words = words
        self._voice = voice
        self._exit_code = -1
        self._selector = selectors.DefaultSelector()
        self._arrived: set[int] = set()  # signals that nothing was done about yet
        self._addresses = [Address.of(text) for text in arguments.master_sockets]

    def run(self) -> int:
        """Until the last child has ended; the exit status. Raises PenstockError."""
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        reader.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for wanted in SIGNALS:
            signal.signal(wanted, lambda *_: None)
        sockets = MasterSockets(self._selector, self._roster, self._answer, self._reload)
        for address in self._addresses:
            sockets.listen(address.listen(), address.level)
        self._reader = reader
        self._selector.register(reader, selectors.EVENT_READ, lambda _: self._take())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._arrived.add(int(signal.SIGCHLD))  # of those who ended while nobody listened
        while True:
            for number in [signal.Signals(one) for one in sorted(self._arrived)]:
                self._arrived.discard(int(number))
                if self._on_signal(number):
                    code = max(self._exit_code, 0)
                    self._voice.warning(f"All workers exited. Exiting... ({code})")
                    return code
            for key, events in self._selector.select():
                key.data(events)

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._arrived.update(self._reader.recv(64))

    # -- signals -----------------------------------------------------------------------------

    def _on_signal(self, number: signal.Signals) -> bool:
        """Whether there are no children any more."""
        match number:
            case signal.SIGCHLD:
                return self._reap()
            case signal.SIGUSR2 | signal.SIGHUP:
                self._reload()
            case signal.SIGTTOU | signal.SIGTTIN:
                self._kill(number)
            case _:
                if self._arguments.notify:
                    notify.stopping()
                self._voice.warning("Exiting Master process...")
                self._kill(number)
        return False

    def _kill(self, number: int) -> None:
        for child in self._roster.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    def _reload(self) -> None:
        self._voice.notice("Reloading HAProxy")
        if self._arguments.notify:
            notify.reloading()
        self._roster.reloads += 1
        for child in self._roster.children:
            child.reloads += 1
        self._roster.waits = False
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._take()
        for number in self._arrived:  # for the next master to find
            os.kill(os.getpid(), number)
        try:
            execute_again(self._roster, self._words)
        except OSError as error:  # the program is gone, or is being replaced: its children go on
            self._voice.warning(
                f"Failed to reexecute the master process [{os.getpid()}]: {error.strerror}"
            )
        self._roster.waits = True
        self._roster.failed += 1
        if self._arguments.notify:
            notify.master_ready(os.getpid())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    # -- ends of processes -------------------------------------------------------------------

    def _reap(self) -> bool:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if not pid:
                return False
            code = os.waitstatus_to_exitcode(status)
            self._ended(pid, code if code >= 0 else 128 - code)

    def _ended(self, pid: int, code: int) -> None:
        how = f"exited with code {code} ({_strsignal(code - 128) if code >= 128 else 'Exit'})"
        child = next((one for one in self._roster.children if one.pid == pid), None)
        if child is None:
            self._voice.warning(f"Process {pid} {how}")
            return
        self._roster.children.remove(child)
        if child.link >= 0:
            os.close(child.link)
        self._tell_end(child, how, code)
        if child.leaving:
            return
        if code not in _INTERRUPTED and not self._roster.survives:
            self._voice.alert("exit-on-failure: killing every processes with SIGTERM")
            self._kill(signal.SIGTERM)
        if self._exit_code < 0 and code not in (0, 143):
            self._exit_code = code

    def _tell_end(self, child: Child, how: str, code: int) -> None:
        age = "Former" if child.leaving else "Current"
        if child.is_worker:
            say = self._voice.alert if code >= 128 and not child.leaving else self._voice.warning
            say(f"{age} worker ({child.pid}) {how}")
        else:
            say = self._voice.warning if child.leaving else self._voice.alert
            say(f"{age} program '{child.program}' ({child.pid}) {how}")

    # -- commands ----------------------------------------------------------------------------

    def _answer(self, words: list[str], level: str) -> str | None:
        match words:
            case ["show", "proc", *_]:
                return self._roster.table(os.getpid(), VERSION, int(time.time()))
            case ["show", "version"]:
                return f"{VERSION}\n"
            case ["show", "cli", "level"]:
                return f"{level}\n"
            case ["show", "cli", "sockets"]:
                listed = "".join(f"{one.where} {one.level} 0\n" for one in self._addresses)
                return f"# socket lvl processes\n{listed}"
        from penstock.haproxy.master_commands import help_text  # noqa: PLC0415

        return help_text(words)


def _strsignal(number: int) -> str:
    return signal.strsignal(number) or f"Unknown signal {number}"


def wait(roster: Roster, arguments: Arguments, words: list[str], voice: Voice) -> int:
    """The exit status of a master that has nothing to start."""
    try:
        return Master(roster, arguments, words, voice).run()
    except PenstockError as error:
        voice.alert(str(error))
        return 1
