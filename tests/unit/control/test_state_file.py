# SPDX-License-Identifier: Apache-2.0
"""Servers' states read back at start, with the verdicts of HAProxy 2.6.12."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit_rig import Rig
from unit_runtime import ask, runtime_of, terminal_of

from penstock.config.haproxy import LoadResult, loads
from penstock.control.desired import Override
from penstock.control.state_file import Recalled, recall
from penstock.model import AdminState, PortMode, RealPort

HEADER = "1\n# be_id be_name srv_id srv_name srv_addr and so on\n"
GLOBAL = "global\n server-state-file g.state\n server-state-base {path}\n"
SECTIONS = """
defaults
    mode tcp
    load-server-state-from-file global
backend b1
    server s1 127.0.0.1:1 weight 10
    server s2 127.0.0.1:1 weight 10
    server s3 127.0.0.1:1 disabled
    server s4 127.0.0.1:1 check inter 1h
    server s5 127.0.0.1:1 check inter 1h
    server s7 127.0.0.1:1
backend b2
    load-server-state-from-file local
    server s1 127.0.0.1:1
backend b3
    load-server-state-from-file local
    server-state-file-name x.state
    server s1 127.0.0.1:1
backend b4
    load-server-state-from-file none
    server s1 127.0.0.1:1
"""
GOOD = """\
2 b1 1 s1 127.0.0.9 2 0 7 10 100 1 0 2 0 0 0 0 - 77 - 0 0 - - 0
2 b1 2 s2 127.0.0.1 0 1 7 11 100 1 0 2 0 0 0 0 - 1 - 0 0 - - 0
2 b1 3 s3 127.0.0.1 2 4 1 1 100 1 0 2 0 0 0 0 - 1 - 0 0 - - 0
2 b1 4 s4 127.0.0.1 0 0 1 1 100 8 2 0 6 0 0 0 - 1 - 0 0 - - 0
2 b1 5 s5 127.0.0.1 2 0 1 1 100 6 3 4 2 0 0 0 - 1 - 0 0 - - 0
2 b1 7 s7 127.0.0.1 2 8 1 1 100 1 0 2 0 0 0 0 - 1 - 0 0 - - 0
5 b4 1 s1 127.0.0.1 2 8 1 1 100 1 0 2 0 0 0 0 - 1 - 0 0 - - 0
"""
BAD = """\
2 b1 1 s1 127.0.0.9 9 0 7 10 100 1 0 2 0 0 0 0 - 77 - 0 0 - - 0
2 b1 2 s2 127.0.0.1 2 x 700 -3 abc 99 9 2 0 0 0 0 - 1 - 0 0 - - 0
2 b1 5 s5 127.0.0.1 2 0 1 1 100 8 2 99 99 99 7 7 - 99999 - 5 99999 - - 99999
9 zz 7 s7 127.0.0.1 2 8 1 1 100 1 0 2 0 0 0 0 - 1 - 0 0 - - 0
"""


def recalled(path: Path, **files: str) -> tuple[LoadResult, Recalled]:
    for name, text in files.items():
        (path / name.replace("_", ".")).write_text(text)
    loaded = loads(GLOBAL.format(path=path) + SECTIONS)
    return loaded, recall(loaded.configuration, lambda name: Path(name).read_text())


def test_what_was_set_is_set_again(tmp_path: Path) -> None:
    _, found = recalled(tmp_path, g_state=HEADER + GOOD, b2=HEADER, x_state=HEADER)
    assert found.warnings == []
    assert found.overrides == {
        ("b1", "s1"): Override(weight=7, port=RealPort(PortMode.FIXED, 77)),
        ("b1", "s2"): Override(admin=AdminState.MAINT),  # its weight in the file is another now
        ("b1", "s3"): Override(admin=AdminState.READY),
        ("b1", "s5"): Override(check=False),
        ("b1", "s7"): Override(admin=AdminState.DRAIN),
    }
    assert found.down == {("b1", "s4")}
    assert found.ago["b1", "s1"] == 100


def test_the_daemon_goes_on_from_there(tmp_path: Path) -> None:
    loaded, found = recalled(tmp_path, g_state=HEADER + GOOD, b2=HEADER, x_state=HEADER)
    rig = Rig(loaded.configuration, tmp_path, recalled=found)
    shown = ask(terminal_of(runtime_of(rig.controller, clock=rig.clock)), "show servers state b1")
    rows = [line.split()[3:10] for line in shown.splitlines()[2:] if line]
    assert rows == [
        ["s1", "127.0.0.1", "2", "0", "7", "10", "100"],
        ["s2", "127.0.0.1", "0", "1", "10", "10", "100"],
        ["s3", "127.0.0.1", "2", "4", "1", "1", "100"],
        ["s4", "127.0.0.1", "0", "0", "1", "1", "100"],
        ["s5", "127.0.0.1", "2", "0", "1", "1", "100"],
        ["s7", "127.0.0.1", "2", "8", "1", "1", "100"],
    ]


def test_our_own_output_is_read_back(tmp_path: Path) -> None:
    loaded, found = recalled(tmp_path, g_state=HEADER + GOOD, b2=HEADER, x_state=HEADER)
    rig = Rig(loaded.configuration, tmp_path, recalled=found)
    shown = ask(terminal_of(runtime_of(rig.controller, clock=rig.clock)), "show servers state")
    _, again = recalled(tmp_path, g_state=shown)
    assert again.overrides == found.overrides
    assert (again.down, again.warnings) == (found.down, [])


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (None, "config: Can't open global server state file '{path}': No such file or directory"),
        ("", "config: Can't get version of the global server state file '{path}'."),
        ("7\n", "config: Can't get version of the global server state file '{path}'."),
        (
            HEADER + GOOD + "2 b1 4 s4 127.0.0.1 0 0\n" + GOOD,
            "config: corrupted global server state file '{path}' at line 9.",
        ),
    ],
)
def test_a_bad_file_is_told_and_not_used(tmp_path: Path, text: str | None, warning: str) -> None:
    files = {} if text is None else {"g_state": text}
    _, found = recalled(tmp_path, b2=HEADER, x_state=HEADER, **files)
    assert found.warnings == [warning.format(path=tmp_path / "g.state")]
    assert (found.overrides, found.down, found.ago) == ({}, set(), {})


def test_a_backend_s_own_file(tmp_path: Path) -> None:
    _, found = recalled(tmp_path, g_state=HEADER, x_state="1\n" + GOOD.replace("5 b4", "3 b3"))
    assert found.warnings == [
        f"Proxy 'b2': Can't open server state file '{tmp_path}/b2': No such file or directory."
    ]
    assert found.overrides == {("b3", "s1"): Override(admin=AdminState.DRAIN)}


def test_bad_fields_are_told_and_the_server_begins_as_configured(tmp_path: Path) -> None:
    _, found = recalled(tmp_path, g_state=HEADER + BAD, b2=HEADER, x_state=HEADER)
    head = "server-state application failed for server"
    assert found.warnings == [
        f"{head} 'b1/s1', invalid srv_op_state value '9'",
        f"{head} 'b1/s2', invalid srv_admin_state value 'x', invalid srv_uweight value '700',"
        " invalid srv_iweight value '-3', invalid srv_last_time_change value 'abc', invalid"
        " srv_check_status value '99', invalid srv_check_result value '9'",
        f"{head} 'b1/s5', invalid srv_check_state value '99', invalid srv_agent_state value '99',"
        " invalid bk_f_forced_id value '7', invalid srv_f_forced_id value '7', invalid srv_port"
        " value '99999'",
    ]
    assert (found.overrides, found.down) == ({}, set())


def test_nobody_asks_for_a_file(tmp_path: Path) -> None:
    loaded = loads("backend b\n mode tcp\n server s 127.0.0.1:1\n")
    assert recall(loaded.configuration, lambda name: "").warnings == []
