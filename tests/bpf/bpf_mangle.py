# SPDX-License-Identifier: Apache-2.0
"""Packets with anything wrong in them: what is done to good ones, for hypothesis to draw."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

Change = tuple[int, bytes, list[tuple[int, int]], int]


@st.composite
def mangled(draw: st.DrawFn) -> Change:
    """Which seed; what to put behind it; what to overwrite (offset, byte); how much to keep."""
    changes = st.lists(st.tuples(st.integers(12, 110), st.integers(0, 255)), max_size=4)
    keep = st.one_of(st.just(10_000), st.integers(14, 160))
    return draw(st.integers(0, 31)), draw(st.binary(max_size=24)), draw(changes), draw(keep)


def applied(seeds: Sequence[tuple[str, bytes]], what: Change) -> tuple[str, bytes]:
    """Where that seed arrives, and what became of it."""
    number, tail, changes, keep = what
    at, raw = seeds[number % len(seeds)]
    out = bytearray(raw)
    for offset, value in changes:
        if offset < len(out):
            out[offset] = value
    return at, bytes(out[:keep]) + tail
