# SPDX-License-Identifier: Apache-2.0
"""The daemon that the first command starts: one a network namespace, and gone with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import penstock
from penstock.api.client import ask
from penstock.api.wire import GetStatus, Status
from penstock.errors import NotRunning
from penstock.kernel import bpffs
from penstock.lab.network import Namespace, Network, until
from penstock.runtime import RuntimePaths

_FIRST: Final = """\
import os
from penstock.api.wire import GetStatus
from penstock.ipvsadm.start import ask_started
from penstock.runtime import RuntimePaths
print(ask_started(RuntimePaths.of(os.environ), GetStatus()).pid)
"""
_COOKIE: Final = "from penstock.runtime import foreign_namespace; print(foreign_namespace())"


class Place:
    """A namespace in which commands are run as people run them, with ``ip netns exec``."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")
        }
        root = str(Path(penstock.__file__).parents[1])
        self.environment["PYTHONPATH"] = root
        cookie = self._output("-c", _COOKIE)
        self.paths = RuntimePaths(
            Path(f"/run/penstock-net-{cookie}"), bpffs.BPFFS / f"penstock-net-{cookie}"
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace.name, sys.executable, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def command(self) -> int:
        """A first command, or a later one; the daemon's pid."""
        return int(self._output("-c", _FIRST))

    def status(self) -> Status:
        reply = ask(self.paths.socket, GetStatus())
        assert isinstance(reply, Status)
        return reply

    def pids(self) -> list[int]:
        listed = subprocess.run(
            ["ip", "netns", "pids", self.namespace.name],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return [int(word) for word in listed.stdout.split()]

    def clean(self) -> None:
        """Leave nothing, whatever a test came to."""
        with contextlib.suppress(NotRunning):
            end(self.status().pid, signal.SIGTERM)
        shutil.rmtree(self.paths.directory, ignore_errors=True)
        bpffs.PinDirectory(self.paths.pins / "links").remove()
        bpffs.PinDirectory(self.paths.pins / "programs").remove()
        bpffs.PinDirectory(self.paths.pins / "maps").remove()

    def _output(self, *arguments: str) -> str:
        process = self.start(*arguments)
        out, _ = process.communicate(timeout=90)
        assert process.returncode == 0
        return out.strip()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def end(pid: int, number: int) -> None:
    os.kill(pid, number)
    until("the daemon to end", lambda: not alive(pid))


@pytest.fixture
def place(network: Network) -> Iterator[Place]:
    made = Place(network.namespace("director"))
    network.on_close(made.clean)
    return made


def test_the_first_command_starts_a_daemon_and_the_second_finds_it(place: Place) -> None:
    pid = place.command()
    assert place.command() == pid
    assert place.pids() == [pid]
    assert bpffs.is_bpffs(place.paths.pins), "pinned where the namespace's commands see it, or not"
    assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")


def test_of_two_first_commands_at_once_both_are_served_by_one(place: Place) -> None:
    commands = [place.start("-c", _FIRST) for _ in range(3)]
    pids = {command.communicate(timeout=90)[0] for command in commands}
    assert [command.returncode for command in commands] == [0, 0, 0]
    assert len(pids) == 1
    until("the others to have ended", lambda: place.pids() == [int(min(pids))])


def test_each_namespace_has_its_own(place: Place, network: Network) -> None:
    other = Place(network.namespace("other"))
    network.on_close(other.clean)
    pids = place.command(), other.command()
    assert pids[0] != pids[1]
    assert place.paths != other.paths
    end(pids[0], signal.SIGTERM)
    assert other.command() == pids[1]


def test_a_namespace_that_is_deleted_takes_its_daemon_along(place: Place) -> None:
    pid = place.command()
    place.namespace.delete()
    until("the daemon to end", lambda: not alive(pid), 40.0)
    assert not place.paths.pins.exists()
    assert not place.paths.directory.exists()


def test_a_namespace_that_a_process_holds_keeps_its_daemon(place: Place) -> None:
    holder = place.namespace.start("sleep", "60")
    pid = place.command()
    place.namespace.delete()
    with pytest.raises(Exception, match="waited 12 s in vain"):
        until("what must not happen", lambda: not alive(pid), 12.0)
    holder.kill()
    holder.wait()
    until("the daemon to end", lambda: not alive(pid), 40.0)


def test_killed_or_stopped_the_next_command_has_another(place: Place) -> None:
    killed = place.command()
    end(killed, signal.SIGKILL)
    stopped = place.command()
    assert stopped != killed
    assert place.status().adopted, "the datapath went on, and is taken over"
    end(stopped, signal.SIGTERM)
    assert not place.paths.pins.exists()
    assert place.command() != stopped
    assert not place.status().adopted
