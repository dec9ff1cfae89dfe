# SPDX-License-Identifier: Apache-2.0
"""What is said of wrong files, in which order, and how it is summed up."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.haproxy.arguments import parse
from penstock.haproxy.reading import finds_files, read
from penstock.haproxy.voice import Voice

TIMES = " mode tcp\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n"
GOOD = f"listen l\n{TIMES} bind 127.0.0.1:1999\n server s 192.0.2.1:1\n"


def said(
    capfd: pytest.CaptureFixture[str], folder: Path, *texts: str, words: tuple[str, ...] = ()
) -> list[str]:
    """What comes on standard error, without process ids and who it is that speaks."""
    arguments = ["-c", *words]
    for number, text in enumerate(texts):
        path = folder / f"{number}.cfg"
        path.write_text(text)
        arguments += ["-f", str(path)]
    read(parse(arguments), Voice())
    lines = capfd.readouterr().err.replace(f"{folder}/", "").splitlines()
    shown = [f"{line.split()[0]} {line.split(' : ', 1)[1]}" for line in lines]
    return [line for line in shown if " is " not in line]


def test_each_file_is_summed_up_where_it_ends(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = ".warning one\nlisten a\n nonsense\n.warning two\n server s 192.0.2.1:1 nonsense\n"
    assert said(capfd, tmp_path, first, GOOD, "backend b\n nonsense\n") == [
        "[WARNING] config : parsing [0.cfg:1]: 'one'.",
        "[ALERT] config : parsing [0.cfg:3] : unknown keyword 'nonsense' in 'listen' section",
        "[WARNING] config : parsing [0.cfg:4]: 'two'.",
        "[ALERT] config : [0.cfg:5] : 'server a/s' : unknown keyword 'nonsense'.",
        "[ALERT] config : Error(s) found in configuration file : 0.cfg",
        "[ALERT] config : parsing [2.cfg:2] : unknown keyword 'nonsense' in 'backend' section",
        "[ALERT] config : Error(s) found in configuration file : 2.cfg",
        "[ALERT] config : Fatal errors found in configuration.",
    ]


def test_an_error_that_ends_the_reading_has_the_last_word(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert said(capfd, tmp_path, ".alert no\n", "nonsense\n") == [
        "[ALERT] config : parsing [0.cfg:1]: 'no'.",
        "[ALERT] config : Error(s) found in configuration file : 0.cfg",
    ]


def test_lines_that_do_not_fit_together(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = f"frontend f\n{TIMES} bind 127.0.0.1:1999\n default_backend b\n"
    assert said(capfd, tmp_path, text)[-2:] == [
        "[ALERT] config : [0.cfg:7] : Proxy 'f': unable to find required default_backend: 'b'.",
        "[ALERT] config : Fatal errors found in configuration.",
    ]


def test_names_without_an_address(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name = "x" * 64  # longer than a label may be: nobody is asked
    assert said(capfd, tmp_path, f"{GOOD} server t {name}:1\n") == [
        f"[ALERT] config : [0.cfg:8] : 'server l/t' : could not resolve address '{name}'.",
        "[ALERT] config : Failed to initialize server(s) addr.",
    ]


def test_warnings_are_said_before_what_cannot_run(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = f".warning first\n{GOOD} filter compression\n compression algo gzip\n"
    lines = said(capfd, tmp_path, text)
    assert lines[0] == "[WARNING] config : parsing [0.cfg:1]: 'first'."
    assert "cannot run because of 'filter compression'" in lines[-2]
    assert lines[-1] == "[ALERT] config : Fatal errors found in configuration."


def test_programs_need_a_master(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = f"{GOOD}program p\n command true\n"
    assert said(capfd, tmp_path, text) == [
        "[ALERT] config : Can't use a 'program' section without master worker mode.",
        "[ALERT] config : Fatal errors found in configuration.",
    ]
    assert said(capfd, tmp_path, text, words=("-W",)) == []
    assert said(capfd, tmp_path, f"global\n master-worker\n{text}") == []


def test_what_the_file_itself_has_told(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = f".notice hello\n.diag more\n{GOOD}"
    notice = "[NOTICE] config : parsing [0.cfg:1]: 'hello'."
    diagnosis = "[DIAG] config : parsing [0.cfg:2]: 'more'."
    assert said(capfd, tmp_path, text) == [notice]
    assert said(capfd, tmp_path, text, words=("-dD",)) == [notice, diagnosis]


def test_files_that_are_not_there(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = tmp_path / "nope.cfg"
    assert said(capfd, tmp_path, GOOD, words=("-f", str(missing))) == [
        "[ALERT] config : Cannot open configuration file/directory nope.cfg :"
        " No such file or directory",
    ]


def test_heads_are_haproxys(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It leaves a blank before the colon, or does not, and has two ways to begin."""
    text = (
        f"listen l\n{TIMES} bind 127.0.0.1:1999\n log-format %[none]\n"
        " acl a src_conn_rate(none) gt 1\n server s 192.0.2.1:1\n"
    )
    assert said(capfd, tmp_path, text) == [
        "[ALERT] config : Parsing [0.cfg:7]: failed to parse log-format : failed to parse sample"
        " expression <none]> : unknown fetch method 'none'.",
        "[ALERT] config : parsing [0.cfg:8]: unable to find table 'none' referenced in arg 1 of ACL"
        " keyword 'src_conn_rate' in proxy 'l'.",
        "[ALERT] config : Fatal errors found in configuration.",
    ]


def test_a_warning_may_end_the_reading(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert said(capfd, tmp_path, "cache c\n total-max-size much\n nonsense\n") == [
        "[WARNING] config : parsing [0.cfg:2]: total-max-size wrong value 'much'",
        "[ALERT] config : Error(s) found in configuration file : 0.cfg",
    ]


def test_a_folder_without_files_is_no_file(tmp_path: Path) -> None:
    assert not finds_files(parse(["-c", "-f", str(tmp_path)]))
    assert finds_files(parse(["-c", "-f", str(tmp_path / "nowhere")]))
    (tmp_path / "a.cfg").write_text(GOOD)
    assert finds_files(parse(["-c", "-f", str(tmp_path)]))


def test_what_is_alerted_may_be_valid(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = "global\n pidfile a\n pidfile b\n maxconn 10\n maxconn 20\n"
    assert said(capfd, tmp_path, text + GOOD) == [
        "[ALERT] config : parsing [0.cfg:3] : 'pidfile' already specified. Continuing.",
        "[ALERT] config : parsing [0.cfg:5] : 'maxconn' already specified. Continuing.",
    ]
