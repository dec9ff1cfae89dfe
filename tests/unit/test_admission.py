# SPDX-License-Identifier: Apache-2.0
"""Rules to an Admission and to steps: whatever they say, all three say the same of a packet."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_admission import (
    TABLE,
    Book,
    Packet,
    Reader,
    above,
    criterion,
    judge,
    networks_of,
    rule,
    walk,
    when,
)

from penstock.admission import (
    AddressTest,
    Admission,
    AdmissionRule,
    CountTest,
    End,
    NetworkSet,
    PortTest,
    SourceTable,
    Track,
    Verdict,
)
from penstock.admission_rules import MAX_EXPANSION, NotExpressible, compile_admission
from penstock.engine.kernel.admission_steps import MAX_STEPS, steps_of
from penstock.errors import DatapathError
from penstock.proxied import Back, Front
from penstock.rules.model import (
    Call,
    Condition,
    Expression,
    IntRange,
    Matching,
    Stage,
    TcpRule,
    Term,
)
from penstock.stick.model import KeyType, Stored, TableSpec
from penstock.terms import Origin

ADDRESSES = [
    ip_address(one)
    for one in ("10.0.0.1", "10.0.1.1", "192.0.2.7", "fd00::1", "::ffff:10.0.0.1", "2002:a00:1::5")
]
NETWORKS = [
    ip_network(one)
    for one in ("10.0.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "fd00::/16", "::/0", "::ffff:a00:0/112")
]
PORTS = (79, 80, 443, 40000)


def admission(*rules: TcpRule, table: TableSpec | None = TABLE) -> Admission:
    made = compile_admission(Front(tcp_rules=rules, table=table), {"t": TABLE})
    assert isinstance(made, Admission), made
    return made


def refused(*rules: TcpRule, **front: object) -> NotExpressible:
    made = compile_admission(Front(tcp_rules=rules, **{"table": TABLE, **front}), {"t": TABLE})
    assert isinstance(made, NotExpressible)
    return made


# -- properties ----------------------------------------------------------------------------------

networks = st.lists(st.sampled_from(NETWORKS), max_size=3)
bounds = st.one_of(st.none(), st.integers(-1, 4))
numbers = st.lists(st.builds(IntRange, bounds, bounds), max_size=2)
port_ranges = st.lists(
    st.builds(IntRange, st.sampled_from(PORTS), st.sampled_from((*PORTS, None))), max_size=2
)
counts = st.sampled_from(
    [f"{who}_{what}" for who in ("src", "sc0", "sc1") for what in ("conn_rate", "conn_cur")]
    + ["src_conn_cnt", "src_conn_cnt(t)", "sc0_get_gpc0", "src_get_gpc0"]
)
criteria = st.one_of(
    st.builds(lambda f, p: criterion(f, *p), st.sampled_from(["src", "dst"]), networks),
    st.builds(
        lambda f, p: criterion(f, *p), st.sampled_from(["src_port", "dst_port"]), port_ranges
    ),
    st.builds(lambda f, p: criterion(f, *p), counts, numbers),
    st.builds(lambda f: criterion(f, matching=Matching.BOOL), counts),
    st.builds(
        lambda f: criterion(f, matching=Matching.FOUND), st.sampled_from(["src", "src_conn_cur"])
    ),
    st.sampled_from(["always_true", "always_false"]).map(
        lambda f: criterion(f, matching=Matching.BOOL)
    ),
    st.just(above("src_inc_gpc0", 1)),
)
terms = st.builds(Term, st.lists(criteria, min_size=1, max_size=3).map(tuple), st.booleans())
conditions = st.builds(
    Condition,
    st.lists(st.lists(terms, min_size=1, max_size=3).map(tuple), min_size=1, max_size=2).map(tuple),
    st.booleans(),
)
rules = st.builds(
    lambda action, condition, stage: rule(action, condition, stage=stage),
    st.sampled_from(
        ["accept", "reject", "silent-drop", "track-sc0", "track-sc0", "sc-inc-gpc0(0)", "reject"]
    ),
    st.one_of(st.none(), conditions, conditions),
    st.sampled_from([Stage.CONNECTION, Stage.SESSION, Stage.CONTENT]),
)
packets = st.builds(
    Packet,
    st.sampled_from(ADDRESSES),
    st.sampled_from(ADDRESSES[:3]),
    st.sampled_from(PORTS),
    st.sampled_from(PORTS),
)
# A packet, the milliseconds until it comes, and whether the oldest connection has ended meanwhile.
arrivals = st.lists(
    st.tuples(packets, st.sampled_from([0, 1, 400, 999, 1000, 1500, 61_000]), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=400)
@given(st.lists(rules, min_size=1, max_size=5), st.booleans(), arrivals)
def test_rules_admission_and_steps_agree(
    given_rules: list[TcpRule], any_family: bool, coming: list[tuple[Packet, int, bool]]
) -> None:
    spec = TableSpec(
        "t", KeyType.IPV6 if any_family else KeyType.IP, 1000, expire=60_000, stored=TABLE.stored
    )
    front = Front(tcp_rules=tuple(given_rules), table=spec)
    made = compile_admission(front, {"t": spec})
    if isinstance(made, NotExpressible):
        return
    steps = steps_of(made)
    judges = (
        Reader(front, {"t": spec}).judge,
        lambda packet, book: judge(made, packet, book),
        lambda packet, book: walk(steps, packet, book),
    )
    books = [Book() for _ in judges]
    live: list[tuple[SourceTable, Packet]] = []
    for packet, passed, one_ends in coming:
        ended = live.pop(0) if one_ends and live else None
        for book in books:
            book.now += passed
            if ended:
                book.leave(ended[0], ended[1].src)
        outcomes = [one(packet, book) for one, book in zip(judges, books, strict=True)]
        assert outcomes[1:] == outcomes[:-1]
        verdict, tracked = outcomes[0]
        if tracked and verdict is Verdict.ACCEPT:
            live.append((tracked, packet))
        elif tracked:
            for book in books:
                book.leave(tracked, packet.src)
        assert books[0].sources == books[1].sources == books[2].sources


@given(st.lists(st.sampled_from(NETWORKS)), st.randoms())
def test_sets_are_told_by_what_is_in_them(some: list, random: object) -> None:
    mixed = list(some)
    random.shuffle(mixed)
    one, other = NetworkSet.of(some), NetworkSet.of(mixed + some)
    assert one == other
    assert set(networks_of(one)) == set(some)
    assert len(one) == len(set(some))
    assert NetworkSet.of([*some, ip_network("198.51.100.0/24")]) != one


def test_a_million_networks_are_short_to_write_down() -> None:
    many = NetworkSet.of(ip_network((n << 12, 20)) for n in range(4096))
    assert len(repr(Admission(((AdmissionRule(Verdict.DROP, (_within(many),)),),)))) < 300


def _within(networks: NetworkSet) -> AddressTest:
    return AddressTest(End.SOURCE, networks)


# -- what is made of rules -----------------------------------------------------------------------


def test_no_rules_admit_everybody_in_no_steps() -> None:
    assert admission() == Admission()
    assert steps_of(Admission()) == ()
    assert steps_of(admission(rule("accept"), rule("reject"))) == ()


def test_lines_of_one_name_become_one_test() -> None:
    """``acl inside src 10.0.0.0/8``, once more with fd00::/16, and a port."""
    inside = Term((criterion("src", NETWORKS[1]), criterion("src", NETWORKS[3])), negated=True)
    ports = criterion("dst_port", IntRange(80, 80), IntRange(1000, None))
    made = admission(rule("reject", when(inside, ports)))
    expected = AdmissionRule(
        Verdict.REJECT,
        (
            AddressTest(End.SOURCE, NetworkSet.of([NETWORKS[1], NETWORKS[3]]), negated=True),
            PortTest(End.DESTINATION, ((80, 80), (1000, 0xFFFFFFFF))),
        ),
    )
    assert made.stages == ((expected,),)


def test_a_table_is_what_counts_of_its_specification() -> None:
    made = admission(rule("track-sc0"), rule("reject", when(above("sc0_conn_rate", 10))))
    table = SourceTable("t", 1000, 60_000, 1000, ipv4_only=True)
    assert made.tables == (table,)
    assert made.stages[0][0] == AdmissionRule(Track(table))
    (test,) = made.stages[0][1].tests
    assert isinstance(test, CountTest)
    assert (test.ranges, test.tracked) == (((11, 0xFFFFFFFF),), True)


def test_the_pool_s_rules_come_after_the_service_s() -> None:
    front = Front(tcp_rules=(rule("accept", stage=Stage.CONTENT),), table=TABLE)
    inside = when(criterion("src", NETWORKS[0]))
    back = Back(tcp_rules=(rule("reject", inside, stage=Stage.CONTENT),))
    made = compile_admission(front, {"t": TABLE}, back)
    assert isinstance(made, Admission)
    assert judge(made, Packet(ADDRESSES[0], ADDRESSES[2]), Book())[0] is Verdict.REJECT
    assert judge(made, Packet(ADDRESSES[1], ADDRESSES[2]), Book())[0] is Verdict.ACCEPT


def test_networks_used_twice_are_one_set() -> None:
    patterns = tuple(NETWORKS)
    made = admission(
        rule("accept", when(criterion("src", *patterns))),
        rule("reject", when(criterion("dst", *patterns))),
    )
    assert len(made.network_sets) == 1


def test_steps_jump_over_what_cannot_matter() -> None:
    made = admission(
        rule("accept", when(criterion("src", NETWORKS[0]))),
        rule("reject"),
        rule("silent-drop", when(criterion("dst_port", IntRange(1, 9))), stage=Stage.SESSION),
    )
    kinds = [(step.kind, step.then, step.otherwise) for step in steps_of(made)]
    assert kinds[0][0] == "source"
    assert [kinds[kinds[0][1]][0], kinds[kinds[0][2]][0]] == ["destination-port", "reject"]


def test_more_steps_than_the_datapath_takes_are_refused() -> None:
    ranges = tuple((n * 2, n * 2) for n in range(MAX_STEPS))
    rules = (AdmissionRule(Verdict.DROP, (PortTest(End.SOURCE, ranges),)),)
    with pytest.raises(DatapathError, match="steps"):
        steps_of(Admission((rules,)))


# -- what needs the proxy ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (rule("expect-proxy"), "`expect-proxy` acts on the connection itself"),
        (rule("set-src"), "`set-src` acts on the connection itself"),
        (
            rule("reject", when(criterion("req.len", IntRange(1, None))), stage=Stage.CONTENT),
            "`req.len` is not in a connection's first packet",
        ),
        (
            rule("reject", when(criterion("src", "name"))),
            "an address is compared with 'name'",
        ),
        (
            rule("reject", when(criterion("src", "10.", matching=Matching.BEG))),
            "an address is compared as beg",
        ),
        (
            rule("reject", when(criterion("src_port", "8", matching=Matching.STR))),
            "a number is compared as str",
        ),
        (rule("reject", when(above("src_conn_rate(u)", 1))), "there is no stick table u"),
        (rule("track-sc0", table="u"), "there is no stick table u"),
        (rule("reject", when(above("sc0_bytes_in_rate", 1))), "`sc0_bytes_in_rate` is not counted"),
        (rule("sc-inc-gpc0(1)"), "nothing is counted by sc1"),
        (
            TcpRule(Stage.CONNECTION, Call("track-sc0"), Expression(Call("dst"))),
            "it counts by something else than the source address",
        ),
        (
            TcpRule(
                Stage.CONNECTION,
                Call("track-sc0"),
                Expression(Call("src"), (Call("ipmask", ("24",)),)),
            ),
            "it counts by something else than the source address",
        ),
        (rule("reject", stage=Stage.RESPONSE), "it looks at what the server sends"),
    ],
)
def test_what_a_first_packet_does_not_say(one: TcpRule, reason: str) -> None:
    assert refused(one).reason.startswith(reason)


def test_the_line_is_told() -> None:
    made = refused(rule("accept", line=3), rule("expect-proxy", line=7))
    assert made.origin == Origin("h.cfg", 7)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (TableSpec("t", KeyType.STRING, 10), "table t is not one of addresses"),
        (TableSpec("t", KeyType.IP, 10, peers="p"), "table t is shared with peers"),
        (TableSpec("t", KeyType.IP, 10), "table t does not store conn_rate"),
        (
            TableSpec("t", KeyType.IP, 10, stored=(Stored("conn_cur"),)),
            "table t does not store conn_rate",
        ),
    ],
)
def test_tables_that_count_something_else(table: TableSpec, reason: str) -> None:
    front = Front(tcp_rules=(rule("reject", when(above("src_conn_rate", 1))),), table=table)
    assert compile_admission(front, {}) == NotExpressible(reason, Origin("h.cfg", 0))


def test_one_counter_a_connection() -> None:
    assert refused(rule("track-sc0"), rule("track-sc1")).reason == (
        "connections are counted in two ways"
    )


def test_increments_and_alternatives() -> None:
    """Rules made of alternatives ask more than once, and would count more than once."""
    term = Term((above("src_inc_gpc0", 1), criterion("src", NETWORKS[0])))
    assert "increments" in refused(rule("reject", when(term))).reason
    several = Condition(((Term((criterion("src", NETWORKS[0]),)),),) * 2)
    assert "increments" in refused(rule("track-sc0"), rule("sc-inc-gpc0(0)", several)).reason


def test_expansion_is_bounded() -> None:
    term = Term((above("src_conn_rate", 1), criterion("src", NETWORKS[0])))
    assert len(admission(rule("reject", when(*[term] * 6))).stages[0]) == MAX_EXPANSION
    assert "combinations" in refused(rule("reject", when(*[term] * 7))).reason
    many = Condition(tuple((Term((criterion("src", one),)),) for one in NETWORKS * 11))
    assert "combinations" in refused(rule("reject", many)).reason


def test_a_refusal_says_what_it_counts_as() -> None:
    """Of one kind there is one step, however many rules end there."""
    first = when(criterion("src", NETWORKS[1]))
    rules = [
        rule(action, condition, stage=stage)
        for stage in (Stage.CONNECTION, Stage.SESSION, Stage.CONTENT)
        for action in ("reject", "silent-drop")
        for condition in (first, None)
    ]
    ends = [one for one in steps_of(admission(*rules)) if one.kind in ("reject", "drop")]
    assert sorted((one.kind, one.turned) for one in ends) == [
        ("drop", "dropped"),
        ("drop", "request"),
        ("reject", "connection"),
        ("reject", "request"),
        ("reject", "session"),
    ]


def test_the_end_of_waiting() -> None:
    """Nothing is waited for, so it is over at once; with a delay, the proxy has to wait."""
    ends = rule("reject", when(criterion("wait_end", matching=Matching.BOOL)), stage=Stage.CONTENT)
    assert admission(ends).stages == ((AdmissionRule(Verdict.REJECT, stage=Stage.CONTENT),),)
    assert "wait_end" in refused(ends, inspect_delay=5000).reason
