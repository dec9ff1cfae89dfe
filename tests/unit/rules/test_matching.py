# SPDX-License-Identifier: Apache-2.0
"""Matching: what HAProxy 2.6.12 answered for each, and lists of networks beside ``ipaddress``."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_subject import condition, criterion, subject

from penstock.rules.evaluate import compile_condition, compile_criterion
from penstock.rules.matching import NetworkSet, RangeSet, compile_patterns
from penstock.rules.model import IntRange, Matching

# The client is 127.0.0.1.
MEASURED = [
    ("{ str(abc) abc }", True),
    ("{ str(abc) ABC }", False),
    ("{ str(abc) -i ABC }", True),
    ("{ str(abc) -m beg a }", True),
    ("{ str(abc) -m beg abcd }", False),
    ("{ str(abc) -m end bc }", True),
    ("{ str(abc) -m end -i BC }", True),
    ("{ str(abc) -m sub b }", True),
    ("{ str(abc) -m sub -i B }", True),
    ("{ str(a/b/c) -m dir b }", True),
    ("{ str(a/b/c) -m dir /b/ }", True),
    ("{ str(a/bc/c) -m dir b }", False),
    ("{ str(a/b?c) -m dir b }", True),
    ("{ str(a/b/c) -m dir a/b }", True),
    ("{ str(www.a.com) -m dom a.com }", True),
    ("{ str(www.a.com) -m dom w.a }", False),
    ("{ str(www.a.com) -m dom .a. }", True),
    ("{ str(www.a.com:80) -m dom com }", True),
    ("{ str(abc) -m len 3 }", True),
    ("{ str(abc) -m len lt 3 }", False),
    ("{ str(abc) -m reg ^a.c$ }", True),
    ("{ str(abc) -m reg -i B }", True),
    ("{ str(abc) -m reg B }", False),
    ("{ str(abc) -m found }", True),
    ("{ var(txn.no) -m found }", False),
    ("! { var(txn.no) -m found }", True),
    ("{ str(abc) -m bool }", False),
    ("{ str(1) -m bool }", True),
    ("{ str(0) -m bool }", False),
    ("{ int(5) 5 }", True),
    ("{ int(5) 3 4 }", False),
    ("{ int(5) 3:6 }", True),
    ("{ int(5) gt 5 }", False),
    ("{ int(5) ge 5 }", True),
    ("{ int(5) lt 5 gt 4 }", True),
    ("{ int(5) -m bool }", True),
    ("{ int(0) -m bool }", False),
    ("{ int(5) -m str 5 }", True),
    ("{ int(5) -m found }", True),
    ("{ bool(1) }", True),
    ("{ bool(0) }", False),
    ("{ bool(1) foo }", True),
    ("{ bool(1) -m int 1 }", True),
    ("{ bool(1) -m str 1 }", True),
    ("{ bool(1) -m str true }", False),
    ("{ src 127.0.0.1 }", True),
    ("{ src 127.0.0.0/8 }", True),
    ("{ src 128.0.0.0/8 }", False),
    ("{ src ::ffff:127.0.0.1 }", True),
    ("{ src ::ffff:0:0/96 }", True),
    ("{ src ::/0 }", True),
    ("{ ipv6(::ffff:127.0.0.1) 127.0.0.1 }", True),
    ("{ ipv6(2002:7f00:1::) 127.0.0.1 }", True),
    ("{ ipv6(::127.0.0.1) 127.0.0.1 }", True),
    ("{ ipv6(::1) ::1 }", True),
    ("{ ipv6(2001:db8::1) 2001:db8::/32 }", True),
    ("{ str(127.0.0.1) -m ip 127.0.0.0/8 }", True),
    ("{ int(2130706433) -m ip 127.0.0.1 }", True),
    ("{ src -m str 127.0.0.1 }", True),
    ("{ src -m beg 127. }", True),
    ("{ src -m reg ^127 }", True),
    ("{ src -m int 2130706433 }", True),
    ("{ src -m bool }", True),
    ("{ src -m len 9 }", True),
    ("{ src -m bin 7f000001 }", True),
    ("{ int(1) -m bin 0000000000000001 }", True),
    ("{ bin(616263) -m str abc }", True),
    ("{ bin(616263) -m bin 616263 }", True),
    ("{ bin(616263) -m bin 6162 }", False),
    ("{ bin(610063) -m str a }", True),
    ("{ bin(610063) -m len 3 }", False),
    ("{ bin(616263) -m sub b }", True),
    ("{ bin(616263) -m beg a }", True),
    ("{ str() -m len 0 }", True),
    ("{ str(5) -m int 5 }", True),
    ("{ str(5x) -m int 5 }", True),
    ("{ str(abc) -m str -- -x abc }", True),
    ("{ str(a) a } { str(b) c }", False),
    ("{ str(a) b } or { str(b) b }", True),
    ("!{ str(a) b } ! { str(b) c }", True),
    ("TRUE", True),
    ("FALSE", False),
    ("!FALSE", True),
    ("LOCALHOST", True),
    ("{ str(a.b) -m dom a b }", True),
    ("{ str(a//b) -m dir b }", True),
    ("{ str(12) -m len 2 }", True),
    ("{ str(AbC),lower abc }", True),
    ("{ always_true -m int 1 }", True),
    ("{ str(abc) -m regm b }", True),
    ("{ int(-5) lt 0 }", True),
    ("{ int(5) :7 }", True),
    ("{ int(5) 7: }", False),
    ("{ str(é) -m len 2 }", True),
]


@pytest.mark.parametrize(("text", "expected"), MEASURED, ids=lambda value: str(value))
def test_measured(text: str, expected: bool) -> None:
    assert compile_condition(condition(text))(subject(final=True)) is expected


def test_lists_of_files() -> None:
    for text, holds in (
        ("str(ab) -M -f numbers", True),
        ("str(ac) -M -f numbers", False),
        ("src -M -f networks", True),
        ("src_port -M -f ranges 40000", True),
    ):
        assert compile_criterion(criterion(text))(subject()) is holds


networks4 = st.builds(
    lambda number, length: IPv4Network((number, length), strict=False),
    # Few addresses, so that they are often in the networks.
    st.integers(0, 0xFF).map(lambda byte: 0x0A000000 | byte << 12),
    st.integers(0, 32),
)
networks6 = st.builds(
    lambda number, length: IPv6Network((number, length), strict=False),
    st.integers(0, 0xFF).map(lambda byte: 0x20010DB8 << 96 | byte << 60),
    st.integers(1, 128),
)


@given(st.lists(networks4, max_size=20), st.integers(0, 0xFFF).map(lambda n: 0x0A000000 | n << 8))
def test_networks_as_ipaddress_has_them(networks: list[IPv4Network], number: int) -> None:
    address = IPv4Address(number)
    expected = any(address in one for one in networks)
    assert (number in NetworkSet(networks, 32)) is expected
    assert compile_patterns(Matching.IP, tuple(networks))(address) is expected


@given(
    st.lists(networks6, max_size=20),
    st.integers(0, 0xFFF).map(lambda n: 0x20010DB8 << 96 | n << 56),
)
def test_networks_of_ipv6(networks: list[IPv6Network], number: int) -> None:
    address = IPv6Address(number)
    expected = any(address in one for one in networks)
    assert compile_patterns(Matching.IP, tuple(networks))(address) is expected


def test_a_long_list_is_not_walked() -> None:
    networks = [IPv4Network((number << 8, 24)) for number in range(50_000)]
    held = NetworkSet(networks, 32)
    assert held
    assert 1 in held
    assert (50_000 << 8) not in held


bounds = st.none() | st.integers(-5, 20)


@given(st.lists(st.builds(IntRange, bounds, bounds), max_size=8), st.integers(-8, 25))
def test_ranges(ranges: list[IntRange], number: int) -> None:
    expected = any(
        (one.low is None or one.low <= number) and (one.high is None or number <= one.high)
        for one in ranges
    )
    assert (number in RangeSet(ranges)) is expected


words = st.text("aB.", max_size=4)


@given(
    st.sampled_from([Matching.STR, Matching.BEG, Matching.END, Matching.SUB]),
    st.lists(words, max_size=4),
    words,
    st.booleans(),
)
def test_texts(matching: Matching, patterns: list[str], text: str, ignore_case: bool) -> None:
    def fold(word: str) -> str:
        return word.lower() if ignore_case else word

    def one(pattern: str) -> bool:
        sought, within = fold(pattern), fold(text)
        match matching:
            case Matching.STR:
                return sought == within
            case Matching.BEG:
                return within.startswith(sought)
            case Matching.END:
                return within.endswith(sought)
            case _:
                return sought in within

    made = compile_patterns(matching, tuple(patterns), ignore_case=ignore_case)
    assert made(text) is any(map(one, patterns))
