# SPDX-License-Identifier: Apache-2.0
"""Which address each server of a name gets as answers come and fail to come."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from penstock.names import Failed, Found, Group, Member, Place, Section

SECTION = Section("dns", retry_after=1000, hold_valid=10_000, hold={"nx": 30_000, "timeout": 5000})
A, B, C = (Place(ip_address(f"10.0.0.{n}")) for n in (1, 2, 3))


def group(servers: str, current: dict[str, Place | None] | None = None, **more: object) -> Group:
    members = [Member(name, **more) for name in servers.split()]  # type: ignore[arg-type]
    return Group(SECTION, members, current or {}, now=0)


def test_servers_of_one_name_get_an_address_each() -> None:
    one = group("s1 s2 s3")
    assert one.take(Found((A, B)), 0) == {"s1": A, "s2": B}
    assert one.current == {"s1": A, "s2": B, "s3": None}


def test_a_server_keeps_its_address_wherever_it_stands_in_the_answer() -> None:
    one = group("s1 s2", {"s1": A, "s2": B})
    assert one.take(Found((C, B, A)), 1) == {}


def test_a_new_address_goes_to_the_server_that_lost_its_own() -> None:
    one = group("s1 s2", {"s1": A, "s2": B})
    assert one.take(Found((B, C)), 1) == {"s1": C}
    assert one.take(Found((C,)), 2) == {"s2": None}


def test_servers_may_share_when_they_are_told_so() -> None:
    one = group("s1 s2", may_share=True)
    assert one.take(Found((A,)), 0) == {"s1": A, "s2": A}
    assert one.take(Found((A, B)), 1) == {}


def test_an_address_from_the_start_that_two_had_is_kept_by_the_first() -> None:
    one = group("s1 s2", {"s1": A, "s2": A})
    assert one.take(Found((A, B)), 1) == {"s2": B}


def test_networks_come_first() -> None:
    one = group("s1 s2", networks=(ip_network("10.0.0.2/31"),))
    assert one.take(Found((A, B, C)), 0) == {"s1": B, "s2": C}


def test_srv_records_tell_ports_and_weights_too() -> None:
    one = group("s1 s2 s3")
    first, second = Place(A.address, 81, 10), Place(A.address, 82, 20)
    assert one.take(Found((first, second)), 0) == {"s1": first, "s2": second}
    heavier = Place(A.address, 81, 30)
    assert one.take(Found((second, heavier)), 1) == {"s1": heavier}
    ignoring = group("s1", ignore_weight=True)
    assert ignoring.take(Found((first,)), 0) == {"s1": Place(A.address, 81)}
    assert ignoring.take(Found((heavier,)), 1) == {}


def test_a_failure_is_outlived_for_its_hold_time() -> None:
    one = group("s1", {"s1": A})
    one.take(Found((A,)), 100)
    assert one.take(Failed("nx"), 130) == {}
    assert one.take(Failed("nx"), 130.5) == {"s1": None}
    assert one.take(Failed("nx"), 200) == {}
    assert one.take(Found((A,)), 201) == {"s1": A}


def test_each_failure_has_its_own_hold_time() -> None:
    one = group("s1", {"s1": A})
    assert one.take(Failed("timeout"), 4.9) == {}
    assert one.take(Failed("timeout"), 5.1) == {"s1": None}
    assert group("s1", {"s1": A}).take(Failed("refused"), 0.1) == {"s1": None}


def test_an_address_that_is_gone_from_answers_is_kept_while_obsolete_says() -> None:
    section = Section("dns", 1000, 10_000, {"obsolete": 20_000})
    one = Group(section, [Member("s1")], {"s1": A}, now=0)
    assert one.take(Found((B,)), 19) == {}
    assert one.take(Found((B,)), 21) == {"s1": B}


def test_when_it_is_asked_next() -> None:
    one = group("s1")
    assert one.due == 0
    one.take(Found((A,)), 50)
    assert one.due == 60
    one.take(Failed("timeout"), 61)
    assert one.due == 62


PLACES = st.integers(1, 6).map(lambda n: Place(IPv4Address(f"10.0.0.{n}")))
ANSWERS = st.one_of(
    st.lists(PLACES, unique=True).map(lambda found: Found(tuple(found))),
    st.sampled_from(("nx", "timeout", "other")).map(Failed),
)


@given(st.integers(1, 5), st.lists(st.tuples(ANSWERS, st.floats(0.1, 40)), max_size=20))
def test_no_address_twice_and_none_without_need(servers: int, story: list) -> None:  # type: ignore[type-arg]
    names = [f"s{n}" for n in range(servers)]
    one = group(" ".join(names))
    now = 0.0
    for outcome, pause in story:
        now += pause
        before = one.current
        changes = one.take(outcome, now)
        after = one.current
        assert {**before, **changes} == after
        given_out = [place for place in after.values() if place is not None]
        assert len(given_out) == len(set(given_out))
        if isinstance(outcome, Found):
            assert len(given_out) == min(servers, len(outcome.places))
            for name in names:
                if before[name] in outcome.places:
                    assert after[name] == before[name], "an address was taken without need"
