# SPDX-License-Identifier: Apache-2.0
"""Numbers of flows: each a place in the tables, and none that a session of the proxy has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.kernel.slots import Place, place_of
from penstock.engine.sessions import session_id

PLACES = st.builds(
    Place, st.sampled_from([4, 6]), st.integers(0, (1 << 30) - 1), st.integers(0, 0xFFFF)
)


@given(PLACES)
def test_back_and_forth(place: Place) -> None:
    assert place_of(place.number) == place


@given(PLACES, PLACES)
def test_no_two_have_one(one: Place, other: Place) -> None:
    assert (one.number == other.number) == (one == other)


@pytest.mark.parametrize("number", [0, 1, -1, 1 << 46, 1 << 48, 3 << 47, session_id(0, 5.0, 9)])
def test_others_are_no_flows(number: int) -> None:
    assert place_of(number) is None
