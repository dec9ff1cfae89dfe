# SPDX-License-Identifier: Apache-2.0
"""Where a flow lies in the flow tables, as one number that no other flow has while it lives. Pure.

A slot's lives are counted in sixteen bits (flow_words.h, CTL_LIFE_SHIFT): a number that somebody
has kept names another flow only after 65,536 have been in that slot.
"""

from __future__ import annotations

from typing import NamedTuple

# Above all of them the numbers of the proxy engine's sessions begin (sessions.session_id()).
_MARK = 1 << 47
_LIFE_SHIFT, _LIFE_BITS = 31, 16
_SIX = 1 << 30
_SLOT_BITS = 30


class Place(NamedTuple):
    """A forward slot in one of its lives."""

    family: int  # of the table: 4 or 6
    slot: int
    life: int  # the upper half of its control word

    @property
    def number(self) -> int:
        """As ``show sess`` has it; below 2^48."""
        six = _SIX if self.family == 6 else 0
        return _MARK | self.life << _LIFE_SHIFT | six | self.slot


def place_of(number: int) -> Place | None:
    """What ``Place.number`` stands for; None: it is no flow's."""
    if number >> _LIFE_SHIFT + _LIFE_BITS != _MARK >> _LIFE_SHIFT + _LIFE_BITS:
        return None
    life = number >> _LIFE_SHIFT & ((1 << _LIFE_BITS) - 1)
    return Place(6 if number & _SIX else 4, number & ((1 << _SLOT_BITS) - 1), life)
