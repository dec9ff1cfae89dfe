# SPDX-License-Identifier: Apache-2.0
"""Maglev's promises, against the figures of its paper (Eisenbud et al., NSDI 2016, 5.3)."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_building import candidates

from penstock.model import Algorithm, SchedulerSpec
from penstock.schedulers import maglev, prepare
from penstock.schedulers.candidate import Candidate, identity

MAGLEV = SchedulerSpec(Algorithm.MAGLEV)
weights = st.lists(st.integers(1, 256), min_size=1, max_size=20)


def owners(chosen: Sequence[Candidate], size: int | None = None) -> list[str]:
    return [chosen[i].key.name for i in maglev.table(chosen, size)]


def straightforward(chosen: Sequence[Candidate], size: int) -> list[str]:
    """The paper's figure 3 with weighted turns, written for reading and not for speed."""
    ordered = sorted(chosen, key=lambda one: identity(one.key))
    heaviest = max(one.weight for one in chosen)
    permutations = []
    for one in ordered:
        digest = hashlib.blake2b(identity(one.key), digest_size=16).digest()
        offset = int.from_bytes(digest[:8], "little") % size
        skip = int.from_bytes(digest[8:], "little") % (size - 1) + 1
        permutations.append([(offset + j * skip) % size for j in range(size)])
    slots: dict[int, str] = {}
    turns = 0
    while True:
        turns += 1
        for one, permutation in zip(ordered, permutations, strict=True):
            if turns * one.weight // heaviest == (turns - 1) * one.weight // heaviest:
                continue
            slots[next(slot for slot in permutation if slot not in slots)] = one.key.name
            if len(slots) == size:
                return [slots[i] for i in range(size)]


@given(weights)
@settings(max_examples=15)
def test_the_table_is_the_papers(given_weights: list[int]) -> None:
    chosen = candidates(given_weights)
    assert owners(chosen, 251) == straightforward(chosen, 251)


@pytest.mark.parametrize(("size", "count"), [(65537, 100), (65537, 600), (1021, 10)])
def test_least_and_most_slots_differ_by_the_papers_one_or_two_percent(
    size: int, count: int
) -> None:
    """Size over reals is above 100, and so no share is more than 2 % off."""
    counted = Counter(owners(candidates([1] * count), size))
    assert len(counted) == count
    assert max(counted.values()) <= size / count * 1.02
    assert min(counted.values()) >= size / count * 0.98


@given(weights)
@settings(max_examples=20)
def test_shares_follow_weights(given_weights: list[int]) -> None:
    """The light ones wait for up to a whole slot each; what they wait for, the heavy ones have."""
    chosen = candidates(given_weights)
    counted = Counter(owners(chosen, 4093))
    for one in chosen:
        assert abs(counted[one.key.name] - 4093 * one.weight / sum(given_weights)) <= len(chosen)


def test_one_of_a_hundred_that_leaves_moves_about_a_percent_of_the_others() -> None:
    """Figure 12 has a few percent of changes for 65537 slots, the leaver's own 1 % included."""
    everyone = candidates([1] * 100)
    before = owners(everyone, 65537)
    for gone in (0, 37, 99):
        after = owners([*everyone[:gone], *everyone[gone + 1 :]], 65537)
        moved = sum(a not in (b, f"s{gone}") for a, b in zip(before, after, strict=True))
        assert 0 < moved / 65537 < 0.02
        assert f"s{gone}" not in after


@given(weights, st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_the_order_of_the_file_does_not_matter(
    given_weights: list[int], shuffler: random.Random
) -> None:
    one = candidates(given_weights)
    assert owners(one, 1021) == owners(shuffler.sample(one, len(one)), 1021)


def test_names_do_not_matter() -> None:
    """A second node may call its servers and its pool what it likes."""
    one = candidates([2, 1, 1])
    other = [
        Candidate(type(c.key)("other", f"x{i}", c.key.address, c.key.port), c.weight)
        for i, c in enumerate(one)
    ]
    assert maglev.table(one) == maglev.table(other)


@pytest.mark.parametrize("size", maglev.SIZES)
def test_sizes_are_prime(size: int) -> None:
    """Else a skip that divides the size would not reach every slot."""
    assert all(size % divisor for divisor in range(2, int(size**0.5) + 1))


def test_the_smallest_share_gets_a_hundred_slots_while_the_largest_table_lasts() -> None:
    assert maglev.size_for([1] * 10) == 1021
    assert maglev.size_for([1] * 11) == 4093
    assert maglev.size_for([256] * 10) == 1021
    assert maglev.size_for([255, 1]) == 65537
    assert maglev.size_for([1] * 10_000) == 65537
    assert maglev.size_for([]) == 1021


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: [*c[:-1], Candidate(c[-1].key, 37)]]
)
@pytest.mark.parametrize("given_weights", [[100] * 11, [100, 100, 50], [3, 2, 1] * 8])
def test_health_and_slow_start_never_change_the_tables_size(
    given_weights: list[int], change: object
) -> None:
    """A table of another size is another table altogether: every client would move."""
    everyone = candidates(given_weights)
    rest = change(everyone)  # type: ignore[operator]
    size = maglev.size_for(given_weights)
    before = prepare("p", MAGLEV, everyone, configured=given_weights)
    after = prepare("p", MAGLEV, rest, configured=given_weights)
    assert len(before.table) == len(after.table) == size
    old = [everyone[i].key.name for i in before.table]
    new = [rest[i].key.name for i in after.table]
    last = everyone[-1].key.name
    moved = sum(a != b and last not in (a, b) for a, b in zip(old, new, strict=True))
    assert moved / size < 0.06
