# SPDX-License-Identifier: Apache-2.0
"""Picks of the hashing schedulers, as a kernel with IPVS makes them.

Each string has the last digit of the real server that clients 10.50.0.1, 10.50.0.2 … got, from
servers 10.0.1.1:80, 10.0.1.2:80 … added in this order to 203.0.113.1:80.
"""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ipvs import dh, mh, sh
from penstock.ipvs.fold import folded
from penstock.ipvs.model import SchedFlag
from penstock.ipvs.siphash import hsiphash

CLIENTS = [f"10.50.0.{last}" for last in range(1, 51)]


def listed(weights: dict[int, int]) -> list[int]:
    """Servers in the kernel's order: the one that was added last comes first."""
    return list(reversed(weights))


def sh_picks(weights: dict[int, int], flags: int = 0) -> str:
    order = listed(weights)
    table = sh.table(tuple(weights[server] for server in order))
    return "".join(str(order[sh.lookup(table, client, 0, flags) or 0]) for client in CLIENTS)


def mh_picks(
    last_weights: dict[int, int], down: frozenset[int] = frozenset(), flags: int = 0
) -> str:
    order = listed(last_weights)
    table = mh.table(tuple(mh.Member(f"10.0.1.{s}", 80, last_weights[s]) for s in order))
    picks = [mh.lookup(table, one, 0, flags, lambda i: order[i] not in down) for one in CLIENTS]
    return "".join("-" if pick is None else str(order[pick]) for pick in picks)


def test_sh_equal() -> None:
    assert sh_picks({1: 1, 2: 1, 3: 1}) == "23232121313122323212121312132311232331213231323232"


def test_sh_weights() -> None:
    assert sh_picks({1: 3, 2: 1, 3: 2}) == "31311212111131313313132321213112131311313132331313"


def test_sh_without_the_second() -> None:
    assert sh_picks({1: 1, 3: 1}).startswith("111133331111133331111133333111")


def test_sh_by_port() -> None:
    table = sh.table((1, 1, 1, 1))
    order = listed({1: 1, 2: 1, 3: 1, 4: 1})
    picks = [sh.lookup(table, "10.50.0.1", 20000 + n, SchedFlag.TWO) for n in range(50)]
    assert "".join(str(order[pick]) for pick in picks if pick is not None) == (
        "13142424313132424313132424313132424213132424213131"
    )


def test_sh_gives_a_weight_of_zero_one_bucket_in_a_row() -> None:
    assert sh.table((2, 0, 1))[:8] == (0, 0, 1, 2, 0, 0, 1, 2)
    table = sh.table((0, 1))

    def available(index: int) -> bool:
        return index == 1

    refused = [one for one in CLIENTS if sh.lookup(table, one, 0, 0, available) is None]
    assert refused
    assert all(sh.lookup(table, one, 0, SchedFlag.ONE, available) == 1 for one in refused)


def test_dh_goes_by_the_virtual_address_and_not_by_weight() -> None:
    table = dh.table(3)
    assert Counter(table) == {0: 86, 1: 85, 2: 85}
    bucket = (0xCB007101 * 0x61C88647 & 0xFFFFFFFF) >> 24
    assert dh.lookup(table, "203.0.113.1") == bucket % 3
    assert dh.lookup(table, "203.0.113.1", lambda _: False) is None
    assert dh.lookup(dh.table(0), "203.0.113.1") is None


def test_mh_equal() -> None:
    assert mh_picks({1: 1, 2: 1, 3: 1}) == "13121311323233231332311212333113311222111231333122"


def test_mh_weights() -> None:
    assert mh_picks({1: 3, 2: 1, 3: 2}) == "13121311123331131332311111333113311212111231313131"


def test_mh_removal_moves_few() -> None:
    four = mh_picks({1: 1, 2: 1, 3: 1, 4: 1})
    assert four == "43121311323243234344344214334113311422141441333422"
    three = mh_picks({1: 1, 3: 1, 4: 1})
    assert three == "43111311343343134334344114334113311431141441333434"


def test_mh_quiesced_server_keeps_its_slots() -> None:
    equal = {1: 1, 2: 1, 3: 1}
    assert mh_picks(equal, frozenset({2})) == mh_picks(equal).replace("2", "-")
    fallback = mh_picks(equal, frozenset({2}), SchedFlag.ONE)
    assert fallback.startswith("131313113333333313333113113331")


def test_mh_without_a_weight_ever() -> None:
    assert mh.table((mh.Member("10.0.1.1", 80, 0),)) == ()
    assert mh.table(()) == ()
    assert mh.lookup((), "10.50.0.1", 0, 0) is None


def test_mh_scales_heavy_weights_to_six_bits() -> None:
    light = (mh.Member("10.0.1.1", 80, 63), mh.Member("10.0.1.2", 80, 1))
    heavy = (mh.Member("10.0.1.1", 80, 63 << 8), mh.Member("10.0.1.2", 80, 1))
    assert Counter(mh.table(heavy))[1] == Counter(mh.table(light))[1]


def test_mh_takes_the_oldest_where_there_are_more_than_slots() -> None:
    members = tuple(mh.Member(f"10.{n >> 8}.{n & 255}.1", 80, 1) for n in range(mh.SIZE + 2))
    table = mh.table(members)
    assert (min(table), max(table), len(set(table))) == (2, mh.SIZE + 1, mh.SIZE)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12))
def test_mh_fills_every_slot_with_one_that_had_a_weight(weights: list[int]) -> None:
    table = mh.table(tuple(mh.Member("10.0.1.1", n, w) for n, w in enumerate(weights)))
    assert len(table) == (mh.SIZE if any(weights) else 0)
    assert all(weights[index] for index in table)


def test_mh_is_quick() -> None:
    members = tuple(mh.Member(f"10.9.1.{n}", 80, 1 + n % 3) for n in range(10))
    began = time.process_time()
    mh.table(members)
    assert time.process_time() - began < 0.1


def test_hsiphash_of_the_kernels_own_vector() -> None:
    # lib/test_siphash.c: four bytes 00 01 02 03 under the key 00 01 … 0f.
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    assert hsiphash(0x03020100, key) == 0x88D38328


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("10.50.0.1", 0x0A320001),
        ("2001:db8::1", 0x20010DB8 ^ 1),
        ("::", 0),
        ("ffff:ffff:ffff:ffff::", 0),
    ],
)
def test_an_address_is_folded_to_a_word(address: str, word: int) -> None:
    assert folded(address) == word
