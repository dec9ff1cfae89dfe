# SPDX-License-Identifier: Apache-2.0
"""What holds for every command: help with examples, exit statuses, errors without traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.errors import CapabilityError
from penstock.kernel import probe

OURS = (
    *("run", "check", "status", "reload", "set", "install-haproxy"),
    *("sysctl", "proc", "install-ipvsadm", "version"),
)
# Their help is their own.
COMMANDS = (*OURS[:5], "haproxy", OURS[5], "ipvsadm", *OURS[6:])
GOOD = "listen l\n bind :80\n mode tcp\n server s 10.0.0.1:80\n"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.cfg"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize("command", OURS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_has_help_with_an_example(
    penstock: Callable, command: str, option: str
) -> None:
    shown = penstock(command, option)
    assert (shown.status, shown.err) == (0, "")
    assert f"penstock {command}" in shown.out.partition("Example")[2]


def test_the_list_of_commands_says_what_each_does(penstock: Callable) -> None:
    shown = penstock("--help")
    assert shown.status == 0
    lines = shown.out.partition("Commands:\n")[2].splitlines()
    told = dict(line.split(maxsplit=1) for line in lines[: len(COMMANDS)])
    assert tuple(told) == COMMANDS
    assert all(len(text.split()) >= 4 for text in told.values()), told
    assert "Exit status: 0 done" in shown.out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["chek", "x"], "unknown command 'chek'; did you mean 'check' maybe ?"),
        (["frobnicate"], "unknown command 'frobnicate'"),
        (["--frobnicate"], "No such option '--frobnicate'"),
        (["status", "--frobnicate"], "No such option '--frobnicate'"),
        (["status", "extra"], "extra"),
        (["run"], "name a configuration file"),
        (["check"], "name a configuration file"),
        (["check", "-f"], "'-f' requires an argument"),
        (["run", "--ipvs", "x.cfg"], "--ipvs is for running without files"),
        (["sysctl"], "name a setting, or use -a for all of them"),
        (["sysctl", "-w", "conntrack"], "'conntrack' is not NAME=VALUE"),
        (["proc", "meminfo"], "'meminfo' is not one of"),
        (["run", "x.cfg", "--hook", "foo"], "'foo' is not one of"),
        (["set"], "say what to set"),
        (["set", "a", "b", "c"], "say what to set"),
        (["set", "web", "weight", "1"], "'web' is not BACKEND/SERVER"),
        (["set", "web/", "weight", "1"], "'web/' is not BACKEND/SERVER"),
        (["set", "web/s1", "weight", "heavy"], "'heavy' is not a weight"),
        (["set", "web/s1", "weight", "-1"], "-1"),
        (["set", "web/s1", "state", "gone"], "unknown state 'gone'; use ready, drain or maint"),
        (["set", "server", "web/s1", "colour", "red"], "cannot set 'colour'"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_2_and_says_what_is_wrong(
    penstock: Callable, args: list[str], said: str
) -> None:
    outcome = penstock(*args)
    assert outcome.status == 2
    assert said in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    "args",
    [
        ["status"],
        ["status", "--json"],
        ["status", "--metrics"],
        ["reload"],
        ["set", "a/b", "weight", "1"],
    ],
    ids=" ".join,
)
def test_nothing_running_is_3_in_one_line(
    penstock: Callable, directory: Path, args: list[str]
) -> None:
    outcome = penstock(*args)
    assert outcome.status == 3
    assert outcome.err == (
        f"penstock: no penstock is running here ({directory}/control.sock); "
        "start one with: penstock run FILE\n"
    )


def test_check_of_a_good_file_is_0(penstock: Callable, good: Path) -> None:
    outcome = penstock("check", good)
    assert outcome.status == 0
    assert "Configuration file is valid" in outcome.out


@pytest.mark.parametrize("how", [["{}"], ["-f", "{}"], ["-f", "{}", "-f", "{}.more"]])
def test_files_are_named_as_haproxys_users_type_them(
    penstock: Callable, good: Path, how: list[str]
) -> None:
    Path(f"{good}.more").write_text(GOOD.replace("listen l", "listen m").replace(":80\n", ":81\n"))
    outcome = penstock("check", *(word.format(good) for word in how))
    assert outcome.status == 0
    assert ("m: tcp *:81" in outcome.out) == (len(how) == 4)


def test_check_of_a_typo_is_1_with_place_and_suggestion(penstock: Callable, good: Path) -> None:
    good.write_text(GOOD.replace("server s", "sever s"))
    outcome = penstock("check", good)
    assert outcome.status == 1
    assert f"parsing [{good}:4] : unknown keyword 'sever'" in outcome.err
    assert "did you mean 'server'" in outcome.err
    assert "Traceback" not in outcome.err


def make_unreadable(path: Path) -> None:
    path.write_text(GOOD)
    path.chmod(0)


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("missing.cfg", lambda path: None),
        ("binary.cfg", lambda path: path.write_bytes(bytes(range(256)) * 10)),
        ("loop.cfg", lambda path: path.symlink_to(path)),
        pytest.param(
            "unreadable.cfg",
            make_unreadable,
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file"),
        ),
    ],
    ids=["missing", "binary", "loop", "unreadable"],
)
def test_a_file_that_cannot_be_used_is_1_and_named(
    penstock: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
    make: Callable[[Path], object],
) -> None:
    monkeypatch.setattr(probe, "probe", lambda: None)
    make(tmp_path / name)
    outcome = penstock(command, tmp_path / name)
    assert outcome.status == 1
    assert name in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("kind", ["empty file", "empty directory"])
def test_nothing_to_run_is_an_error(penstock: Callable, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "nothing"
    path.mkdir() if kind == "empty directory" else path.touch()
    outcome = penstock("check", path)
    assert outcome.status != 0
    assert "no listener" in outcome.out + outcome.err


def test_a_directory_is_all_its_cfg_files(penstock: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "1.cfg").write_text(GOOD)
    (folder / "2.txt").write_text("not haproxy's")
    assert penstock("check", folder).status == 0


def test_a_kernel_that_cannot_is_77_for_rules(
    penstock: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file runs on the proxy engine there; tests/unit/engine/test_proxy_run.py does that."""

    def refuse() -> None:
        raise CapabilityError("this kernel is too old")

    monkeypatch.setattr(probe, "probe", refuse)
    outcome = penstock("run", "--ipvs")
    assert (outcome.status, outcome.err) == (77, "penstock: this kernel is too old\n")


def test_interrupted_is_130(penstock: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(probe, "probe", interrupt)
    outcome = penstock("run", "whatever.cfg")
    assert outcome.status == 130
    assert "Traceback" not in outcome.err


def test_version(penstock: Callable) -> None:
    outcome = penstock("version")
    assert outcome.status == 0
    assert outcome.out.startswith("penstock 0.")
    assert len(outcome.out.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_traceback(good: Path) -> None:
    """``penstock check FILE | head -0``: the pipe is closed before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "check", good],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    os.close(writer)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_starting_up_imports_no_more_than_the_command_needs() -> None:
    """``penstock status`` in a shell loop must not load eBPF, pyroute2 or rich."""
    loaded = _loaded_by("import penstock.cli.status")
    assert not loaded & {"pyroute2", "rich", "prometheus_client", "dns"}


@pytest.mark.parametrize("words", [["check"], ["haproxy", "-c", "-f"]])
def test_a_configuration_is_checked_without_what_runs_it(words: list[str], tmp_path: Path) -> None:
    """Scripts check files before each reload, and TLS is loaded for certificates alone."""
    file = tmp_path / "a.cfg"
    file.write_text(
        "defaults\n mode tcp\n timeout client 1s\n timeout connect 1s\n timeout server 1s\n"
        "listen l\n bind 127.0.0.1:29751\n server s 127.0.0.1:1 check\n"
    )
    loaded = _loaded_by(
        "import contextlib\n"
        "from penstock.__main__ import main\n"
        f"sys.argv = {['penstock', *words, str(file)]!r}\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(None):\n"
        "    main()"
    )
    assert "penstock.config.haproxy.loading" in loaded
    assert not loaded & {"asyncio", "ssl", "ctypes", "structlog", "rich", "msgspec", "pyroute2"}
    assert not loaded & {"penstock.engine.proxy", "penstock.daemon", "penstock.states"}


def _loaded_by(script: str) -> set[str]:
    """The modules that *script* imports."""
    # One that is None is kept from being imported.
    shown_at_end = "print(*(name for name, module in sys.modules.items() if module is not None))"
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys\n{script}\n{shown_at_end}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    return set(shown.stdout.split())
