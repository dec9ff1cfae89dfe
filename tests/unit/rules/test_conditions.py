# SPDX-License-Identifier: Apache-2.0
"""Conditions: read from words, and asked beside an evaluator that knows no shortcut."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_subject import SOURCES, condition, criterion, subject

from penstock.rules.arguments import RuleError
from penstock.rules.conditions import conflict, inherited, read_criterion, settle
from penstock.rules.evaluate import Where, compile_condition
from penstock.rules.model import (
    Call,
    Condition,
    Criterion,
    Expression,
    IntRange,
    Matching,
    Stage,
    TcpRule,
    Term,
)
from penstock.rules.vocabulary import Checkpoint
from penstock.terms import Origin


def test_what_words_say() -> None:
    read = condition("! { src 10.0.0.0/8 } TRUE or { src_port gt 5 }")
    first, second = read.alternatives
    assert [term.negated for term in first] == [True, False]
    assert first[1].name == "TRUE"
    (port,) = second[0].criteria
    assert port.expression == Expression(Call("src_port"))
    assert port.patterns == (IntRange(6, None),)


def test_keywords_with_a_method_of_their_own() -> None:
    read = criterion("hdr_beg(host) -i www.")
    assert read.expression.fetch == Call("req.hdr", ("host",))
    assert (read.matching, read.ignore_case, read.keyword) == (Matching.BEG, True, "hdr_beg")
    assert criterion("req_ssl_ver ge 3.1").patterns == (IntRange(0x30001, None),)
    assert criterion("req.ssl_ver 3.1:3.3").patterns == (IntRange(0x30001, 0x30003),)


def test_lines_of_a_name_add_up_even_after_it_was_used() -> None:
    acls = {"x": (criterion("src 192.0.2.1"),)}
    early = condition("x", acls)
    acls["x"] = (*acls["x"], criterion("src 127.0.0.1"))
    assert compile_condition(early)(subject()) is False
    assert compile_condition(settle(early, acls))(subject()) is True


def test_what_is_inherited_means_what_it_meant() -> None:
    acls = {"x": (criterion("src 192.0.2.1"),)}
    rule = TcpRule(Stage.CONTENT, Call("reject"), condition=condition("x", acls))
    taken = inherited(rule, acls)
    assert taken.condition is not None
    assert settle(taken.condition, {"x": ()}) == taken.condition


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "no such ACL : 'nope'"),
        ("{ src 1.2.3.4", "missing closing '}' in condition"),
        ("{ }", "missing fetch method in ACL expression ''"),
        ("{ nope 1 }", "unknown fetch method 'nope' in ACL expression 'nope'"),
        ("{ src nowhere }", "'nowhere' is not a valid IPv4 or IPv6 address"),
        ("{ src_port 5:3 }", "'5:3' is not a valid number range"),
        ("{ src_port ge x }", "'x' is neither a number nor a supported operator"),
        ("{ bin(00) -m int 1 }", "matching method 'int' cannot be used with fetch keyword 'bin'"),
        ("{ src -f none }", "failed to open pattern file <none>"),
        (
            "{ src -f numbers }",
            "'a 1' is not a valid IPv4 or IPv6 address at line 1 of file 'numbers'",
        ),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(RuleError) as raised:
        condition(text)
    assert raised.value.message == message


def test_what_there_is_not_where_a_rule_stands() -> None:
    where = (Checkpoint.CONNECTION,)
    assert conflict(condition("TRUE"), where, "") == ""
    assert conflict(condition("{ req.len 0 }"), where, "tcp-request connection") == (
        "anonymous acl will never match in 'tcp-request connection' because it uses keyword"
        " 'req.len' which is incompatible with 'frontend tcp-request connection rule'"
    )
    acls = {"x": (criterion("src 192.0.2.1"), criterion("req.len 0"))}
    assert conflict(condition("x", acls), where, "") == (
        "acl 'x' involves keyword 'req.len' which is incompatible with"
        " 'frontend tcp-request connection rule'"
    )


def test_what_is_not_known_yet() -> None:
    for text, waiting, final in (
        ("WAIT_END", None, True),
        ("!WAIT_END", None, False),
        ("{ req.len gt 0 }", None, False),
        ("{ req.len 0 }", True, True),
        ("!{ req.len 0 }", False, False),
        ("FALSE WAIT_END", False, False),
        ("WAIT_END FALSE", None, False),
        ("WAIT_END or TRUE", True, True),
        ("{ req.payload(0,2) -m bin 0001 }", None, False),
        ("{ req.ssl_sni -m found }", None, False),
    ):
        test = compile_condition(condition(text))
        assert test(subject()) is waiting, text
        assert test(subject(final=True)) is final, text
        assert compile_condition(condition(text), Where(final=True))(subject()) is final, text


_FACTS: dict[str, bool | None] = {"always_true": True, "always_false": False, "wait_end": None}
facts = st.sampled_from(sorted(_FACTS)).map(
    lambda name: Criterion(Expression(Call(name)), Matching.BOOL)
)
terms = st.builds(Term, st.lists(facts, min_size=1, max_size=3).map(tuple), st.booleans())
conditions = st.builds(
    Condition,
    st.lists(st.lists(terms, min_size=1, max_size=3).map(tuple)).map(tuple),
    st.booleans(),
)


def _negated(value: bool | None) -> bool | None:
    return None if value is None else not value


def _some(values: list[bool | None]) -> bool | None:
    if True in values:
        return True
    return None if None in values else False


def _naive(said: Condition) -> bool | None:
    """As acl_exec_cond of HAProxy: an alternative ends with its first term that is not true."""
    alternatives: list[bool | None] = []
    for one in said.alternatives:
        values = []
        for term in one:
            value = _some([_FACTS[fact.expression.fetch.name] for fact in term.criteria])
            values.append(_negated(value) if term.negated else value)
        alternatives.append(next((value for value in values if value is not True), True))
    result = _some(alternatives)
    return _negated(result) if said.unless else result


@given(conditions)
def test_any_condition(said: Condition) -> None:
    assert compile_condition(said)(subject()) is _naive(said)


@given(conditions)
def test_in_the_end_everything_is_known(said: Condition) -> None:
    assert compile_condition(said)(subject(final=True)) is not None


def test_warnings() -> None:
    told: list[str] = []
    hearing = replace(SOURCES, warn=told.append)
    read_criterion(["src"], hearing, Origin(), name="x")
    read_criterion(["str", "(x)"], hearing, Origin(), name="x")
    assert [one.split("\n")[0] for one in told] == [
        "parsing acl keyword 'src' :",
        "parsing acl 'x' :",
    ]
