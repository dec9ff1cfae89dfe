# SPDX-License-Identifier: Apache-2.0
"""What is sent to servers of each protocol, and what their answers are taken for."""

from __future__ import annotations

import pytest

from penstock.checks import ldap, mysql, pgsql, spop, ssl_hello
from penstock.checks.codes import CheckCode, Outcome
from penstock.checks.model import Connect, Family, Ruleset, Send, SetVar
from penstock.checks.result import Result


def test_every_code_has_a_meaning() -> None:
    assert all(code.description and code.outcome for code in CheckCode)
    assert CheckCode.L7OKC.outcome is Outcome.CONDITIONAL
    numbered = {code for code in CheckCode if code.has_number}
    assert numbered == {"L7OK", "L7OKC", "L7STS", "PROCERR", "PROCTOUT", "PROCOK"}


def test_a_ruleset_begins_with_a_connect_that_nobody_has_to_write() -> None:
    send, variable = Send(1, b"x"), SetVar("check.a", None)
    assert Ruleset(Family.TCP, (send,)).steps == (Connect(), send)
    assert Ruleset(Family.TCP, ()).steps == (Connect(),)
    written = Connect(2, tls=True)
    assert Ruleset(Family.TCP, (variable, written, send)).steps == (variable, written, send)


def test_a_login_to_mysql() -> None:
    """Lengths in front count the user's name."""
    assert mysql.login("u", before_41=True) == (
        b"\x08\0\0\x01\0\x80\0\0\x01u\0\0" + b"\x01\0\0\0\x01"
    )
    later = mysql.login("haproxy", before_41=False)
    assert later[:4] == b"\x29\0\0\x01"
    assert len(later) == 4 + 0x29 + 5


GREETING = b"\x0a8.0.1\0abcdefgh"
PACKET = len(GREETING).to_bytes(3, "little") + b"\0" + GREETING


@pytest.mark.parametrize("length", range(len(PACKET)))
def test_a_greeting_of_mysql_in_pieces(length: int) -> None:
    assert mysql.greeting(PACKET[:length], over=False) is None
    assert mysql.greeting(PACKET[:length], over=True) == Result(CheckCode.L7RSP)


def test_answers_of_mysql() -> None:
    assert mysql.greeting(PACKET, over=False) == Result(CheckCode.L7OK, "8.0.1")
    error = b"\x09\0\0\x02\xff\x15\x04denied"
    assert mysql.after_greeting(PACKET + error, over=False) == Result(
        CheckCode.L7STS, "denied", 1045
    )
    assert mysql.after_greeting(PACKET, over=False) is None
    assert mysql.after_greeting(b"", over=True) == Result(CheckCode.L7RSP)


def test_a_startup_message_of_postgresql() -> None:
    assert pgsql.startup("postgres") == bytes.fromhex(
        "00000017000300007573657200706f7374677265730000"
    )


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("300c02010161070a010004000400", Result(CheckCode.L7OK, "Success")),
        ("308400000010020101618400000007 0a010004000400", Result(CheckCode.L7OK, "Success")),
        ("3082000c02010161070a010004000400", Result(CheckCode.L7OK, "Success")),
        ("300c02010160070a010004000400", Result(CheckCode.L7RSP, "Not LDAPv3 protocol")),
        ("300c02010161070b010004000400", Result(CheckCode.L7RSP, "Not LDAPv3 protocol")),
        ("3083000c0202010161070a0100040004", Result(CheckCode.L7RSP, "Not LDAPv3 protocol")),
        ("300c020101", None),
        ("308400", None),
        ("30", None),
    ],
)
def test_answers_of_ldap(answer: str, result: Result | None) -> None:
    data = bytes.fromhex(answer)
    assert ldap.bind_response(data, over=False) == result
    if result is None:
        assert ldap.bind_response(data, over=True) == Result(CheckCode.L7RSP)


def test_a_code_of_ldap_is_told() -> None:
    found = ldap.bind_response(bytes.fromhex("300c02010161070a013104000400"), over=False)
    assert found is not None
    assert (found.code, found.number) == (CheckCode.L7STS, 49)


def test_the_hello_of_sslv3_has_the_time_in_its_midst() -> None:
    before, now, after = ssl_hello.hello()
    assert isinstance(before, str)
    assert isinstance(after, str)
    assert not isinstance(now, str)
    record = bytes.fromhex(before + "01020304" + after)
    assert record[:5] == bytes.fromhex("1603000079")
    assert len(record) == 5 + 0x79
    assert record[15:43] == b"HAPROXYSSLCHK\nHAPROXYSSLCHK\n"


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


HEAD = bytes.fromhex("65000000010000")
VERSION = bytes.fromhex("0776657273696F6E0803322E30")
SIZE = bytes.fromhex("0E6D61782D6672616D652D73697A6503FCF006")


def test_the_hello_to_an_agent_is_haproxys() -> None:
    said = spop.hello()
    assert said[:4] == bytes.fromhex("0000004e")
    assert len(said) == 82
    assert said.endswith(b"\x0bhealthcheck\x11")


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (HEAD + VERSION + SIZE, ""),
        (HEAD + SIZE, "version value not found"),
        (HEAD + VERSION, "max-frame-size value not found"),
        (HEAD + VERSION.replace(b"2.0", b"1.0") + SIZE, "unsupported version"),
        (HEAD + VERSION.replace(b"\x03" + b"2.0", b"\x05 2.0 ") + SIZE, ""),
        (HEAD + VERSION + SIZE[:-3] + b"\x10", "max-frame-size too big or too small"),
        (HEAD + VERSION + SIZE[:-3] + b"\xfc\xf1\x06", "max-frame-size too big or too small"),
        (HEAD + VERSION + SIZE + b"\x01a\x07" + bytes(16) + b"\x01b\x11", ""),
        (HEAD + VERSION + SIZE + b"\x01a\x09\x05abc", "invalid frame received"),
        (HEAD + VERSION + SIZE + b"\x01a\x0f", "invalid frame received"),
        (HEAD + VERSION.replace(b"\x08\x03", b"\x03\x03") + SIZE, "invalid frame received"),
        (b"\x67" + HEAD[1:] + VERSION + SIZE, "invalid frame received"),
        (HEAD[:5] + b"\x01\0" + VERSION + SIZE, "invalid frame received"),
        (HEAD[:4] + bytes(3) + VERSION + SIZE, "fragmentation not supported"),
        (b"\x66" + HEAD[1:] + b"\x0bstatus-code\x03\x02", "a timeout occurred"),
        (b"\x66" + HEAD[1:] + b"\x0bstatus-code\x03\x63", "an unknown error occurred"),
        (b"\x66" + HEAD[1:], "normal"),
        (b"", "invalid frame received"),
    ],
)
def test_answers_of_an_agent(body: bytes, wrong: str) -> None:
    expected = (
        Result(CheckCode.L7RSP, wrong) if wrong else Result(CheckCode.L7OK, "SPOA server is ok")
    )
    assert spop.agent_hello(frame(body), over=False) == expected


def test_an_agents_hello_in_pieces() -> None:
    whole = frame(HEAD + VERSION + SIZE)
    for length in range(len(whole)):
        assert spop.agent_hello(whole[:length], over=False) is None
        found = spop.agent_hello(whole[:length], over=True)
        assert found is not None
        assert found.code is CheckCode.L7RSP
