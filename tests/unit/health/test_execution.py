# SPDX-License-Identifier: Apache-2.0
"""Rulesets run without sockets: what is to be done, and what is said at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from frames import PING, SETTINGS, answer, data, reset
from penstock.checks.codes import CheckCode
from penstock.checks.model import (
    Connect,
    Expect,
    Family,
    Regex,
    Ruleset,
    Send,
    SendHttp,
    SetVar,
    Statuses,
    Step,
    Text,
)
from penstock.health.execution import (
    MOST_BYTES,
    READ,
    Action,
    Execution,
    Layer,
    Open,
    Script,
    Write,
)
from penstock.health.subject import CheckSubject, World
from penstock.health.verdict import Verdict
from penstock.rules.model import Call, Expression
from penstock.terms import Address


@dataclass
class Here:
    """A process that knows nothing."""

    hostname: str = "here"
    threads: int = 1
    thread: int = 1
    stopping: bool = False
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, name: str) -> str | None:
        return self.variables.get(name)

    def utc_offset(self, seconds: int) -> int:
        return 0

    def is_local(self, address: Address) -> bool:
        return False


WORLD = World(microseconds=lambda: 1_600_000_000_000_000, random=lambda: 4, process=Here())


def execution(*steps: Step, family: Family = Family.TCP, keep_404: bool = False) -> Execution:
    subject = CheckSubject((3, "b"), (1, "s1"), WORLD)
    script = Script(Ruleset(family, steps), "b", keep_404=keep_404)
    return Execution(script, subject, up=True)


def opened(run: Execution) -> Action:
    assert isinstance(run.begin(), Open)
    return run.opened(secure=False)


def test_a_connection_alone() -> None:
    run = execution(family=Family.PLAIN)
    assert run.begin() == Open(Connect(), None)
    assert run.opened(secure=False) == Verdict(CheckCode.L4OK)
    again = execution(family=Family.PLAIN)
    again.begin()
    assert again.opened(secure=True) == Verdict(CheckCode.L6OK)


def test_a_conversation() -> None:
    run = execution(Send(1, b"hi"), Expect(2, Text(b"ho")), Send(3, b"bye"), Expect(4, Text(b"x")))
    assert opened(run) == Write(b"hi")
    assert run.wrote() is READ
    assert run.came(b"h") is READ
    assert run.came(b"o") == Write(b"bye")
    assert run.wrote() is READ
    assert run.came(b"x") == Verdict(CheckCode.L7OK, "(tcp-check)")


def test_what_was_read_is_judged_by_all_expects_in_a_row() -> None:
    run = execution(Expect(1, Text(b"no"), negated=True, min_recv=2), Expect(2, Text(b"yes")))
    assert opened(run) is READ
    assert run.came(b"yes") == Verdict(CheckCode.L7OK, "(tcp-check)")


def test_more_bytes_are_judged_anew_from_the_first_that_must_not_match() -> None:
    run = execution(Expect(1, Text(b"bad"), negated=True, min_recv=1), Expect(2, Text(b"good")))
    assert opened(run) is READ
    assert run.came(b"ok ") is READ
    verdict = run.came(b"bad good")
    assert verdict == Verdict(CheckCode.L7RSP, "TCPCHK matched unwanted content 'bad' at step 1")


def test_the_end_of_an_answer_decides() -> None:
    run = execution(Expect(1, Text(b"hello")))
    assert opened(run) is READ
    assert run.came(b"hel") is READ
    assert run.came(b"") == Verdict(
        CheckCode.L7RSP, "TCPCHK did not match content 'hello' at step 1"
    )


def test_a_full_buffer_decides() -> None:
    run = execution(Expect(1, Text(b"hello")))
    assert opened(run) is READ
    assert isinstance(run.came(bytes(MOST_BYTES)), Verdict)


def test_a_reset_counts_only_where_nothing_came_before_it() -> None:
    run = execution(Expect(1, Text(b"hello")))
    opened(run)
    assert run.lost(104) == Verdict(
        CheckCode.SOCKERR, "Connection reset by peer at step 1 of tcp-check (expect string 'hello')"
    )
    run = execution(Expect(1, Text(b"hello")))
    opened(run)
    run.came(b"hell")
    assert isinstance(verdict := run.lost(104), Verdict)
    assert verdict.code is CheckCode.L7RSP


def test_several_connections() -> None:
    first, second = Connect(1, port=1), Connect(3, port=2)
    run = execution(first, Expect(2, Text(b"a")), second)
    assert run.begin() == Open(first, 1)
    assert run.opened(secure=False) is READ
    assert run.came(b"a") == Open(second, 2)
    assert run.opened(secure=False) == Verdict(CheckCode.L4OK, "(tcp-check)")


def test_variables_last_for_one_run() -> None:
    variable = Expression(Call("var", ("check.a",)))
    steps = (
        Send(1, (variable, "!")),
        SetVar("check.a", ("x",)),
        Send(3, (variable, "!")),
    )
    for _ in range(2):
        run = execution(*steps)
        assert opened(run) == Write(b"!")
        assert run.wrote() == Write(b"x!")


def test_nothing_to_send_is_not_sent() -> None:
    run = execution(Send(1, (Expression(Call("var", ("check.a",))),)))
    assert opened(run) == Verdict(CheckCode.L7OK, "(tcp-check)")


def test_digits_that_are_none_cannot_be_sent() -> None:
    run = execution(Send(1, ("xyz",), hexadecimal=True))
    assert opened(run) == Verdict(
        CheckCode.L7RSP, "tcp-check send : failed to build log-format string at step 1"
    )


def test_a_port_from_a_sample() -> None:
    run = execution(
        SetVar("check.p", ("81",)), Connect(2, port=Expression(Call("var", ("check.p",))))
    )
    assert isinstance(action := run.begin(), Open)
    assert action.port == 81


@pytest.mark.parametrize(("said", "port"), [("65617", 81), ("65536", None), ("-1", 65535)])
def test_no_sample_gives_a_port_that_there_is_not(said: str, port: int | None) -> None:
    """HAProxy takes sixteen bits of it; a socket would not take the whole."""
    run = execution(
        SetVar("check.p", (said,)), Connect(2, port=Expression(Call("var", ("check.p",))))
    )
    assert isinstance(action := run.begin(), Open)
    assert action.port == port


@pytest.mark.parametrize(
    ("layer", "failed", "expired"),
    [
        (Layer.SOCKET, CheckCode.SOCKERR, CheckCode.L7TOUT),
        (Layer.L4, CheckCode.L4CON, CheckCode.L4TOUT),
        (Layer.L6, CheckCode.L6RSP, CheckCode.L6TOUT),
        (Layer.L7, CheckCode.SOCKERR, CheckCode.L7TOUT),
    ],
)
def test_how_far_it_came_is_in_the_code(
    layer: Layer, failed: CheckCode, expired: CheckCode
) -> None:
    run = execution()
    run.begin()
    assert run.failed(layer, "why") == Verdict(
        failed, "why at initial connection step of tcp-check"
    )
    assert run.expired(layer).code is expired


def test_an_expect_may_name_the_code_of_its_timeout() -> None:
    run = execution(Expect(1, Regex("x", binary=True), timeout=CheckCode.L6TOUT, comment="c"))
    opened(run)
    assert run.expired(Layer.L7) == Verdict(
        CheckCode.L6TOUT, " at step 1 of tcp-check (expect binary regex) comment: 'c'"
    )


def test_what_is_said_is_short() -> None:
    run = execution(Expect(1, Text(b"x"), min_recv=1, on_error=("é" * 100,)))
    opened(run)
    verdict = run.came(b"y")
    assert isinstance(verdict, Verdict)
    assert len(verdict.info.encode(errors="surrogateescape")) == 127


OK, NOT_FOUND = b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.0 404 Not Found\r\n\r\n"


def test_a_404_may_mean_that_a_server_that_is_up_wants_to_stop() -> None:
    for up, code in ((True, CheckCode.L7OKC), (False, CheckCode.L7STS)):
        subject = CheckSubject((3, "b"), (1, "s1"), WORLD)
        ruleset = Ruleset(Family.HTTP, (Expect(1, Statuses(((200, 399),))),))
        run = Execution(Script(ruleset, "b", keep_404=True), subject, up=up)
        opened(run)
        verdict = run.came(NOT_FOUND)
        assert isinstance(verdict, Verdict)
        assert (verdict.code, verdict.number) == (code, 404)


def test_an_answer_in_http_is_waited_for() -> None:
    run = execution(Expect(1, Statuses(((200, 399),))), family=Family.HTTP)
    assert opened(run) is READ
    for at in range(len(OK) - 1):
        assert run.came(OK[at : at + 1]) is READ
    assert run.came(OK[-1:]) == Verdict(CheckCode.L7OK, "", 200)


# -- HTTP/2 ------------------------------------------------------------------------------


def asked_in_http2(*steps: Step) -> Execution:
    """A run that has sent its request."""
    run = execution(SendHttp(1), *steps, family=Family.HTTP)
    assert isinstance(run.begin(), Open)
    said = run.opened(secure=False, http2=True)
    assert isinstance(said, Write)
    assert said.data.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert run.wrote() is READ
    return run


def test_what_http2_wants_is_said_before_more_is_read() -> None:
    run = asked_in_http2(Expect(2, Text(b"hello", http=True)))
    said = run.came(SETTINGS + PING)
    assert isinstance(said, Write)
    assert len(said.data) == 9 + 17
    assert run.wrote() is READ
    assert run.came(answer(200, ends=False)) is READ
    assert run.came(data(b"hel", ends=False)) is READ
    assert run.came(data(b"lo", ends=False)) == Verdict(CheckCode.L7OK, "", 200)


def test_nothing_is_said_to_a_server_whose_answer_is_known() -> None:
    run = asked_in_http2(Expect(2, Statuses(((200, 399),))))
    assert run.came(SETTINGS + PING + answer(503)) == Verdict(CheckCode.L7STS, "", 503)


def test_streams_that_are_reset() -> None:
    run = asked_in_http2(Expect(2, Statuses(((200, 399),))))
    assert run.came(SETTINGS + reset(7)) == Verdict(CheckCode.SOCKERR)
    run = asked_in_http2(Expect(2, Text(b"hello", http=True)))
    assert run.came(SETTINGS + answer(200, ends=False) + reset(7)) == Verdict(
        CheckCode.L7RSP, "HTTP content check could not find a response body", 200
    )


def test_a_server_that_hangs_up_on_http2() -> None:
    run = asked_in_http2(Expect(2, Statuses(((200, 399),))))
    empty = "TCPCHK got an empty response at step 2"
    assert run.came(b"") == Verdict(CheckCode.L7RSP, empty)
    run = asked_in_http2(Expect(2, Statuses(((200, 399),))))
    assert run.lost(104) == Verdict(CheckCode.SOCKERR, "Connection reset by peer")
    run = asked_in_http2(Expect(2, Text(b"hello", http=True)))
    run.came(SETTINGS + answer(200, ends=False))
    run.wrote()
    assert run.lost(104) == Verdict(
        CheckCode.L7RSP, "HTTP content check could not find a response body", 200
    )


def test_each_connection_speaks_its_own_protocol() -> None:
    steps = (SendHttp(1), Expect(2, Statuses(((200, 299),))), Connect(3), SendHttp(4))
    run = execution(*steps, family=Family.HTTP)
    run.begin()
    run.opened(secure=False, http2=True)
    run.wrote()
    assert run.came(SETTINGS + answer(200)) == Open(Connect(3), None)
    assert run.opened(secure=False) == Write(b"OPTIONS / HTTP/1.0\r\n\r\n")
