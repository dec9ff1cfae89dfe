# SPDX-License-Identifier: Apache-2.0
"""``penstock check`` as its users meet it: what it prints where, and its exit status."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.cli import main
from penstock.config.haproxy import loads
from penstock.control.refusal import refuse_unsupported
from penstock.errors import ConfigError

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Done:
    exit_code: int
    stdout: str
    stderr: str


Check = Callable[..., Done]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs ``penstock check`` with the given arguments."""

    def run(*arguments: str | Path) -> Done:
        with pytest.raises(SystemExit) as end:
            main(["check", *map(str, arguments)])
        printed = capsys.readouterr()
        return Done(int(end.value.code or 0), printed.out, printed.err)

    return run


def test_a_valid_file(check: Check) -> None:
    done = check(FILES / "galera.cfg")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "Configuration file is valid"
    assert lines[1:3] == [
        f"  galera-write: tcp 127.0.0.1:3307 -> galera-write [{FILES}/galera.cfg:16]",
        "    kernel engine: packets suffice for every line of it",
    ]


def test_every_mistake_with_its_line_in_haproxys_words(check: Check) -> None:
    done = check(FILES / "many-mistakes.cfg")
    assert done.exit_code == 1
    assert done.stdout == ""
    name = re.escape(f"{FILES}/many-mistakes.cfg")
    alerts = done.stderr.splitlines()
    assert len(alerts) == 18
    assert all(re.match(r"\[ALERT\]    \(\d+\) : config : ", line) for line in alerts)
    assert re.search(
        rf": parsing \[{name}:4\] : unknown keyword 'maxcon' in 'global' section;"
        r" did you mean 'maxconn' maybe \?$",
        alerts[0],
    )
    assert re.search(
        rf": \[{name}:22\] : 'server pool/one' : unknown keyword 'chek';"
        r" did you mean 'check' maybe \?$",
        alerts[12],
    )


def test_the_service_that_packets_do_not_suffice_for_and_the_line_that_says_so(
    check: Check,
) -> None:
    done = check(FILES / "mail.cfg")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    smtp = lines.index(f"  smtp: tcp *:25 -> smtp [{FILES}/mail.cfg:10]")
    assert lines[smtp + 1].startswith(
        "    proxy engine, because of 'server mx1 send-proxy-v2': the PROXY protocol is sent to the"
        f" server [{FILES}/mail.cfg:12]"
    )


def test_a_service_that_no_engine_runs_is_refused_when_it_is_to_run() -> None:
    text = (
        "frontend web\n bind :80\n mode http\n option forwardfor\n default_backend b\n"
        "backend b\n mode http\n"
    )
    configuration = loads(text, name="web.cfg").configuration
    with pytest.raises(ConfigError) as caught:
        refuse_unsupported(configuration)
    assert str(caught.value) == (
        "[web.cfg:4] : 'web' cannot run because of 'option forwardfor': HTTP is routed."
    )


def test_warnings_are_told_and_leave_the_file_valid(check: Check) -> None:
    done = check(FILES / "doubtful.cfg")
    assert done.exit_code == 0
    assert done.stdout.startswith("Warnings were found.\nConfiguration file is valid\n")
    assert re.search(
        r"\[WARNING\]  \(\d+\) : config : parsing \[.*:7\] : 'timeout server' will be ignored",
        done.stderr,
    )


@pytest.mark.parametrize(("name", "status"), [("doubtful.cfg", 0), ("whole.cfg", 1)])
def test_quiet(check: Check, name: str, status: int) -> None:
    done = check("-q", FILES / name)
    assert (done.exit_code, done.stdout, done.stderr) == (status, "", "")


def test_nothing_listens(check: Check, tmp_path: Path) -> None:
    path = tmp_path / "x.cfg"
    path.write_text("backend b\n server s 127.0.0.1:1\n")
    done = check(path)
    assert done.exit_code == 2
    assert "will not start (no listener)" in done.stdout


def test_a_page_that_is_left_out_listens_all_the_same(check: Check, tmp_path: Path) -> None:
    path = tmp_path / "x.cfg"
    path.write_text("listen s\n mode http\n bind :8404\n stats enable\n")
    assert check(path).exit_code == 0


def test_files_and_directories_together(check: Check, tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "b.cfg").write_text("backend b\n server s 127.0.0.1:1\n")
    (tmp_path / "sites" / "a.cfg").write_text("frontend f\n bind :80\n default_backend b\n")
    (tmp_path / "global.cfg").write_text("defaults\n mode tcp\n timeout client 3s\n")
    done = check("-f", tmp_path / "global.cfg", "-f", tmp_path / "sites")
    assert done.exit_code == 0
    assert "  f: tcp *:80 -> b" in done.stdout


def test_a_file_that_is_not_there(check: Check, tmp_path: Path) -> None:
    done = check(tmp_path / "none.cfg")
    assert done.exit_code == 1
    assert "Could not open configuration file" in done.stderr
    assert "Traceback" not in done.stderr
