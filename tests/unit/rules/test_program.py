# SPDX-License-Identifier: Apache-2.0
"""tcp-request rules: read, run, waited for, and what they do on the way."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import cast

import pytest
from rule_subject import SOURCES, FakeSubject, FakeTables, FakeTraffic, condition, subject

from penstock.rules.actions import Line, read_tcp_rule
from penstock.rules.arguments import RuleError
from penstock.rules.evaluate import (
    compile_condition,
    compile_expression,
    compile_format,
    compile_persist_rules,
    compile_routes,
    compile_server_rules,
)
from penstock.rules.expressions import read_expression
from penstock.rules.formats import read_format
from penstock.rules.model import PersistRule, Route, ServerRule, Stage, TcpRule
from penstock.rules.patterns import Sources
from penstock.rules.program import Outcome, Verdict, compile_rules
from penstock.rules.samples import Sample
from penstock.rules.subject import Capture, Change, Expect, Mark, SetEnd, Subject, Track
from penstock.rules.support import Refusal, refusals
from penstock.rules.vocabulary import Checkpoint
from penstock.terms import Origin

_CHECKPOINTS = {
    Stage.CONNECTION: (Checkpoint.CONNECTION,),
    Stage.SESSION: (Checkpoint.SESSION,),
    Stage.CONTENT: (Checkpoint.FRONT_CONTENT, Checkpoint.BACK_CONTENT),
    Stage.RESPONSE: (Checkpoint.RESPONSE,),
}


def rule(text: str, number: int = 1) -> TcpRule:
    stage = next(one for one in Stage if text.startswith(one))
    line = Line(
        text.split(), stage, "listen 'l'", _CHECKPOINTS[stage], {}, SOURCES, Origin("f", number)
    )
    return read_tcp_rule(line)


def run(
    lines: list[str], one: FakeSubject, *, stage: Stage = Stage.CONTENT, start: int = 0
) -> Outcome:
    rules = [rule(f"{stage} {text}", number) for number, text in enumerate(lines, start=1)]
    return compile_rules(rules, stage, "l").run(cast("Subject", one), start)


@pytest.mark.parametrize(
    ("action", "verdict"),
    [
        ("accept", Verdict.ACCEPT),
        ("reject", Verdict.REJECT),
        ("silent-drop", Verdict.DROP),
        ("reject if FALSE", Verdict.ACCEPT),
        ("reject unless FALSE", Verdict.REJECT),
        ("reject if WAIT_END", Verdict.WAIT),
    ],
)
def test_verdicts(action: str, verdict: Verdict) -> None:
    assert run([action], FakeSubject()).verdict is verdict


def test_the_rule_that_decided_last_may_be_asked_for() -> None:
    for fetch, expected in (("last_rule_file", "x.cfg"), ("last_rule_line", 7)):
        compiled = compile_expression(read_expression([fetch], 0, SOURCES).expression)
        assert compiled(subject()) is None
        assert compiled(subject(decided=Origin("x.cfg", 7))) == expected


def test_the_first_that_decides_is_named() -> None:
    outcome = run(["reject if FALSE", "accept", "reject"], FakeSubject())
    assert outcome == Outcome(Verdict.ACCEPT, 1, Origin("f", 2))
    assert run([], FakeSubject()).origin is None


def test_waiting_goes_on_where_it_stopped() -> None:
    lines = ["sc-inc-gpc0(0)", "reject if { req.len gt 3 }", "accept"]
    one = FakeSubject(tracks={0: ("t", 1)})
    outcome = run(lines, one)
    assert (outcome.verdict, outcome.next) == (Verdict.WAIT, 1)
    one.request = b"hello"
    assert run(lines, one, start=outcome.next).verdict is Verdict.REJECT
    assert one.tables.values == {("t", 1, "gpc0", 0): 1}


def test_the_end_of_waiting() -> None:
    lines = ["reject if { req.len gt 3 }", "silent-drop if !{ req.ssl_sni -m found }"]
    assert run(lines, FakeSubject(final=True)).verdict is Verdict.DROP


def test_counters() -> None:
    source = IPv4Address("127.0.0.1")
    one = FakeSubject(tables=FakeTables({("l", source, "conn_rate", 0): 9}))
    lines = [
        "reject if { sc0_conn_rate gt 1 }",  # nothing is tracked yet
        "track-sc0 src",
        "track-sc0 src_port table other",  # tracked already
        "reject if { sc0_conn_rate gt 9 }",
        "sc-inc-gpc(1,0)",
        "sc-set-gpt0(0) 7",
        "silent-drop if { sc_conn_rate(0) 9 } { src_get_gpt0 7 } { sc0_inc_gpc0 1 }",
    ]
    assert run(lines, one).verdict is Verdict.DROP
    assert one.acts == [Track(0, "l", source)]
    assert one.tables.changes == [
        ("l", source, "gpc", Change.ADD, 1, 1),
        ("l", source, "gpt0", Change.SET, 7, 0),
        ("l", source, "gpc0", Change.ADD, 1, 0),
    ]


def test_a_key_that_has_not_come_yet_is_waited_for() -> None:
    one = FakeSubject()
    assert run(["track-sc1 req.payload(0,2)"], one).verdict is Verdict.WAIT
    one.request = b"ab"
    assert run(["track-sc1 req.payload(0,2)"], one).verdict is Verdict.ACCEPT
    assert one.acts == [Track(1, "l", b"ab")]


def test_what_is_done_to_the_connection() -> None:
    one = FakeSubject()
    lines = [
        "set-src str(10.9.8.7)",
        "set-dst-port int(80)",
        "set-mark 0x10",
        "set-tos 8",
        "set-var(txn.who) src",
        "set-var-fmt(sess.text) %[src]:%[src_port]/%ci%%",
        "capture src len 4",
        "unset-var(txn.nothing)",
        "set-nice 5",
    ]
    assert run(lines, one).verdict is Verdict.ACCEPT
    assert one.acts == [
        SetEnd(source=True, address=IPv4Address("10.9.8.7")),
        SetEnd(source=False, port=80),
        Mark(16),
        Mark(8, tos=True),
        Capture("10.9", Origin("f", 7)),
    ]
    assert one.variables == {
        "txn.who": IPv4Address("10.9.8.7"),
        "sess.text": "10.9.8.7:40000/10.9.8.7%",
    }
    run(["expect-proxy layer4"], one, stage=Stage.CONNECTION)
    assert one.acts[-1] is Expect.PROXY


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        ({}, "set-var(txn.a,ifexists) int(1)", {}),
        ({"txn.a": 5}, "set-var(txn.a,ifexists) int(1)", {"txn.a": 1}),
        ({"txn.a": 5}, "set-var(txn.a,ifnotexists) int(1)", {"txn.a": 5}),
        ({}, "set-var(txn.a,ifnotset) int(1)", {"txn.a": 1}),
        ({}, "set-var(proc.a,ifnotexists) int(1)", {}),
        ({}, "set-var(proc.a,ifset) int(1)", {}),
        ({"txn.a": 5}, "set-var(txn.a,ifgt) int(6)", {"txn.a": 5}),
        ({"txn.a": 5}, "set-var(txn.a,iflt) int(6)", {"txn.a": 6}),
        ({"txn.a": "x"}, "set-var(txn.a,ifgt) int(6)", {"txn.a": 6}),
        ({}, "set-var(txn.a,ifnotempty) str()", {}),
        ({"txn.a": 5}, "set-var(txn.a,ifempty) str()", {"txn.a": ""}),
        ({"txn.a": 5}, "set-var(txn.a,ifempty) int(0)", {"txn.a": 5}),
        ({"txn.a": 5}, "set-var-fmt(txn.a,ifset,ifnotempty) x", {"txn.a": "x"}),
        ({"txn.a": 5}, "set-var(txn.b) int(6),set-var(txn.a,iflt)", {"txn.a": 6, "txn.b": 6}),
    ],
)
def test_variables_under_conditions(
    before: dict[str, Sample], action: str, after: dict[str, Sample]
) -> None:
    one = FakeSubject(variables=dict(before))
    run([action], one)
    assert one.variables == after


def test_responses() -> None:
    one = FakeSubject(response=b"\x01\x02", request=b"zz")
    lines = ["set-var(res.start) payload(0,2)", "close if { res.payload(0,2) -m bin 0102 }"]
    assert run(lines, one, stage=Stage.RESPONSE).verdict is Verdict.CLOSE
    assert one.variables == {"res.start": b"\x01\x02"}


def test_routes_and_servers() -> None:
    one = cast(
        "Subject",
        FakeSubject(variables={"txn.p": "x"}, traffic=FakeTraffic({("usable_servers", "b"): 2})),
    )
    routes = (
        Route("a", condition("{ nbsrv(b) lt 2 }")),
        Route("…", condition("{ nbsrv(b) 2 }"), read_format("%[var(txn.p)]-pool", Sources())),
        Route("c"),
    )
    assert compile_routes(routes)(one) == "x-pool"
    assert compile_routes(routes[:1])(one) is None
    assert compile_routes((Route("a", condition("{ req.len gt 0 }")),))(one) is None
    servers = (ServerRule("s1", condition("TRUE")), ServerRule("s2", condition("FALSE")))
    assert list(compile_server_rules(servers)(one)) == ["s1"]
    persist = (PersistRule(True, condition("FALSE")), PersistRule(False, condition("TRUE")))
    assert compile_persist_rules(persist)(one) == (False, True)


def test_formats() -> None:
    one = cast("Subject", FakeSubject())
    parts = read_format("%f:%[src,ipmask(8)]/%[var(txn.none)]%%", Sources())
    assert compile_format(parts)(one) == "fe:127.0.0.0/%"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tcp-request content track-sc0", "'tcp-request content track-sc0' : missing fetch method"),
        (
            "tcp-request connection track-sc3 src",
            "'tcp-request connection track-sc3' : 3 track-sc number exceeding 2"
            " (MAX_SESS_STKCTR-1) value",
        ),
        (
            "tcp-request connection set-mark 12x",
            "invalid character starting at 'x' (integer/hex value expected)",
        ),
        (
            "tcp-request connection reject now",
            "'tcp-request connection reject' only accepts 'if' or 'unless', in listen 'l'"
            " (got 'now')",
        ),
        (
            "tcp-request connection track-sc0 req.len",
            "'tcp-request connection track-sc0' : fetch method 'req.len' extracts information from"
            " 'request buffer', none of which is available here",
        ),
        (
            "tcp-request connection sc-inc-gpc0(9)",
            "invalid stick table track ID. The max allowed ID is 2",
        ),
        ("tcp-request connection set-var(sess.a-b) src", "invalid syntax at char '-b)'"),
        (
            "tcp-request connection set-var(sess.a-b,ifset) src",
            "invalid syntax at char '-b,ifset)'",
        ),
        ("tcp-request connection set-var(sess.a,when) src", 'unknown condition "when"'),
        (
            "tcp-request connection unset-var(sess.a,ifset)",
            'unset-var does not expect parameters after the variable name. Only "set-var" and'
            ' "set-var-fmt" manage conditions',
        ),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(RuleError) as raised:
        rule(text)
    assert raised.value.message == message


def test_what_cannot_be_carried_out() -> None:
    said = [
        rule("tcp-request content reject if { http_auth(users) }", 3),
        rule("tcp-request content reject if { hdr(host) x }", 3),
        rule("tcp-request content switch-mode http", 4),
        rule("tcp-request content accept if { src 1.2.3.4 }", 5),
    ]
    assert list(refusals(said)) == [
        Refusal("it uses `http_auth`, which is not carried out", Origin("f", 3)),
        Refusal("it uses `switch-mode`, which is not carried out", Origin("f", 4)),
    ]


def test_what_tables_do_not_hold() -> None:
    """Of a key that is not there 0; of one that is there, without that value, nothing."""
    source = IPv4Address("127.0.0.1")
    one = FakeSubject(tables=FakeTables({("t", source, "gpc0", 0): 5}))

    def holds(text: str) -> bool | None:
        return compile_condition(condition(text))(cast("Subject", one))

    assert holds("{ src_get_gpc0(t) 5 }")
    assert holds("{ src_conn_rate(u) 0 }")
    assert not holds("{ src_conn_rate(t) -m found }")
    assert holds("{ src,in_table(t) } !{ src,in_table(u) }")
    assert holds("{ ipv4(192.0.2.9),table_gpc0(t) 0 } { src,table_gpc0(t) 5 }")
    assert holds("{ table_cnt(t) 1 } { table_avl(t) 99 }")
    assert not holds("{ sc0_get_gpc0 0 }")
    one.tracks[0] = ("t", source)
    assert holds("{ sc0_get_gpc0 5 } { sc0_tracked } { sc0_get_gpc0(u) 0 }")
    assert holds("{ sc0_clr_gpc0 5 } { sc0_inc_gpc0 1 } { sc_inc_gpc(3,0) 1 }")


def test_traffic_and_surroundings() -> None:
    counts = {
        ("usable_servers", "b"): 2,
        ("pool_queue", "b"): 3,
        ("frontend_connections", "fe"): 7,
        ("server_is_up", "b", "s"): 1,
    }
    one = FakeSubject(traffic=FakeTraffic(counts), final=True, pool=(4, "b"), bits=0x80000000)
    for text in (
        "{ avg_queue(b) 2 } { queue(b) 3 } { fe_conn(fe) 7 } { srv_is_up(b/s) }",
        "{ srv_conn_free(b/s) lt 0 } { be_id 4 } { be_name b } !{ srv_id -m found }",
        "{ so_id 7 } { so_name front } { fe_id 2 } { fe_name fe } { fe_defbe be }",
        "{ fc_src 198.51.100.1 } { fc_dst_port 2 } { src_is_local } !{ dst_is_local }",
        "{ rand 2147483648 } { rand(10) 5 } { date 1700000000 } { date(5,ms) 1700000000128 }",
        "{ date_us 123456 } { hostname node } { fc_rtt 2 } { fc_rtt(us) 2500 } { proc 1 }",
        "{ uuid -m reg ^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$ }",
        "{ ssl_fc } { ssl_fc_sni www.example.org } { ssl_fc_sni_end .org }",
    ):
        assert compile_condition(condition(text))(cast("Subject", one)), text
