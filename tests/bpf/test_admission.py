# SPDX-License-Identifier: Apache-2.0
"""Rules on who may open a flow, packet by packet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network

import pytest
from bpf_admission import Rules, knock, only, serve
from bpf_cases import (
    ANSWERED,
    FAMILIES,
    FORWARDED,
    HOOKS,
    NEW,
    PORT,
    PROTOCOLS,
    assert_answered,
    assert_dropped,
    assert_passed,
    talk_to,
)
from bpf_lab import CLIENTS, VIP, Hook, Lab
from bpf_packets import tcp
from bpf_talk import Talk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.admission import (
    AddressTest,
    Admission,
    AdmissionRule,
    AdmissionTest,
    Counter,
    CountTest,
    End,
    Increment,
    NetworkSet,
    PortTest,
    SourceTable,
    Track,
    Verdict,
)
from penstock.engine.kernel.admission_steps import MAX_STEPS, steps_of
from penstock.kernel.programs import SkbContext

from unit_admission import Book, Packet, judge  # isort: skip  # found by bpf_admission

pytestmark = pytest.mark.root

TABLE = SourceTable("t", 1000, expire=60_000, period=10_000)
REJECT = AdmissionRule(Verdict.REJECT)
DROP = AdmissionRule(Verdict.DROP)
ACCEPT = AdmissionRule(Verdict.ACCEPT)
TRACK = AdmissionRule(Track(TABLE))
REJECTED = {"PASS_RULE_REJECT": 1}
CLOSED = "EVENT_FLOW_CLOSED"


@pytest.fixture
def rules(lab: Lab) -> Iterator[Rules]:
    found = Rules(lab)
    yield found
    found.close()
    assert list(lab.maps.network_labels.items()) == list(lab.maps.source_labels.items()) == []


def inside(*networks: str, end: End = End.SOURCE, negated: bool = False) -> AddressTest:
    return AddressTest(end, NetworkSet.of(map(ip_network, networks)), negated)


def above(counter: Counter, number: int, **more: bool) -> CountTest:
    return CountTest(TABLE, counter, ((number + 1, 0xFFFFFFFF),), **more)


def when(verdict: Verdict, *tests: AdmissionTest) -> AdmissionRule:
    return AdmissionRule(verdict, tests)


def opens(lab: Lab, family: int, port: int, client: int = 0) -> bool:
    got = knock(lab, family, port=port, client=client)
    assert NEW in got.reasons or got.reasons == REJECTED, got.reasons
    return NEW in got.reasons


# -- verdicts ------------------------------------------------------------------------------------


@FAMILIES
def test_a_rejected_syn_is_the_host_s_who_resets_it(lab: Lab, rules: Rules, family: int) -> None:
    rules.put(serve(lab, family), only(REJECT))
    frame = tcp((CLIENTS[family][0], 40000), (VIP[family], PORT), "S")
    assert_passed(lab.send(frame), frame, "PASS_RULE_REJECT")
    assert lab.live() == []


@FAMILIES
def test_a_rejected_datagram_is_answered(lab: Lab, rules: Rules, family: int) -> None:
    rules.put(serve(lab, family, "udp"), only(REJECT))
    got = knock(lab, family, "udp")
    assert_answered(got, "DROP_UDP_RULE_REJECT")
    assert lab.live() == []


@FAMILIES
@PROTOCOLS
def test_a_silent_drop_is_silent(lab: Lab, rules: Rules, family: int, proto: str) -> None:
    rules.put(serve(lab, family, proto), only(DROP))
    assert_dropped(knock(lab, family, proto), "DROP_RULE")


@FAMILIES
@PROTOCOLS
def test_whoever_passes_all_rules_is_served(
    lab: Lab, rules: Rules, family: int, proto: str
) -> None:
    nobody = when(Verdict.REJECT, inside("198.51.100.0/24"))
    rules.put(serve(lab, family, proto), only(nobody))
    assert knock(lab, family, proto).reasons.keys() >= {NEW, FORWARDED}


@FAMILIES
@HOOKS
def test_rules_are_for_new_flows_only(lab: Lab, rules: Rules, family: int, hook: Hook) -> None:
    talk = talk_to(lab, family).handshake()
    (service,) = {flow.common.integer("service") for flow in lab.live()}
    rules.put(service, only(REJECT))
    talk.to_real("PA", b"more", hook)
    talk.to_client("PA", b"more", hook)
    assert knock(lab, family, port=40001).reasons == REJECTED


@FAMILIES
def test_the_first_rule_that_fits_decides(lab: Lab, rules: Rules, family: int) -> None:
    first, second = (inside(CLIENTS[family][n]) for n in (0, 1))
    rules.put(
        serve(lab, family), only(when(Verdict.ACCEPT, first), when(Verdict.DROP, second), REJECT)
    )
    assert NEW in knock(lab, family, client=0).reasons
    assert knock(lab, family, client=1).reasons == {"DROP_RULE": 1}
    assert knock(lab, family, client=2).reasons == REJECTED


@FAMILIES
def test_accept_ends_its_own_stage(lab: Lab, rules: Rules, family: int) -> None:
    """HAProxy 2.6: a connection that is accepted by connection rules meets the session's."""
    everybody = inside("0.0.0.0/0", "::/0")
    rules.put(
        serve(lab, family), Admission(((ACCEPT, DROP), (when(Verdict.REJECT, everybody), DROP)))
    )
    assert knock(lab, family).reasons == REJECTED


@FAMILIES
def test_nobody_up_and_a_rule(lab: Lab, rules: Rules, family: int) -> None:
    """The rule comes first: who is dropped silently is not told that nobody is up."""
    service = lab.service(VIP[family], PORT, lab.pool([]))
    rules.put(service, only(when(Verdict.DROP, inside(CLIENTS[family][0])), TRACK))
    assert knock(lab, family).reasons == {"DROP_RULE": 1}
    assert knock(lab, family, client=1).reasons == {"PASS_REFUSED": 1}
    one = CLIENTS[family][1]
    assert [rules.count(TABLE, one, name) for name in ("conns", "total")] == [0, 1]


def test_an_icmp_answer_to_a_rejected_datagram(lab: Lab, rules: Rules) -> None:
    rules.put(serve(lab, 4, "udp"), only(REJECT))
    got = knock(lab, 4, "udp")
    assert got.reasons == {"DROP_UDP_RULE_REJECT": 1, ANSWERED: 1}


# -- tests ---------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("end", list(End))
def test_networks(lab: Lab, rules: Rules, family: int, end: End, negated: bool) -> None:
    where = (CLIENTS if end is End.SOURCE else {4: [VIP[4]], 6: [VIP[6]]})[family][0]
    other = {4: "203.0.113.0/24", 6: "2001:db8:ffff::/48"}[family]
    service = serve(lab, family)
    for networks, held in (([where], True), ([other], False), ([other, where], True), ([], False)):
        rules.put(service, only(when(Verdict.REJECT, inside(*networks, end=end, negated=negated))))
        expected = REJECTED if held != negated else None
        got = knock(lab, family, port=lab.next_id() + 20000)
        assert (got.reasons == REJECTED) == (expected is not None), networks


@FAMILIES
@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("end", list(End))
def test_ports(lab: Lab, rules: Rules, family: int, end: End, negated: bool) -> None:
    service = serve(lab, family)
    for ranges, held in (
        (((80, 80), (30000, 30001)), True),
        (((81, 29999),), False),
        (((1, 79), (81, 29999), (30001, 65535)), False),
        ((), False),
    ):
        test = PortTest(end, ranges, negated)
        rules.put(service, only(when(Verdict.REJECT, test)))
        assert opens(lab, family, 30000) == (held == negated)
        rules.put(service, None)
        lab.send(tcp((CLIENTS[family][0], 30000), (VIP[family], PORT), "R"))


@pytest.mark.parametrize(
    ("family", "client", "network"),
    [
        (4, "10.1.0.2", "::ffff:a01:0/112"),
        (4, "10.1.0.2", "::/0"),
        (6, "2002:a01:2::1", "10.1.0.2/32"),
        (6, "::10.1.0.2", "10.1.0.0/24"),
    ],
)
def test_patterns_of_the_other_family(
    lab: Lab, rules: Rules, family: int, client: str, network: str
) -> None:
    """HAProxy manual 7.1.6; measured with 2.6: an IPv4 client matches ::/0."""
    rules.put(serve(lab, family), only(when(Verdict.REJECT, inside(network))))
    assert knock(lab, family, client=client).reasons == REJECTED


@FAMILIES
def test_all_tests_of_a_rule_must_hold(lab: Lab, rules: Rules, family: int) -> None:
    me, port = inside(CLIENTS[family][0]), PortTest(End.SOURCE, ((1, 30000),))
    rules.put(serve(lab, family), only(when(Verdict.REJECT, me, port)))
    assert [opens(lab, family, 30000), opens(lab, family, 30001)] == [False, True]
    assert opens(lab, family, 30000, client=1)


@FAMILIES
def test_as_many_steps_as_there_may_be(lab: Lab, rules: Rules, family: int) -> None:
    """All of them are asked, down to the last one."""
    ranges = tuple((port, port) for port in range(1, MAX_STEPS - 2))
    admission = only(when(Verdict.DROP, PortTest(End.SOURCE, ranges)), REJECT)
    assert len(steps_of(admission)) == MAX_STEPS
    rules.put(serve(lab, family), admission)
    assert knock(lab, family, port=MAX_STEPS - 3).reasons == {"DROP_RULE": 1}
    assert knock(lab, family, port=MAX_STEPS - 2).reasons == REJECTED


# -- counters ------------------------------------------------------------------------------------


@FAMILIES
def test_connections_of_a_period(lab: Lab, rules: Rules, family: int) -> None:
    """HAProxy: of the period before, what the last ten seconds still cover."""
    rules.put(serve(lab, family), only(TRACK, when(Verdict.REJECT, above(Counter.RATE, 3))))
    assert [opens(lab, family, 20000 + n) for n in range(5)] == [True] * 3 + [False] * 2
    assert opens(lab, family, 20000, client=1)
    rules.pass_time(TABLE, 12_000)  # 5 of the period before, 8 of its 10 seconds: 4, and this one
    assert not opens(lab, family, 21000)
    rules.pass_time(TABLE, 5_000)  # 5 x 3 / 10 + 2
    assert opens(lab, family, 22000)
    rules.pass_time(TABLE, 30_000)
    assert [opens(lab, family, 23000 + n) for n in range(4)] == [True] * 3 + [False]


@FAMILIES
def test_clocks_that_are_apart(lab: Lab, rules: Rules, family: int) -> None:
    """Another processor's may be a little ahead; and a month is more than half of 32 bits."""
    rules.put(serve(lab, family), only(TRACK, when(Verdict.REJECT, above(Counter.RATE, 3))))
    assert [opens(lab, family, 20000 + n) for n in range(3)] == [True] * 3
    rules.pass_time(TABLE, -200)
    assert not opens(lab, family, 21000)
    rules.pass_time(TABLE, 30 * 24 * 3600 * 1000)
    assert opens(lab, family, 21000)


def test_two_processors_count_the_same_source(lab: Lab, rules: Rules) -> None:
    """Every connection once, and every one that was rejected is gone."""
    runs = 50_000
    rules.put(serve(lab, 4), only(TRACK, REJECT))
    frame = tcp((CLIENTS[4][0], 40000), (VIP[4], PORT), "S")
    context = [
        SkbContext(ifindex=lab.ifindex["front"], ingress_ifindex=lab.ifindex["front"])
        for _ in range(2)
    ]
    both = [
        threading.Thread(
            target=lab.datapath.tc.test_run, args=(frame, one), kwargs={"repeat": runs}
        )
        for one in context
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    names = ("total", "rate", "conns")
    assert [rules.count(TABLE, CLIENTS[4][0], name) for name in names] == [2 * runs, 2 * runs, 0]


@FAMILIES
def test_a_rate_that_nobody_counts_is_none(lab: Lab, rules: Rules, family: int) -> None:
    below = CountTest(TABLE, Counter.RATE, ((0, 4),), negated=True)
    rules.put(
        serve(lab, family),
        only(when(Verdict.REJECT, above(Counter.RATE, 0)), when(Verdict.REJECT, below)),
    )
    assert all(opens(lab, family, 20000 + n) for n in range(5))


@FAMILIES
def test_a_counter_that_does_not_count_the_connection(lab: Lab, rules: Rules, family: int) -> None:
    """HAProxy 2.6: without its track-sc0, sc0_conn_rate fails, and so its negation holds."""
    below = CountTest(TABLE, Counter.RATE, ((0, 4),), tracked=True, negated=True)
    service = serve(lab, family)
    rules.put(service, only(when(Verdict.REJECT, below)))
    assert not opens(lab, family, 20000)
    rules.put(service, only(TRACK, when(Verdict.REJECT, below)))
    assert opens(lab, family, 20000)


@FAMILIES
def test_what_is_rejected_before_it_is_counted_is_not_counted(
    lab: Lab, rules: Rules, family: int
) -> None:
    two = CountTest(TABLE, Counter.TOTAL, ((2, 2),))
    rules.put(serve(lab, family), only(when(Verdict.REJECT, two), TRACK))
    assert [opens(lab, family, 20000 + n) for n in range(4)] == [True, True, False, False]
    assert rules.count(TABLE, CLIENTS[family][0], "total") == 2


@FAMILIES
def test_a_connection_is_counted_once(lab: Lab, rules: Rules, family: int) -> None:
    rules.put(serve(lab, family), only(TRACK, TRACK))
    assert opens(lab, family, 20000)
    names = ("rate", "conns", "total")
    assert [rules.count(TABLE, CLIENTS[family][0], name) for name in names] == [1, 1, 1]


def test_a_table_of_ipv4_has_no_place_for_ipv6(lab: Lab, rules: Rules) -> None:
    """HAProxy 2.6: track fails, and so does every look at what is counted."""
    table = SourceTable("four", 1000, period=1000, ipv4_only=True)
    any_number = CountTest(table, Counter.TOTAL, ((0, 0xFFFFFFFF),))
    found = only(AdmissionRule(Track(table)), when(Verdict.REJECT, any_number))
    rules.put(serve(lab, 6), found)
    rules.put(serve(lab, 4), found)
    assert opens(lab, 6, 20000)
    assert not opens(lab, 4, 20000)
    assert list(rules.sources(table)) == [CLIENTS[4][0]]


@FAMILIES
def test_gpc0_flags_a_source(lab: Lab, rules: Rules, family: int) -> None:
    """``reject if abuse flag`` with src_inc_gpc0, then src_get_gpc0 for as long as it is known."""
    abuse = above(Counter.TOTAL, 2)
    flag = above(Counter.GPC0_INCREMENTED, 0)
    known = when(Verdict.DROP, above(Counter.GPC0, 0))
    rules.put(serve(lab, family), only(known, TRACK, when(Verdict.REJECT, abuse, flag)))
    assert [opens(lab, family, 20000 + n) for n in range(3)] == [True, True, False]
    assert knock(lab, family).reasons == {"DROP_RULE": 1}
    assert opens(lab, family, 20000, client=1)


@FAMILIES
def test_sc_inc_gpc0(lab: Lab, rules: Rules, family: int) -> None:
    more = AdmissionRule(Increment(TABLE), (above(Counter.TOTAL, 1, tracked=True),))
    stop = when(Verdict.REJECT, above(Counter.GPC0, 1, tracked=True))
    rules.put(serve(lab, family), only(more, TRACK, more, stop))
    assert [opens(lab, family, 20000 + n) for n in range(4)] == [True, True, False, False]
    assert rules.count(TABLE, CLIENTS[family][0], "gpc0") == 3


@FAMILIES
def test_a_source_is_forgotten_when_its_connections_are_over(
    lab: Lab, rules: Rules, family: int
) -> None:
    rules.put(serve(lab, family), only(TRACK, when(Verdict.REJECT, above(Counter.TOTAL, 2))))
    assert [opens(lab, family, 20000 + n) for n in range(3)] == [True, True, False]
    rules.pass_time(TABLE, 61_000)
    assert not opens(lab, family, 21000)  # two connections hold it
    for port in (20000, 20001):
        lab.send(tcp((CLIENTS[family][0], port), (VIP[family], PORT), "R"))
    rules.pass_time(TABLE, 59_000)
    assert rules.count(TABLE, CLIENTS[family][0]) == 0
    assert not opens(lab, family, 21000)
    rules.pass_time(TABLE, 61_000)
    assert opens(lab, family, 21000)
    assert rules.count(TABLE, CLIENTS[family][0], "total") == 1


@FAMILIES
@pytest.mark.parametrize("limit", ["service", "real", "global"])
def test_for_want_of_room_nothing_is_counted(
    lab: Lab, rules: Rules, family: int, limit: str
) -> None:
    """The client's SYN comes again, and is the same connection."""
    service = serve(lab, family, maxconn=1 if limit == "service" else 0)
    rules.put(service, only(TRACK))
    if limit == "global":
        lab.set_control("maxconn", 1)
    if limit == "real":
        lab.set_real(1, "maxconn", 1)
    assert opens(lab, family, 20000)
    for _ in range(3):
        assert knock(lab, family).reasons == {f"DROP_{limit.upper()}_MAXCONN": 1}
    names = ("rate", "conns", "total")
    assert [rules.count(TABLE, CLIENTS[family][0], name) for name in names] == [1, 1, 1]
    rules.check_live(TABLE)


# -- live connections ------------------------------------------------------------------------------


def _fins(talk: Talk, hook: Hook) -> None:
    talk.to_real("FA", hook=hook)
    talk.to_client("FA", hook=hook, also=CLOSED)


def _reset_by_client(talk: Talk, hook: Hook) -> None:
    talk.to_real("R", hook=hook, also=CLOSED)


def _reset_by_real(talk: Talk, hook: Hook) -> None:
    talk.to_client("R", hook=hook, also=CLOSED)


def _expire(talk: Talk, hook: Hook) -> None:
    talk.lab.age(5000)
    assert talk.lab.sweep() == 1


@FAMILIES
@HOOKS
@pytest.mark.parametrize("real_family", ["same", "other"])
@pytest.mark.parametrize("end", [_fins, _reset_by_client, _reset_by_real, _expire])
def test_a_connection_counts_until_it_ends(
    lab: Lab,
    rules: Rules,
    family: int,
    hook: Hook,
    real_family: str,
    end: Callable[[Talk, Hook], None],
) -> None:
    if real_family == "other" and hook == "xdp":
        pytest.skip("XDP does not cross families")
    crossed = 10 - family if real_family == "other" else None
    talk = talk_to(lab, family, real_family=crossed)
    service = lab.next_id() - 1
    rules.put(service, only(TRACK, when(Verdict.REJECT, above(Counter.LIVE, 1))))
    talk.handshake()
    me = CLIENTS[family][0]
    assert rules.count(TABLE, me) == 1
    assert not opens(lab, family, 41000)
    rules.check_live(TABLE)
    end(talk, hook)
    assert rules.count(TABLE, me) == 0
    rules.check_live(TABLE)
    assert opens(lab, family, 41000)
    rules.check_live(TABLE)


@FAMILIES
def test_datagrams_count_until_they_expire(lab: Lab, rules: Rules, family: int) -> None:
    rules.put(serve(lab, family, "udp"), only(TRACK, when(Verdict.REJECT, above(Counter.LIVE, 1))))
    assert NEW in knock(lab, family, "udp").reasons
    assert FORWARDED in knock(lab, family, "udp").reasons
    assert knock(lab, family, "udp", port=40001).reasons == {"DROP_UDP_RULE_REJECT": 1, ANSWERED: 1}
    lab.age(5000)
    assert lab.sweep() == 1
    assert NEW in knock(lab, family, "udp", port=40001).reasons
    rules.check_live(TABLE)


@FAMILIES
def test_an_evicted_flow_is_no_longer_counted(lab: Lab, rules: Rules, family: int) -> None:
    """Unanswered SYNs make room; then and before, every counted one is in the table."""
    service = serve(lab, family)
    rules.put(service, only(TRACK))
    evicted = 0
    for number in range(4000):
        if number % 500 == 499:
            lab.age(100)
        reasons = knock(lab, family, port=20000 + number).reasons
        evicted += reasons.get("EVENT_FLOW_EVICTED", 0)
    assert evicted
    rules.check_live(TABLE)
    assert rules.count(TABLE, CLIENTS[family][0]) == lab.service_conns(service)


@FAMILIES
def test_the_next_connection_from_the_same_port(lab: Lab, rules: Rules, family: int) -> None:
    talk = talk_to(lab, family)
    rules.put(lab.next_id() - 1, only(TRACK))
    for _ in range(3):
        talk.real = ("", 0)
        talk.handshake()
        talk.to_real("R", also=CLOSED)
        lab.age(100)
    me = CLIENTS[family][0]
    assert [rules.count(TABLE, me, name) for name in ("conns", "total")] == [0, 3]


@FAMILIES
def test_connections_of_a_table_that_went_away(lab: Lab, rules: Rules, family: int) -> None:
    """A reload with another table begins to count anew; what ends was never counted there."""
    service = serve(lab, family)
    rules.put(service, only(TRACK))
    assert opens(lab, family, 20000)
    other = SourceTable("t", 2000, expire=60_000, period=10_000)
    rules.put(service, only(AdmissionRule(Track(other))))
    rules.kernel.settle()
    assert opens(lab, family, 20001)
    lab.send(tcp((CLIENTS[family][0], 20000), (VIP[family], PORT), "R"))
    assert rules.count(other, CLIENTS[family][0]) == 1
    rules.check_live(other)


@FAMILIES
def test_a_table_outlives_a_change_of_rules(lab: Lab, rules: Rules, family: int) -> None:
    service = serve(lab, family)
    rules.put(service, only(TRACK))
    assert opens(lab, family, 20000)
    rules.put(service, only(TRACK, when(Verdict.REJECT, above(Counter.LIVE, 1))))
    rules.kernel.settle()
    assert not opens(lab, family, 20001)


@FAMILIES
def test_two_services_share_a_table(lab: Lab, rules: Rules, family: int) -> None:
    """One counts, the other only looks."""
    counting = serve(lab, family)
    real = lab.real("10.2.0.9" if family == 4 else "fd02::9")
    looking = lab.service(VIP[family], 81, lab.pool([real]))
    rules.put(counting, only(TRACK))
    rules.put(looking, only(when(Verdict.REJECT, above(Counter.TOTAL, 1))))
    second = tcp((CLIENTS[family][0], 50000), (VIP[family], 81), "S")
    assert opens(lab, family, 20000)
    assert NEW in lab.send(second).reasons
    lab.send(tcp((CLIENTS[family][0], 50000), (VIP[family], 81), "R"))
    assert opens(lab, family, 20001)
    third = tcp((CLIENTS[family][0], 50001), (VIP[family], 81), "S")
    assert lab.send(third).reasons == REJECTED


# -- anything ------------------------------------------------------------------------------------

_networks = st.lists(
    st.sampled_from(["10.1.0.2/32", "10.1.0.0/24", "::/0", "fd01::/64", "fd01::3/128"]), max_size=2
)
_ranges = st.lists(st.sampled_from([(0, 0), (1, 1), (2, 0xFFFFFFFF), (0, 1)]), max_size=2).map(
    tuple
)
_tests = st.one_of(
    st.builds(
        lambda n, e, g: inside(*n, end=e, negated=g), _networks, st.sampled_from(End), st.booleans()
    ),
    st.builds(
        PortTest,
        st.sampled_from(End),
        st.lists(st.sampled_from([(80, 80), (1, 20001), (20002, 65535)]), max_size=2).map(tuple),
        st.booleans(),
    ),
    st.builds(
        CountTest,
        st.just(TABLE),
        st.sampled_from([Counter.RATE, Counter.LIVE, Counter.TOTAL, Counter.GPC0]),
        _ranges,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        CountTest,
        st.just(TABLE),
        st.just(Counter.GPC0_INCREMENTED),
        st.just(((2, 0xFFFFFFFF),)),
    ),
)
_rules = st.builds(
    AdmissionRule,
    st.sampled_from([*Verdict, Track(TABLE), Increment(TABLE)]),
    st.lists(_tests, max_size=3).map(tuple),
)
# Milliseconds that leave a share of the period just below a round one: the test itself takes time.
LEAPS = (0, 4_003, 13_007, 25_013, 70_003)
_stages = st.lists(st.lists(_rules, min_size=1, max_size=4).map(tuple), max_size=2).map(tuple)
_OUTCOMES = {
    Verdict.ACCEPT: NEW,
    Verdict.REJECT: "PASS_RULE_REJECT",
    Verdict.DROP: "DROP_RULE",
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@FAMILIES
@given(
    stages=_stages,
    coming=st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(LEAPS)),
        min_size=1,
        max_size=8,
    ),
)
def test_the_datapath_decides_as_the_model_does(
    loaded: Lab, family: int, stages: tuple, coming: list[tuple[int, int]]
) -> None:
    """Every verdict, and everything that is counted."""
    lab = loaded
    lab.reset()
    rules = Rules(lab)
    with lab.namespace.inside():
        try:
            service = serve(lab, family)
            rules.put(service, Admission(stages))
            book = Book()
            for number, (client, passed) in enumerate(coming):
                book.now += passed
                if TABLE in Admission(stages).tables:
                    rules.pass_time(TABLE, passed)
                port = 20000 + number
                who = Packet(*map(ip_address, (CLIENTS[family][client], VIP[family])), port, PORT)
                verdict, tracked = judge(Admission(stages), who, book)
                got = knock(lab, family, client=client, port=port)
                assert _OUTCOMES[verdict] in got.reasons, (number, verdict, got.reasons)
                if tracked and verdict is not Verdict.ACCEPT:
                    book.leave(tracked, who.src)
            for (table, address), expected in book.sources.items():
                for name in ("conns", "total", "gpc0"):
                    found = rules.count(table, str(address), name)
                    assert found == getattr(expected, name), name
        finally:
            rules.close()
