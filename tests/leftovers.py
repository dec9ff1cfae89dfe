# SPDX-License-Identifier: Apache-2.0
"""A plugin that names what a test run leaves behind on the machine, and fails the run for it.

Several runs may go on at once, so each looks for its own: processes by a mark that they inherit,
network namespaces and some pins by the process they are named after, runtime directories and
their pins by the namespaces and directories that the run has made, temporary files by a folder of
its own for them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from penstock.instance.runtime import RuntimePaths, foreign_namespace
from penstock.lab.network import NAMESPACES, Namespace

_NAME = "penstock-leftovers"
_MARK = "PENSTOCK_TESTS"
_RUN, _BPFFS = Path("/run"), Path("/sys/fs/bpf")
_PATIENCE = 10.0  # seconds for processes that have been told to end


class Leftovers:
    """Of this process; those of xdist's workers come with their reports."""

    def __init__(self, scratch: Path | None) -> None:
        self._scratch = scratch  # whoever starts the run looks at what all of it has left
        self._cookies: set[int] = set()
        self.found: list[str] = []

    def look(self, base: Path) -> None:
        """At what this process has made itself; *base* is the folder of its tests."""
        self.found += [*_named_after(os.getpid()), *_of(self._cookies), *_pins_of(base)]

    def note_namespaces(self) -> None:
        """From now on."""
        create = Namespace.create

        def create_and_note(namespace: Namespace) -> None:
            create(namespace)
            with namespace.entered():
                self._cookies.add(foreign_namespace() or 0)

        Namespace.create = create_and_note  # type: ignore[method-assign]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Of pytest-xdist: a worker has ended."""
        self.found += getattr(node, "workeroutput", {}).get("leftovers", [])

    def pytest_keyboard_interrupt(self) -> None:
        """Workers hear nothing of it, and would be killed in the middle of a test."""
        workers = [pid for pid, _ in _marked() if _parent(pid) == os.getpid()]
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and any(_parent(pid) == os.getpid() for pid in workers):
            time.sleep(0.1)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._scratch is None:
            session.config.workeroutput["leftovers"] = self.found  # type: ignore[attr-defined]
            return
        self.found += [*_processes(), *map(str, self._scratch.iterdir())]
        shutil.rmtree(self._scratch, ignore_errors=True)
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for one in sorted(self.found):
            terminalreporter.write_line(f"left behind: {one}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    scratch = None
    if not hasattr(config, "workerinput"):
        os.environ[_MARK] = f"{os.getpid()}-{time.monotonic_ns()}"
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # as it would be
        scratch = Path(tempfile.mkdtemp(prefix="pst"))
        scratch.chmod(0o1777)  # some programs run as users of their own
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    signal.signal(signal.SIGTERM, _interrupt)  # it unwinds as Ctrl-C does
    config.pluginmanager.register(Leftovers(scratch), _NAME)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="session", autouse=True)
def _leftovers(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    plugin = pytestconfig.pluginmanager.get_plugin(_NAME)
    assert isinstance(plugin, Leftovers)
    plugin.note_namespaces()
    yield
    plugin.look(tmp_path_factory.getbasetemp())


def _named_after(pid: int) -> Iterator[str]:
    """Network namespaces and pins."""
    for path in (*NAMESPACES.glob(f"ps?{pid}-*"), *_BPFFS.glob(f"penstock-*-{pid}")):
        yield str(path)


def _of(cookies: set[int]) -> Iterator[str]:
    """The places that instances have by default in network namespaces."""
    for folder in (_RUN, _BPFFS):
        for path in folder.glob("penstock-net-*"):
            if path.name.split("-")[2] in map(str, cookies):
                yield str(path)


def _pins_of(base: Path) -> Iterator[str]:
    """Pins of instances whose runtime directory is below *base*."""
    pinned = set(_BPFFS.glob("penstock-*"))
    if pinned:
        for folder, folders, _ in os.walk(base):
            for name in folders:
                directory = f"{folder}/{name}"
                pins = RuntimePaths.of({"PENSTOCK_RUNTIME_DIR": directory}).pins
                if pins in pinned:
                    yield f"{pins} of {directory}"


def _processes() -> list[str]:
    """Those that are still there when all have had the time to end."""
    deadline = time.monotonic() + _PATIENCE
    while found := list(_marked()):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return [f"process {pid}: {command}" for pid, command in found]


def _marked() -> Iterator[tuple[int, str]]:
    """The processes of this run but for this one, and their commands."""
    mark = f"{_MARK}={os.environ[_MARK]}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and process.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                    yield int(process.name), b" ".join(words).decode(errors="replace")


def _parent(pid: int) -> int:
    """Of a process that has not ended; else 0."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[1]) if fields[0] not in "ZX" else 0
    return 0
