# SPDX-License-Identifier: Apache-2.0
"""The three programs: what they say, where, and what they end with."""

from __future__ import annotations

import errno

import pytest
from unit_ipvsadm import Shell

from penstock.ipvs.model import Connection, Flush
from penstock.ipvsadm.messages import kernel_error

NOT_THERE = "Are you sure that IP Virtual Server is built in the kernel or as module?\n"
ADD = "-A -t 198.51.100.7:443 -s rr"


@pytest.fixture
def sh() -> Shell:
    return Shell()


def test_nothing_at_all_lists_the_table_with_names(sh: Shell) -> None:
    sh(f"ipvsadm {ADD}")
    assert sh("ipvsadm").out.split("\n")[3] == "TCP  web.test:https rr"
    assert sh("ipvsadm -Ln").out.split("\n")[3] == "TCP  198.51.100.7:443 rr"


def test_one_service(sh: Shell) -> None:
    sh(f"ipvsadm {ADD}")
    assert sh("ipvsadm -Ln -t 198.51.100.7:443").out.startswith("Prot LocalAddress:Port Sch")
    sh("ipvsadm -Ln -u 198.51.100.7:443")
    assert (sh.status, sh.out, sh.err) == (1, "", "No such service\n")


def test_an_errno_is_a_line_and_255(sh: Shell) -> None:
    sh(f"ipvsadm {ADD}")
    sh(f"ipvsadm {ADD}")
    assert (sh.status, sh.out, sh.err) == (255, "", "Service already exists\n")
    sh.table.answer = errno.ESRCH
    assert sh("ipvsadm -D -f 1").err == "No such service\n"
    assert sh("ipvsadm -E -f 1").err == "No such service\n"
    assert sh("ipvsadm -Z -f 1").err == "No such service\n"
    assert sh("ipvsadm -d -f 1 -r 192.0.2.1").err == "Service not defined\n"
    assert sh("ipvsadm -e -f 1 -r 192.0.2.1").err == "Service not defined\n"
    assert sh("ipvsadm --stop-daemon master").err == "No daemon is running\n"
    sh.table.answer = errno.ENOENT
    assert sh("ipvsadm -E -f 1").err == "Scheduler or persistence engine not found\n"
    assert sh("ipvsadm -d -f 1 -r 192.0.2.1").err == "No such destination\n"
    sh.table.answer = errno.EEXIST
    assert sh("ipvsadm --start-daemon master").err == "Daemon has already run\n"
    sh.table.answer = errno.ENODEV
    assert sh("ipvsadm --start-daemon master").err == "No such device\n"
    sh.table.answer = errno.ERANGE
    assert sh("ipvsadm -e -f 1 -r 192.0.2.1").err == "Numerical result out of range\n"


def test_words_for_an_errno_of_any_command() -> None:
    assert kernel_error(Flush(), errno.EINVAL).startswith("Invalid operation.  Possibly wrong")
    assert kernel_error(Flush(), errno.EPERM) == "Permission denied (you must be root)\n"
    assert kernel_error(Flush(), errno.ESRCH) == "No such process\n"


def test_help_and_version_need_nobody(sh: Shell) -> None:
    sh.table.forbidden = sh.table.unavailable = "x"
    version = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n"
    assert sh("ipvsadm -v").out == sh("ipvsadm --version").out == sh("ipvsadm -vh").out == version
    usage = sh("/sbin/ipvsadm -h").out
    assert usage.startswith(f"{version}Usage:\n  /sbin/ipvsadm -A|E virtual-service ")
    assert "  /sbin/ipvsadm --stop-daemon {master|backup}\n  /sbin/ipvsadm -h\n\nCommands:" in usage
    assert "--check" not in usage
    assert sh.status == 0


@pytest.mark.parametrize("line", ["", " -Ln", f" {ADD}", " -q", " -C", " -R", " -A -w x"])
def test_who_is_not_root_is_told_before_anything(sh: Shell, line: str) -> None:
    sh.table.forbidden = "Permission denied (you must be root)"
    sh(f"ipvsadm{line}")
    told = f"Can't initialize ipvs: Permission denied (you must be root)\n{NOT_THERE}"
    assert (sh.status, sh.out, sh.err) == (2, "", told)


def test_without_a_daemon_lines_are_still_read(sh: Shell) -> None:
    sh.table.unavailable = "no daemon"
    sh("ipvsadm -L")
    assert (sh.status, sh.out, sh.err) == (2, "", f"Can't initialize ipvs: no daemon\n{NOT_THERE}")
    assert sh("ipvsadm -A").err.startswith("You need to supply")
    sh("ipvsadm -R", stdin=ADD)
    assert (sh.status, sh.err) == (2, f"Can't initialize ipvs: no daemon\n{NOT_THERE}")


def test_popt_s_errors_are_255(sh: Shell) -> None:
    sh("ipvsadm -L -q")
    assert (sh.status, sh.err) == (255, "-q: unknown option\n")


def test_connections(sh: Shell) -> None:
    sh.table.entries = [
        Connection(
            6, 899, "ESTABLISHED", "192.0.2.9", 40000, "198.51.100.7", 443, "192.0.2.20", 80
        ),
        Connection(0, 6000, "NONE", "192.0.2.9", 0, "0.0.0.7", 0, "192.0.2.20", 0),
        Connection(
            *(17, 59, "UDP", "2001:db8::9", 5060, "2001:db8::1", 5060, "2001:db8::20", 5060),
            *("sip", "call-1"),
        ),
    ]
    assert sh("ipvsadm -Lcn").out.split("\n") == [
        "IPVS connection entries",
        "pro expire state       source             virtual            destination",
        "TCP 14:59  ESTABLISHED 192.0.2.9:40000    198.51.100.7:443   192.0.2.20:80",
        "IP  100:00 NONE        192.0.2.9:0        0.0.0.7:0          192.0.2.20:0",
        "UDP 00:59  UDP         [2001:db8::9]:5060 [2001:db8::1]:5060 [2001:db8::20]:5060",
        "",
    ]
    assert sh("ipvsadm -Lc").out.split("\n")[2] == (
        "TCP 14:59  ESTABLISHED 192.0.2.9:40000    web.test:https     rs.test:80"
    )
    engines = sh("ipvsadm -Lcn --persistent-conn").out.split("\n")
    assert engines[1] == (
        "pro expire state       source             virtual            destination        "
        "pe name          pe_data"
    )
    assert engines[2].endswith(" 192.0.2.20:80")
    assert engines[4].endswith(" [2001:db8::20]:5060 sip                call-1")


def test_restore_goes_on_after_the_kernel_s_and_popt_s_errors(sh: Shell) -> None:
    sh("ipvsadm -R", stdin=f"{ADD}\n{ADD}\n-C -q\n\n  -A\t-f 3\r\nipvsadm -A -f 4\n{ADD}\n")
    errors = "Service already exists\n-q: unknown option\nService already exists\n"
    assert (sh.status, sh.err) == (255, errors)
    assert [key.fwmark for key in sh.table.rows] == [0, 3, 4]


@pytest.mark.parametrize(
    ("last", "status", "text"),
    [
        ("-A -f 9", 0, "Service already exists\n"),
        ("-L -q", 255, "Service already exists\n-q: unknown option\n"),
        ("-L --timeout", 0, "Service already exists\n"),
        ("", 255, "Service already exists\n"),
    ],
)
def test_the_last_line_decides(sh: Shell, last: str, status: int, text: str) -> None:
    sh("ipvsadm -R", stdin=f"{ADD}\n{ADD}\n{last}")
    assert (sh.status, sh.err) == (status, text)


@pytest.mark.parametrize(
    ("stop", "status"),
    [
        ("-A -w 1", 2),
        ("# a comment", 255),
        ("/sbin/ipvsadm -C", 2),
        ("-R", 255),
        ("-L -f 77", 1),
        ("-h", 0),
    ],
)
def test_restore_ends_where_the_program_would(sh: Shell, stop: str, status: int) -> None:
    sh("ipvsadm -R", stdin=f"-A -f 1\n{stop}\n-A -f 2\n")
    assert sh.status == status
    assert [key.fwmark for key in sh.table.rows] == [1]


def test_a_listing_in_a_restore_shows_what_is_done_so_far(sh: Shell) -> None:
    sh("ipvsadm -R", stdin="-A -f 1\n-Sn\n-A -f 2\n")
    assert sh.out == "-A -f 1 -s wlc\n"


def test_a_restore_of_nothing(sh: Shell) -> None:
    assert sh("ipvsadm -R", stdin="\n \n").status == 0
    assert sh.table.requests == 0


def test_many_lines_are_sent_together(sh: Shell) -> None:
    sh("ipvsadm -R", stdin="".join(f"-A -f {mark}\n" for mark in range(1, 10001)))
    assert len(sh.table.rows) == 10000
    assert sh.table.requests == 2


def test_a_last_line_that_ends_in_blanks_is_lost(sh: Shell) -> None:
    sh("ipvsadm -R", stdin="-A -f 1 \n-A -f 2  ")
    assert [key.fwmark for key in sh.table.rows] == [1]


def test_save(sh: Shell) -> None:
    sh(f"ipvsadm {ADD}")
    assert sh("ipvsadm-save").out == "-A -t web.test:https -s rr\n"
    assert sh("ipvsadm-save -n").out == "-A -t 198.51.100.7:443 -s rr\n"
    assert sh("ipvsadm-save words -x").out == "-A -t web.test:https -s rr\n"
    sh("ipvsadm-save -x")
    assert (sh.status, sh.out) == (1, "")
    assert sh.err == (
        "ipvsadm-save: Script to save the IPVS table to stdout.\n"
        "   With the -n option, prints out the table in numeric format.\n"
    )


def test_restore_the_script_empties_the_table_and_knows_comments(sh: Shell) -> None:
    sh("ipvsadm -A -f 1")
    sh("ipvsadm-restore", stdin="# one\n-A -f 2\n#two\n-A -f 3")
    assert (sh.status, sh.err) == (0, "")
    assert [key.fwmark for key in sh.table.rows] == [2, 3]
    assert sh("ipvsadm-restore", stdin="").status == 0
    assert not sh.table.rows


def test_restore_the_script_without_rights(sh: Shell) -> None:
    sh.table.forbidden = "no"
    sh("ipvsadm-restore", stdin="-A -f 2\n")
    assert (sh.status, sh.err) == (2, f"Can't initialize ipvs: no\n{NOT_THERE}" * 2)
