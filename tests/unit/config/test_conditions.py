# SPDX-License-Identifier: Apache-2.0
"""Conditions of .if, and the blocks they make. Checked against HAProxy 2.6."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.haproxy import loads
from penstock.config.haproxy.conditions import ConditionError, evaluate
from penstock.errors import ConfigError

ENVIRON = {"HOME": "/root"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", False),
        ("0", False),
        ("1", True),
        ("-1", True),
        ("!1", False),
        ("!!1", True),
        ("1 && 0", False),
        ("0 || 1", True),
        ("!1 || 0", False),
        ("1 && (0 || 1) && !(0)", True),
        ("defined(HOME)", True),
        ("defined(NOPE)", False),
        ("defined()", False),
        ("streq(a,a)", True),
        ("streq(a b,a b)", True),
        ("streq(a b, a b)", False),
        ("strneq(a,b)", True),
        ("version_atleast(2.6)", True),
        ("version_atleast(2.6.12)", True),
        ("version_atleast(2.6.13)", False),
        ("version_atleast(2.7)", False),
        ("version_before(3.0-dev3)", True),
        ("version_before(2.6-dev1)", False),
        ("version_atleast(x)", False),
        ("feature(THREAD)", True),
        ("feature(thread)", False),
        ("feature(LUA)", False),
        ("feature(OPENSSL)", True),
        ("openssl_version_atleast(1.1.1)", True),
        ("openssl_version_atleast(99)", False),
        ("openssl_version_before(99.1)", True),
        ("openssl_version_before(1.1)", False),
        ("ssllib_name_startswith(OpenSSL)", True),
        ("ssllib_name_startswith(Libre)", False),
    ],
)
def test_values(text: str, value: bool) -> None:
    assert evaluate(text, ENVIRON) is value


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("foo", "unparsable conditional expression 'foo'", 0),
        ("nope(1)", "unparsable conditional expression 'nope(1)'", 0),
        ("1 2", "unexpected character '2' at the end of conditional expression '1 2'", 2),
        ("(1", "expected ')' after conditional expression '(1'", 0),
        ("1 &&", "unparsable conditional expression '&&'", 2),
        (
            "streq(a)",
            "missing arguments (got 1/2), type 'string' expected in argument 1 of predicate"
            " 'streq' used in conditional expression",
            7,
        ),
        (
            "defined(A,B)",
            "expected ')' before ',B)' in argument 1 of predicate 'defined' used in conditional"
            " expression",
            9,
        ),
    ],
)
def test_errors(text: str, message: str, at: int) -> None:
    with pytest.raises(ConditionError) as caught:
        evaluate(text, ENVIRON)
    assert (caught.value.message, caught.value.at) == (message, at)


@given(st.text(alphabet="01!&|() abstreqdefin,'\"\\-.", max_size=60))
def test_any_text_is_judged_or_refused(text: str) -> None:
    try:
        evaluate(text, ENVIRON)
    except ConditionError as error:
        assert 0 <= error.at <= len(text)


def test_very_deep_expressions_are_refused() -> None:
    with pytest.raises(ConditionError, match="too deep"):
        evaluate("!" * 5000 + "1", ENVIRON)


def _errors(text: str) -> list[tuple[int, str]]:
    with pytest.raises(ConfigError) as caught:
        loads(text, name="f.cfg", environ=ENVIRON)
    return [(d.line, d.message.split("\n")[0]) for d in caught.value.diagnostics]


def test_only_the_branch_that_holds_is_read() -> None:
    text = "global\n.if 0\n foo\n.elif 1\n bar\n.else\n baz\n.endif\n"
    assert _errors(text) == [(5, "unknown keyword 'bar' in 'global' section")]


def test_blocks_in_a_skipped_branch_are_skipped_whole() -> None:
    text = "global\n.if 0\n.if nonsense\n foo\n.else\n bar\n.endif\n.else\n baz\n.endif\n"
    assert _errors(text) == [(9, "unknown keyword 'baz' in 'global' section")]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (".elif 1\n", 1, "lone '.elif' with no matching '.if'."),
        (".else\n", 1, "lone '.else' with no matching '.if'."),
        (".endif\n", 1, "lone '.endif' with no matching '.if'."),
        (".if 1\n.else\n.else\n.endif\n", 3, "'.else' after '.else' is not permitted."),
        (".if 1\n.else\n.elif 1\n.endif\n", 3, "'.elif' after '.else' is not permitted."),
        (".if 1\n", 1, "non-terminated '.if' block."),
        (".if 1\n.endif x\n", 2, "Unexpected argument 'x' for '.endif'."),
        (".foo\n", 1, "unknown directive '.foo'."),
        ('.alert "a b"\n', 1, "'a b'."),
        (
            ".alert a b\n",
            1,
            "Unexpected argument 'b' for '.alert'. Use quotes if the message should contain"
            " spaces.",
        ),
    ],
)
def test_misplaced_directives(text: str, line: int, message: str) -> None:
    assert _errors(text)[0] == (line, message)


def test_warning_and_notice_are_told_and_go_on() -> None:
    result = loads(".warning careful\n.notice hello\n.diag deep\n", environ={})
    assert [w.message for w in result.warnings] == ["'careful'."]
    assert [n.message for n in result.notes] == ["'hello'.", "'deep'."]
