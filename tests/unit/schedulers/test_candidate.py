# SPDX-License-Identifier: Apache-2.0
"""Who may be scheduled, and weights in their smallest numbers."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from unit_building import candidates, key

from penstock.schedulers.candidate import Candidate, capped, eligible, identity, reduced


def names(chosen: tuple[Candidate, ...]) -> list[str]:
    return [one.key.name for one in chosen]


def with_backups(weights: list[int], *backup: int) -> tuple[Candidate, ...]:
    return tuple(replace(one, backup=i in backup) for i, one in enumerate(candidates(weights)))


def test_backups_wait_while_an_active_one_is_usable() -> None:
    assert names(eligible(with_backups([1, 1, 1], 1, 2), allbackups=False)) == ["s0"]
    assert names(eligible(with_backups([1, 1, 1], 1, 2), allbackups=True)) == ["s0"]


def test_the_first_usable_backup_takes_over_alone() -> None:
    assert names(eligible(with_backups([0, 0, 1, 1], 1, 2, 3), allbackups=False)) == ["s2"]


def test_all_backups_take_over_with_allbackups() -> None:
    assert names(eligible(with_backups([0, 0, 1, 1], 1, 2, 3), allbackups=True)) == ["s2", "s3"]


def test_weight_zero_is_never_chosen() -> None:
    assert names(eligible(candidates([0, 3, 0]), allbackups=False)) == ["s1"]
    assert eligible(candidates([0, 0]), allbackups=False) == ()


def test_the_order_of_the_configuration_is_kept() -> None:
    assert names(eligible(candidates([3, 1, 2]), allbackups=False)) == ["s0", "s1", "s2"]


positive = st.lists(st.integers(1, 256), min_size=1, max_size=40)


@given(positive, st.integers(1, 20))
def test_reducing_keeps_proportions_and_forgets_a_common_factor(
    weights: list[int], factor: int
) -> None:
    small = reduced(weights)
    assert all(a * small[0] == b * weights[0] for a, b in zip(weights, small, strict=True))
    assert reduced([weight * factor for weight in weights]) == small


@given(positive, st.integers(40, 2000))
def test_capping_keeps_everyone_and_the_order_of_weights(weights: list[int], limit: int) -> None:
    small = capped(weights, limit)
    assert all(weight >= 1 for weight in small)
    assert sum(small) <= limit + len(weights)
    order = sorted(range(len(weights)), key=lambda i: weights[i])
    assert [small[i] for i in order] == sorted(small)


def test_identity_is_address_and_port_and_nothing_else() -> None:
    assert identity(key("a", pool="x")) == identity(key("b", pool="y"))
    assert identity(key("a", port=81)) != identity(key("a", port=80))
    assert identity(key("a", "2001:db8::1")) == identity(key("a", "2001:0db8:0:0::1"))
    # 1:80 and :180 must not read alike.
    assert identity(key("a", "2001:db8::1", 80)) != identity(key("a", "2001:db8::", 180))
