# SPDX-License-Identifier: Apache-2.0
"""What agents say, and what is made of it; as HAProxy 2.6 was seen to read it."""

from __future__ import annotations

import pytest

from penstock.checks.codes import CheckCode
from penstock.health.agent_reply import AgentReply, Said, is_whole, read_reply
from penstock.model import AdminState


def read(text: str) -> AgentReply:
    reply = read_reply(text.encode())
    assert reply is not None
    return reply


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("up\n", AgentReply(Said.UP, "up")),
        ("UP\r\n", AgentReply(Said.UP, "UP")),
        ("75%\n", AgentReply(weight="75%")),
        ("ready 50%,up\n", AgentReply(Said.UP, "up", AdminState.READY, "50%")),
        ("drain\tmaxconn:30\n", AgentReply(admin=AdminState.DRAIN, maxconn="30")),
        (
            "75%,maxconn:30,maint,down\n",
            AgentReply(Said.DOWN, "down", AdminState.MAINT, "75%", "30"),
        ),
        ("up down fail\n", AgentReply(Said.FAIL, "fail")),
        ("drain ready\n", AgentReply(admin=AdminState.READY)),
        ("10% 20%\n", AgentReply(weight="20%")),
        (
            "stopped # for a while, up\n",
            AgentReply(Said.STOPPED, "stopped", description="for a while, up"),
        ),
        ("down #\n", AgentReply(Said.DOWN, "down")),
        ("#up\n", AgentReply(description="up")),
        ("bla foo up\n", AgentReply(Said.UP, "up", unknown="bla")),
        ("upper\n", AgentReply(unknown="upper")),
        ("50\n", AgentReply(unknown="50")),
        ("50%x\n", AgentReply(weight="50%x")),
        ("\n", AgentReply()),
        ("up\nmaint\n", AgentReply(Said.UP, "up")),
    ],
)
def test_words_of_a_line(line: str, reply: AgentReply) -> None:
    assert read(line) == reply


@pytest.mark.parametrize("data", [b"", b"up", b"up 50%", b"\0up\n"])
def test_a_line_that_does_not_end_says_nothing(data: bytes) -> None:
    assert read_reply(data) is None


def test_bytes_that_are_no_text_are_no_fault() -> None:
    reply = read_reply(b"\xff\xfe up\n")
    assert reply is not None
    assert reply.up


def test_when_to_stop_reading() -> None:
    assert [is_whole(data) for data in (b"up", b"up\n", b"up\r", b"\0")] == [False] + [True] * 3


@pytest.mark.parametrize(
    ("line", "warning", "code", "info"),
    [
        ("up\n", "", CheckCode.L7OK, "via agent : up"),
        ("Fail\n", "", CheckCode.L7STS, "via agent : Fail"),
        ("down # broken disk\n", "", CheckCode.L7STS, "via agent : down (broken disk)"),
        ("down foo # broken disk\n", "", CheckCode.L7STS, "via agent : down (broken disk)"),
        ("down foo\n", "", CheckCode.L7STS, "via agent : down (foo)"),
        ("up foo # fine\n", "", CheckCode.L7OK, "via agent : up (foo)"),
        ("up # fine\n", "", CheckCode.L7OK, "via agent : up (fine)"),
        ("up 5%x\n", "Trailing", CheckCode.L7OK, "via agent : up (Trailing)"),
        ("foo\n", "", CheckCode.CHECKED, "agent reports an error : foo"),
        ("5%x\n", "Trailing", CheckCode.CHECKED, "agent warns : Trailing"),
        ("50%\n", "", CheckCode.CHECKED, ""),
    ],
)
def test_how_the_check_ends(line: str, warning: str, code: CheckCode, info: str) -> None:
    assert read(line).result(warning) == (code, info)


def test_descriptions_have_an_end() -> None:
    _, info = read("down # " + "x" * 500 + "\n").result("")
    assert len(info) == 127
