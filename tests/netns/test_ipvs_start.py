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
from penstock.instance.runtime import RuntimePaths
from penstock.kernel import bpffs
from penstock.lab.network import LabError, Namespace, Network, until

_COOKIE: Final = (
    "from penstock.instance.runtime import foreign_namespace; print(foreign_namespace())"
)


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

    def ipvsadm(self, *arguments: str) -> str:
        return self._output("-m", "penstock", "ipvsadm", *arguments)

    def command(self) -> int:
        """A first command, or a later one; the pid of the daemon that answered."""
        self.ipvsadm("-L", "-n")
        return self.status().pid

    def status(self) -> Status:
        reply = ask(self.paths.socket, GetStatus())
        assert isinstance(reply, Status)
        return reply

    def answers(self) -> int:
        """The pid of the daemon that answers now; 0: none does."""
        with contextlib.suppress(NotRunning):
            return self.status().pid
        return 0

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
        if pid := self.answers():
            with contextlib.suppress(LabError):
                end(pid, signal.SIGTERM)
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
    """Whether it runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


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
    ports = (80, 443, 8080)
    commands = [
        place.start("-m", "penstock", "ipvsadm", "-A", "-t", f"192.0.2.1:{port}") for port in ports
    ]
    assert [command.wait(90) for command in commands] == [0, 0, 0]
    listed = place.ipvsadm("-S", "-n").splitlines()
    assert sorted(listed) == sorted(f"-A -t 192.0.2.1:{port} -s wlc" for port in ports)
    until("the others to have ended", lambda: place.pids() == [place.status().pid])


def test_each_namespace_has_its_own(place: Place, network: Network) -> None:
    other = Place(network.namespace("other"))
    network.on_close(other.clean)
    pids = place.command(), other.command()
    assert pids[0] != pids[1]
    assert place.paths != other.paths
    end(pids[0], signal.SIGTERM)
    assert other.command() == pids[1]


def test_a_namespace_that_is_deleted_takes_its_daemon_along_unless_a_process_holds_it(
    place: Place, network: Network
) -> None:
    held = Place(network.namespace("held"))
    network.on_close(held.clean)
    holder = held.namespace.start("sleep", "100")
    keeper = held.command()
    held.namespace.delete()
    pid = place.command()
    place.namespace.delete()
    until("the daemon to end", lambda: not alive(pid), 40.0)
    assert not place.paths.pins.exists()
    assert not place.paths.directory.exists()
    assert alive(keeper), "it has looked as often, and before"
    holder.kill()
    holder.wait()
    until("the other daemon to end", lambda: not alive(keeper), 40.0)


def test_killed_or_stopped_the_next_command_has_another(place: Place) -> None:
    place.ipvsadm("-A", "-t", "192.0.2.1:80", "-s", "rr")
    killed = place.command()
    end(killed, signal.SIGKILL)
    assert place.ipvsadm("-S", "-n") == "-A -t 192.0.2.1:80 -s rr"
    stopped = place.status()
    assert stopped.pid != killed
    assert stopped.adopted, "the datapath went on, and is taken over"
    end(stopped.pid, signal.SIGTERM)
    assert not place.paths.pins.exists()
    assert place.ipvsadm("-S", "-n") == ""
    assert not place.status().adopted


def test_penstock_run_takes_over_with_the_rules(place: Place, tmp_path: Path) -> None:
    place.ipvsadm("-A", "-t", "192.0.2.1:80", "-s", "rr")
    on_demand = place.status().pid
    file = tmp_path / "haproxy.cfg"
    file.write_text("listen l\n mode tcp\n bind 127.0.0.1:8080\n server s 192.0.2.2:80\n")
    environment = {
        "PYTHONPATH": place.environment["PYTHONPATH"],
        "PENSTOCK_RUNTIME_DIR": str(place.paths.directory),
    }
    with (tmp_path / "log").open("wb") as log:
        run = place.namespace.start(
            *(sys.executable, "-m", "penstock", "run", str(file)), output=log, env=environment
        )
    until(
        "penstock run to answer or end",
        lambda: place.answers() == run.pid or run.poll() is not None,
        30.0,
    )
    assert run.poll() is None, (tmp_path / "log").read_text()
    until("the other to end", lambda: not alive(on_demand))
    assert place.status().adopted
    assert place.ipvsadm("-S", "-n") == "-A -t 192.0.2.1:80 -s rr"
