# SPDX-License-Identifier: Apache-2.0
"""The command in this process, and a daemon without a datapath to talk to."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from unit_building import configuration, pool, real
from unit_rig import Rig

from penstock import cli
from penstock.api.server import ControlServer
from penstock.api.wire import Reply, Request
from penstock.instance import log
from penstock.model import HealthCheck


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


Penstock = Callable[..., Outcome]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime directory that the commands use; nothing runs there yet."""
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setenv("PENSTOCK_RUNTIME_DIR", str(run))
    return run


@pytest.fixture
def penstock(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Penstock:
    """``penstock ARGS...``"""
    # It would hold on to the stderr of this one test.
    monkeypatch.setattr(log, "set_up", lambda: None)

    def call(*args: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(arg) for arg in args])
        code = ended.value.code
        assert isinstance(code, int)
        return Outcome(code, *capsys.readouterr())

    return call


@contextlib.contextmanager
def _serving(
    directory: Path, handle: Callable[[Request], Reply], clock: Callable[[], float]
) -> Iterator[None]:
    end, ended = socket.socketpair()
    with selectors.DefaultSelector() as selector, end, ended:
        server = ControlServer(directory / "control.sock", selector, handle, clock)
        selector.register(ended, selectors.EVENT_READ)

        def loop() -> None:
            while True:
                for key, events in selector.select():
                    if key.data is None:
                        return
                    key.data(events)

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        yield
        end.send(b"\0")
        thread.join()
        server.close()


@pytest.fixture
def daemon(directory: Path) -> Iterator[Rig]:
    """A control socket with a controller behind it, on a thread."""
    servers = [
        real("s1", "10.0.0.1", check=HealthCheck()),
        real("s2", "fd02::2", weight=10),
        real("b1", None, hostname="db.test", backup=True),
    ]
    rig = Rig(configuration(pool(servers)), directory)
    with capture_logs(), _serving(directory, rig.controller.handle, rig.clock):
        yield rig


@pytest.fixture
def answer(directory: Path) -> Iterator[Callable[[Callable[[Request], Reply]], None]]:
    """Have a function of the test's answer on the control socket."""
    with contextlib.ExitStack() as stack:
        yield lambda handle: stack.enter_context(_serving(directory, handle, lambda: 0.0))
