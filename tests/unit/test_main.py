# SPDX-License-Identifier: Apache-2.0
"""The program's entry: which command a name asks for, and what is imported on the way."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import types

import pytest

import penstock
from penstock import __main__ as entry

HEAVY = ("click", "rich", "structlog", "typing", "penstock.model", "penstock.library")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What has been run, with its arguments; each ends with status 7."""
    calls: list[tuple[str, list[str]]] = []

    def program(name: str) -> object:
        def run(argv: list[str]) -> int:
            calls.append((name, argv))
            return 7

        return run

    programs = types.SimpleNamespace(
        main=program("main"), save_main=program("save"), restore_main=program("restore")
    )
    monkeypatch.setattr(gc, "disable", lambda: None)  # these tests go on after it
    monkeypatch.setattr(penstock, "ipvsadm", programs, raising=False)
    monkeypatch.setitem(sys.modules, "penstock.ipvsadm", programs)
    return calls


@pytest.mark.parametrize(
    ("argv", "program", "arguments"),
    [
        (["penstock", "ipvsadm", "-L", "-n"], "main", ["ipvsadm", "-L", "-n"]),
        (["penstock", "ipvsadm"], "main", ["ipvsadm"]),
        (["/a/penstock/__main__.py", "ipvsadm", "-C"], "main", ["ipvsadm", "-C"]),
        (["/usr/local/sbin/ipvsadm", "-L"], "main", ["ipvsadm", "-L"]),
        (["ipvsadm", "ipvsadm"], "main", ["ipvsadm", "ipvsadm"]),
        (["/sbin/ipvsadm-save", "-n"], "save", ["ipvsadm-save", "-n"]),
        (["/sbin/ipvsadm-restore"], "restore", ["ipvsadm-restore"]),
    ],
)
def test_ipvsadm_by_name(
    called: list[tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    program: str,
    arguments: list[str],
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 7
    assert called == [(program, arguments)]


@pytest.mark.parametrize("argv", [["penstock", "version"], ["/opt/my-ipvsadm", "version"]])
def test_everything_else_is_penstock(
    called: list[tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("penstock ")
    assert called == []


def test_the_way_to_ipvsadm_is_short() -> None:
    script = (
        "import sys, types\n"
        "stub = types.ModuleType('penstock.ipvsadm')\n"
        "stub.main = stub.save_main = stub.restore_main = lambda argv: 0\n"
        "sys.modules['penstock.ipvsadm'] = stub\n"
        "sys.argv = ['penstock', 'ipvsadm', '-v']\n"
        "import penstock; penstock.ipvsadm = stub\n"
        "from penstock.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-S", "-c", script],  # -S: what other packages import at start-up
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    loaded = set(shown.stdout.split())
    assert "penstock.__main__" in loaded
    assert not loaded & set(HEAVY)


def test_the_public_names_are_all_there() -> None:
    assert set(penstock.__all__) <= set(dir(penstock))
    for name in penstock.__all__:
        assert getattr(penstock, name).__module__.startswith("penstock.")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        penstock.nothing  # noqa: B018


def test_an_early_interrupt_ends_haproxys_likeness_without_a_word() -> None:
    program = """
import os, signal, sys
sys.argv = ["haproxy", "-v"]
from penstock import __main__ as entry, haproxy
haproxy.main = lambda words: os.kill(os.getpid(), signal.SIGINT)
entry.main()
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")
