# SPDX-License-Identifier: Apache-2.0
"""A master's start: programs and a worker from what was read; then it waits, small."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn

from penstock.config.haproxy import LoadResult
from penstock.dialect import VERSION
from penstock.haproxy.arguments import Arguments
from penstock.haproxy.background import PidFile
from penstock.haproxy.master import SIGNALS, execute_again
from penstock.haproxy.predecessors import Predecessors
from penstock.haproxy.roster import VARIABLE, Child, Roster
from penstock.haproxy.serving import Surroundings, serve
from penstock.haproxy.start import Start
from penstock.haproxy.voice import Voice
from penstock.instance import notify
from penstock.process import ProcessSettings, Program

_CANNOT_EXECUTE = 127


def launch(start: Start, loaded: LoadResult, roster: Roster, up: Callable[[], None]) -> int:
    """Start what the configuration asks for, and be its master; returns where that fails."""
    arguments, voice = start.arguments, start.voice
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    said = loaded.configuration.settings.process
    again = bool(roster.children) or roster.reloads > 0
    roster.since = roster.since or int(time.time())
    roster.survives = not said.ends_with_worker
    old = list(roster.children)
    if again and arguments.sockets_from is None and (current := roster.current()) is not None:
        link = socket.socket(fileno=os.dup(current.link))
        before = Predecessors(link=link)
    else:
        before = Predecessors(arguments.old, arguments.old_terminate, arguments.sockets_from)
    started = _programs(said, roster, voice)
    worker, is_up = _fork_worker(arguments, loaded, voice, before, roster)
    voice.notice(f"New worker ({worker.pid}) forked")
    if not is_up:
        return _failed(start, roster, [*started, worker], again=again)
    _retire(old, said, started, worker, roster)
    if not again:
        before.tell()
    pidfile = arguments.pidfile or said.pidfile
    if pidfile is not None:
        PidFile(pidfile, voice).write()
    if arguments.notify:
        notify.master_ready(os.getpid())
    voice.notice("Loading success.")
    roster.failed = 0
    up()
    return _wait_small(roster, start.words)


def _wait_small(roster: Roster, words: list[str]) -> NoReturn:
    roster.waits = True
    execute_again(roster, words)


def refused(start: Start, roster: Roster) -> NoReturn:
    """A reload has failed: what runs goes on."""
    start.voice.warning("Loading failure!")
    roster.failed += 1
    if start.arguments.notify:
        notify.master_ready(os.getpid())
    _wait_small(roster, start.words)


def _failed(start: Start, roster: Roster, fresh: list[Child], *, again: bool) -> int:
    for child in fresh:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
    if again:
        for child in fresh:
            child.leaving = True
        refused(start, roster)
    for child in fresh:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child.pid, 0)
    return 1


def _retire(
    old: list[Child], said: ProcessSettings, started: list[Child], worker: Child, roster: Roster
) -> None:
    """Tell those before to end: workers with their last session, programs at once."""
    kept = {one.name for one in said.programs if not one.restart_on_reload}
    running = {one.program for one in started}
    for child in old:
        if not child.is_worker and child.program in kept - running:
            continue
        child.leaving = True
        outlived = said.max_reloads is not None and child.reloads > said.max_reloads
        number = signal.SIGTERM if child.is_worker and outlived else signal.SIGUSR1
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, number)


# -- children --------------------------------------------------------------------------------


def _programs(said: ProcessSettings, roster: Roster, voice: Voice) -> list[Child]:
    running = {one.program for one in roster.programs(leaving=False)}
    started: list[Child] = []
    for program in said.programs:
        if program.name in running and not program.restart_on_reload:
            continue
        child = Child(_fork_program(program, voice), int(time.time()), program=program.name)
        voice.notice(f"New program '{program.name}' ({child.pid}) forked")
        started.append(child)
    roster.children += started
    return started


def _fork_program(program: Program, voice: Voice) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for name in (VARIABLE, "NOTIFY_SOCKET"):
            os.environ.pop(name, None)
        _become(program)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.execvp(program.command[0], program.command)  # noqa: S606  # as the file says
    except (OSError, KeyError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        voice.alert(f"Cannot execute {program.command[0]}: {reason}")
    finally:
        os._exit(_CANNOT_EXECUTE)


def _become(program: Program) -> None:
    if program.group is not None:
        group = grp.getgrnam(program.group).gr_gid
        os.setgroups([])
        os.setgid(group)
    if program.user is not None:
        os.setuid(pwd.getpwnam(program.user).pw_uid)


def _fork_worker(
    arguments: Arguments,
    loaded: LoadResult,
    voice: Voice,
    before: Predecessors,
    roster: Roster,
) -> tuple[Child, bool]:
    """The worker, and whether clients can connect; where not, it has said why."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        ours.close()
        os.close(reader)
        for child in roster.children:
            if child.link >= 0:
                os.close(child.link)
        _work(arguments, loaded, voice, Surroundings(before, theirs), writer)
    theirs.close()
    os.close(writer)
    child = Child(pid, int(time.time()), VERSION, link=ours.detach())
    roster.children.append(child)
    with os.fdopen(reader, "rb") as said:
        return child, bool(said.read(1))


def _work(
    arguments: Arguments, loaded: LoadResult, voice: Voice, around: Surroundings, writer: int
) -> NoReturn:
    status = 1
    try:
        os.environ.pop(VARIABLE, None)
        os.environ.pop("NOTIFY_SOCKET", None)  # it is the master's to say
        os.environ["HAPROXY_MWORKER"] = "1"
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

        def up() -> None:
            voice.starting = False
            if voice.has_left_terminal:
                voice.fall_silent()
            os.write(writer, b"+")
            os.close(writer)

        status = serve(arguments, loaded, voice, up, around)
    except Exception:
        import traceback  # noqa: PLC0415

        voice.alert(traceback.format_exc())
    finally:
        os._exit(status)
