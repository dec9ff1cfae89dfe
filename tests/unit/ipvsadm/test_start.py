# SPDX-License-Identifier: Apache-2.0
"""A daemon at the first command: who starts one, what it inherits, what is said when it fails."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.instance.runtime import InstanceLock, RuntimePaths
from penstock.ipvsadm import start

# Says what it was given, answers one connection and ends.
DAEMON = """\
import json, os, socket, sys
run = os.environ["PENSTOCK_RUNTIME_DIR"]
state = {
    "argv": sys.argv[1:],
    "leads_session": os.getsid(0) == os.getpid(),
    "cwd": os.getcwd(),
    "descriptors": sorted(
        int(name) for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + name)
    ),
    "stdin": os.readlink("/proc/self/fd/0"),
    "stderr": os.readlink("/proc/self/fd/2"),
    "environment": dict(os.environ),
}
with open(run + "/state", "w") as file:
    json.dump(state, file)
with socket.socket(socket.AF_UNIX) as listener:
    listener.settimeout(60)
    listener.bind(run + "/control.sock")
    listener.listen()
    listener.accept()
"""


@pytest.fixture
def paths(tmp_path: Path) -> RuntimePaths:
    return RuntimePaths(tmp_path / "run", tmp_path / "pins")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has *script*, of sh, started instead of Python."""
    path = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(path))

    def become(script: str) -> None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return become


@pytest.fixture
def listening(paths: RuntimePaths) -> Iterator[Callable[[], None]]:
    """Makes somebody listen on the control socket."""
    with socket.socket(socket.AF_UNIX) as listener:

        def listen() -> None:
            paths.create()
            listener.bind(str(paths.socket))
            listener.listen()

        yield listen


def test_who_is_answered_starts_nothing(
    paths: RuntimePaths, program: Callable, listening: Callable
) -> None:
    program("touch $PENSTOCK_RUNTIME_DIR/started")
    listening()
    start.ensure_daemon(paths)
    assert sorted(path.name for path in paths.directory.iterdir()) == ["control.sock"]


def test_the_daemon_is_detached(
    paths: RuntimePaths, program: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "daemon.py").write_text(DAEMON)
    program(f'exec {sys.base_prefix}/bin/python3 {tmp_path}/daemon.py "$@"')
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify-of-somebody-else")
    monkeypatch.setenv("KEPT", "yes")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)  # as a shell's descriptors are
    start.ensure_daemon(paths)
    os.close(writer)
    assert os.read(reader, 1) == b"", "the daemon holds a descriptor of ours"
    os.close(reader)
    state = json.loads((paths.directory / "state").read_text())
    assert state["argv"] == ["-P", "-m", "penstock", "run", "--ipvs", "--on-demand"]
    assert state["leads_session"]
    assert state["cwd"] == "/"
    assert state["descriptors"] == [0, 1, 2]
    assert state["stdin"].endswith("null")
    assert state["stderr"] == str(paths.log)
    assert stat.S_IMODE(paths.log.stat().st_mode) == 0o600
    environment = state["environment"]
    assert environment["PENSTOCK_RUNTIME_DIR"] == str(paths.directory)
    assert environment["PENSTOCK_PIN_PATH"] == str(paths.pins)
    assert environment["KEPT"] == "yes"
    assert "NOTIFY_SOCKET" not in environment


def test_a_daemon_that_fails_has_the_last_word(paths: RuntimePaths, program: Callable) -> None:
    paths.create()
    paths.log.write_text("what an earlier one said\n")
    program("echo starting >&2; echo 'penstock: this kernel is too old' >&2; echo >&2; exit 77")
    with pytest.raises(PenstockError) as caught:
        start.ensure_daemon(paths)
    assert str(caught.value) == "this kernel is too old"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 4", "penstock ended with exit status 4 before it was up"),
        ("kill -9 $$", "penstock was killed by signal 9 before it was up"),
    ],
)
def test_a_daemon_that_fails_silently(
    paths: RuntimePaths, program: Callable, script: str, said: str
) -> None:
    paths.create()
    paths.log.write_text("what an earlier one said\n")
    program(script)
    with pytest.raises(PenstockError) as caught:
        start.ensure_daemon(paths)
    assert str(caught.value) == said


def test_a_program_that_is_not_there(
    paths: RuntimePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with pytest.raises(PenstockError, match=r"cannot start .*/gone: No such file or directory"):
        start.ensure_daemon(paths)


def test_an_instance_that_is_coming_up_is_waited_for(
    paths: RuntimePaths, program: Callable, listening: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.create()
    lock = InstanceLock(paths)
    program("exit 4")
    monkeypatch.setattr(start.time, "sleep", lambda _: listening())
    start.ensure_daemon(paths)
    lock.close()


def test_who_loses_the_race_waits_for_the_winner(
    paths: RuntimePaths, program: Callable, listening: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("exit 0")  # the lock was another's when it came to take it
    monkeypatch.setattr(start.time, "sleep", lambda _: listening())
    start.ensure_daemon(paths)


def test_when_the_other_instance_ends_one_is_started(
    paths: RuntimePaths, program: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.create()
    locks = [InstanceLock(paths)]
    program("exit 4")
    sleep = start.time.sleep

    def end_the_other(seconds: float) -> None:
        if locks:
            locks.pop().close()
        sleep(seconds)

    monkeypatch.setattr(start.time, "sleep", end_the_other)
    with pytest.raises(PenstockError, match="exit status 4"):
        start.ensure_daemon(paths)


def test_patience_has_an_end(
    paths: RuntimePaths, program: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.create()
    lock = InstanceLock(paths)
    now = iter(range(0, 1000, 25))
    monkeypatch.setattr(start.time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(start.time, "sleep", lambda _: None)
    with pytest.raises(PenstockError) as caught:
        start.ensure_daemon(paths)
    assert str(caught.value) == f"penstock has not come up in 60 s; its log is {paths.log}"
    lock.close()


def test_a_long_log_is_begun_anew(paths: RuntimePaths, program: Callable) -> None:
    paths.create()
    paths.log.write_bytes(b"x" * (2 << 20))
    program("echo short >&2; exit 1")
    with pytest.raises(PenstockError, match=r"^short$"):
        start.ensure_daemon(paths)
    assert paths.log.read_text() == "short\n"
