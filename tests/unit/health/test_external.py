# SPDX-License-Identifier: Apache-2.0
"""``option external-check``: real programs."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest
from scripted import Seen, configuration_of, ours, running, targets_of, turn

from penstock.checks.codes import CheckCode
from penstock.checks.model import External
from penstock.health.external import Facts, Program, arguments, environment
from penstock.health.verdict import Verdict

FACTS = Facts("b", 3, "s1", 1, "192.0.2.1", "80", 7, 5)
HEAD = """global
    external-check
    insecure-fork-wanted
defaults
    mode tcp
    timeout connect 1s
    timeout server 1s
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "check.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def backend(command: str, more: str = "", inter: str = "5s") -> str:
    return (
        f"{HEAD}backend b\n    option external-check\n    external-check command {command}\n"
        f"{more}    server s1 192.0.2.1:80 check inter {inter} maxconn 7\n"
    )


def test_arguments_and_environment_are_haproxys() -> None:
    external = External("/bin/x", "/usr/bin", ("192.0.2.9", "443"))
    assert arguments(external, FACTS) == ["/bin/x", "192.0.2.9", "443", "192.0.2.1", "80"]
    assert environment(external, FACTS) == {
        "PATH": "/usr/bin",
        "HAPROXY_PROXY_NAME": "b",
        "HAPROXY_PROXY_ID": "3",
        "HAPROXY_PROXY_ADDR": "192.0.2.9",
        "HAPROXY_PROXY_PORT": "443",
        "HAPROXY_SERVER_NAME": "s1",
        "HAPROXY_SERVER_ID": "1",
        "HAPROXY_SERVER_ADDR": "192.0.2.1",
        "HAPROXY_SERVER_PORT": "80",
        "HAPROXY_SERVER_MAXCONN": "7",
        "HAPROXY_SERVER_CURCONN": "5",
    }
    nobody = External("/bin/x")
    assert arguments(nobody, FACTS)[1:3] == ["NOT_USED", "NOT_USED"]
    assert environment(nobody, FACTS)["HAPROXY_PROXY_ADDR"] == ""


def test_what_a_program_sees(tmp_path: Path) -> None:
    path = program(tmp_path, f'echo "$0 $@" > {tmp_path}/said; /usr/bin/env >> {tmp_path}/said')
    assert ours(backend(str(path))) == {"b": Seen("PROCOK", "0", "")}
    first, *rest = (tmp_path / "said").read_text().splitlines()
    assert first == f"{path} NOT_USED NOT_USED 192.0.2.1 80"
    said = dict(line.split("=", 1) for line in rest)
    assert said["HAPROXY_SERVER_MAXCONN"] == "7"
    assert {name for name in said if not name.startswith("HAPROXY")} <= {
        "PATH",
        "PWD",
        "_",
        "SHLVL",
        "OLDPWD",
    }


@pytest.mark.parametrize(
    ("text", "number"), [("exit 3", "3"), ("kill -9 $$", "-1"), ("exec /no/such", "127")]
)
def test_how_a_program_fails(tmp_path: Path, text: str, number: str) -> None:
    assert ours(backend(str(program(tmp_path, text)))) == {"b": Seen("PROCERR", number, "")}


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    assert ours(backend(f"{tmp_path}/none")) == {"b": Seen("PROCERR", "255", "")}


def test_a_program_by_its_name(tmp_path: Path) -> None:
    program(tmp_path, "exit 0")
    path = f"    external-check path /nowhere:{tmp_path}\n"
    assert ours(backend("check.sh", path)) == {"b": Seen("PROCOK", "0", "")}


def test_a_program_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    path = program(tmp_path, f"/bin/sleep 600 & echo $! > {tmp_path}/child; wait")
    text = backend(str(path), inter="300ms")
    assert ours(text) == {"b": Seen("PROCTOUT", "0", "")}
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and "Z" not in _state(child):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_none_is_left_when_the_runner_ends(tmp_path: Path) -> None:
    path = program(tmp_path, f"echo $$ > {tmp_path}/pid; exec /bin/sleep 600")
    deadline = time.monotonic() + 20
    with running(backend(str(path))) as runner:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            turn(runner)
            assert time.monotonic() < deadline
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_not_all_programs_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.health.runner.MOST_PROGRAMS", 1)
    path = program(tmp_path, f": > {tmp_path}/$HAPROXY_SERVER_NAME; exec /bin/sleep 0.3")
    others = "".join(f"    server s{n} 192.0.2.1:80 check inter 500ms\n" for n in range(2, 4))
    text = backend(str(path), inter="500ms") + others
    keys = [one.key for one in targets_of(configuration_of(text))]
    deadline = time.monotonic() + 20
    most = 0
    with running(text) as runner:
        while len(list(tmp_path.glob("s?"))) < 3:
            turn(runner)
            most = max(most, sum(runner.status(key).running for key in keys))
            assert time.monotonic() < deadline
    assert most == 1


def test_a_machine_that_is_exhausted_is_no_verdict_of_the_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    def exhausted(pid: int) -> int:
        pids.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", exhausted)
    path = program(tmp_path, "sleep 100")
    started = Program(External(str(path), "/usr/bin:/bin"), FACTS, 5.0)
    verdict = started.begin(0.0)
    assert verdict == Verdict(CheckCode.SOCKERR, "Too many open files")
    started.close()
    (pid,) = pids
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_one_that_cannot_be_forked_is_told_as_haproxy_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exhausted(*arguments: object, **more: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", exhausted)
    started = Program(External("/bin/true", "/bin"), FACTS, 5.0)
    assert started.begin(0.0) == Verdict(CheckCode.SOCKERR, "Resource temporarily unavailable")
    started.close()
