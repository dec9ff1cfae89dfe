# SPDX-License-Identifier: Apache-2.0
"""``penstock run`` as a user without rights: the real daemon, its workers and its commands."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_proxy import PATIENCE, Server, wait_for

_NOBODY = 65534
_FALLBACK = "every service runs on the proxy engine: "
_SOURCES = Path(__file__).resolve().parents[3] / "src"


def _interpreter() -> str | None:
    """A Python that anybody may run, of this one's version; this one may be in root's home."""
    if os.geteuid() != 0:
        return sys.executable
    wanted = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    for one in (sys.executable, shutil.which("python3", path="/usr/bin")):
        if one is None:
            continue
        with contextlib.suppress(OSError):
            tried = subprocess.run([one, "-c", wanted], user=_NOBODY, cwd="/", check=False)
            if tried.returncode == 0:
                return one
    return None


_PYTHON = _interpreter()
pytestmark = pytest.mark.skipif(_PYTHON is None, reason="needs a Python that any user may run")


class User:
    """Somebody without rights, with a directory and a configuration in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "haproxy.cfg"
        self.log = directory / "log"
        self.runtime = directory / "run"
        self._daemons: list[subprocess.Popen[bytes]] = []

    def write(self, port: int, server: str, *, more: str = "") -> None:
        self.file.write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
            f"listen front\n bind 127.0.0.1:{port}\n bind {self.directory}/front\n"
            f" server a {server}\n{more}"
        )

    def _start(
        self, *words: str, log: Path | None = None, module: str = "penstock"
    ) -> subprocess.Popen[bytes]:
        assert _PYTHON is not None
        paths = [str(_SOURCES), sysconfig.get_path("purelib")]
        environ = {
            "PATH": "/usr/bin:/bin",
            "PENSTOCK_RUNTIME_DIR": str(self.runtime),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        rights = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        with open(log, "ab") if log is not None else contextlib.nullcontext() as out:
            return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
                [_PYTHON, "-m", module, *words],
                stdout=out or subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environ,
                cwd="/",
                **(rights if os.geteuid() == 0 else {}),
            )

    def call(self, *words: str, module: str = "penstock") -> tuple[int, str]:
        """The exit status of a command, and what it said."""
        process = self._start(*words, module=module)
        said, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, said.decode()

    def run(self) -> subprocess.Popen[bytes]:
        """Start the daemon, and wait until it runs."""
        before = self.said().count("running pid=")
        process = self._start("run", str(self.file), log=self.log)
        self._daemons.append(process)
        wait_for(
            lambda: process.poll() is not None or self.said().count("running pid=") > before,
            "it runs",
        )
        assert process.poll() is None, self.said()
        return process

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def left(self) -> list[str]:
        """Sockets' files, and workers."""
        files = [str(path) for path in self.directory.rglob("*") if path.is_socket()]
        return files + [f"worker {pid}" for pid in workers(self.runtime)]

    def close(self) -> None:
        for process in self._daemons:
            process.kill()
            process.wait()
        wait_for(lambda: not workers(self.runtime), "workers end with their daemon")


def workers(runtime: Path) -> list[int]:
    """Of the daemon in *runtime*, by their name and what their environment says."""
    mark = f"PENSTOCK_RUNTIME_DIR={runtime}\0".encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() != "penstock-worker":
                continue
            if mark in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(int(pid))
    return found


@pytest.fixture
def user() -> Iterator[User]:
    # Not pytest's own, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="penstock-run-") as directory:
        if os.geteuid() == 0:
            os.chown(directory, _NOBODY, _NOBODY)
        one = User(Path(directory))
        try:
            yield one
        finally:
            one.close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server("a")
    one.echo()
    yield one
    one.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def ask(port: int) -> bytes:
    with connect(port) as client:
        client.sendall(b"x")
        return client.recv(10)


def test_a_life(user: User, server: Server) -> None:
    port = closed_port()
    user.write(port, server.where)
    assert user.call("check", str(user.file))[0] == 0
    daemon = user.run()
    assert user.said().count(_FALLBACK) == 1
    assert user.said().count("\n") == 2, "one line for the engine, and one that it runs"
    assert ask(port) == b"a:x"
    status, shown = user.call("status")
    assert (status, "front/a" in shown, "proxy" in shown) == (0, True, True)
    with connect(port) as client:
        client.sendall(b"1")
        assert client.recv(10) == b"a:1"
        user.write(port, server.where, more=" timeout queue 3s\n")
        assert user.call("reload")[0] == 0
        client.sendall(b"2")
        assert client.recv(10) == b"a:2"
    user.write(port, "nonsense and more of it")
    status, said = user.call("reload")
    assert (status, "haproxy.cfg:9" in said) == (1, True), said
    assert ask(port) == b"a:x"
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(PATIENCE) == 0
    assert user.left() == []
    with pytest.raises(ConnectionRefusedError):
        connect(port)


def test_a_port_that_it_may_not_have(user: User, server: Server) -> None:
    port = 1
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first <= port:
        pytest.skip("any user may listen on any port here")
    user.write(port, server.where)
    status, said = user.call("run", str(user.file))
    assert status == 1
    assert said.splitlines()[1:] == [
        f"penstock: {user.file}:7: cannot listen on 127.0.0.1:{port}: permission denied "
        "(ports below 1024 take root or CAP_NET_BIND_SERVICE)"
    ]
    assert user.left() == []


def test_a_port_that_somebody_else_has(user: User, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        user.write(port, server.where)
        status, said = user.call("run", str(user.file))
    assert status == 1
    assert said.splitlines()[1:] == [
        f"penstock: {user.file}:7: cannot listen on 127.0.0.1:{port}: Address already in use"
    ]
    assert user.left() == []


def test_two_in_one_runtime_directory(user: User, server: Server) -> None:
    user.write(closed_port(), server.where)
    first = user.run()
    status, said = user.call("run", str(user.file))
    assert status == 1
    assert said.startswith(f"penstock: penstock (pid {first.pid}) is already running")
    assert len(said.splitlines()) == 1


def test_sessions_outlive_a_daemon_that_is_killed(user: User, server: Server) -> None:
    port = closed_port()
    user.write(port, server.where)
    daemon = user.run()
    with connect(port) as client:
        client.sendall(b"1")
        assert client.recv(10) == b"a:1"
        (old,) = [pid for pid in workers(user.runtime) if _has_session(pid)]
        daemon.kill()
        daemon.wait()
        wait_for(lambda: workers(user.runtime) == [old], "idle workers end")
        client.sendall(b"2")
        assert client.recv(10) == b"a:2"
        with pytest.raises(ConnectionRefusedError):  # until the next run
            connect(port)
        user.run()
        assert ask(port) == b"a:x"
        client.sendall(b"3")
        assert client.recv(10) == b"a:3"
    wait_for(lambda: old not in workers(user.runtime), "it ends with its last session")


def test_make_run_shows_what_it_can(user: User) -> None:
    """The demonstration behind it, on loopback."""
    status, said = user.call(module="penstock.lab")
    assert status == 0, said
    assert said.startswith("on loopback, without the lab: network namespaces need root")
    assert (said.count("  true "), said.count("FALSE")) == (5, 0)
    assert said.count(_FALLBACK) == 1
    assert user.left() == []


def _has_session(pid: int) -> bool:
    """Whether a worker has connections: its epoll descriptor watches the link and more."""
    sockets = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    established = {
        f"socket:[{fields[9]}]"
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[3] == "01"
    }
    return bool(sockets & established)
