# SPDX-License-Identifier: Apache-2.0
"""A ring keeps the last events, and those that a reader has not read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.logs.ring import Reader, Ring


def events(reader: Reader) -> list[bytes]:
    found = []
    while (event := reader.take()) is not None:
        found.append(event)
    return found


def test_old_events_make_room() -> None:
    ring = Ring(30)
    for number in range(10):
        assert ring.write(b"event %d" % number)
    reader = ring.reader()
    assert events(reader) == [b"event 7", b"event 8", b"event 9"]
    reader.close()
    assert not ring.write(b"x" * 29)  # it would never fit


def test_a_reader_misses_nothing() -> None:
    ring = Ring(30)
    reader = ring.reader()
    assert [ring.write(b"event %d" % number) for number in range(4)] == [True, True, True, False]
    assert reader.take() == b"event 0"
    assert ring.write(b"event 4")
    assert events(reader) == [b"event 1", b"event 2", b"event 4"]
    assert reader.waits
    reader.close()
    for number in range(9):
        assert ring.write(b"event %d" % number)


def test_a_reader_of_what_is_new() -> None:
    ring = Ring(100)
    ring.write(b"old")
    reader = ring.reader(new_only=True)
    assert reader.take() is None
    ring.write(b"new")
    assert events(reader) == [b"new"]


@given(st.lists(st.binary(max_size=40), max_size=60), st.integers(10, 200))
def test_what_is_there_are_the_last_ones(written: list[bytes], size: int) -> None:
    ring = Ring(size)
    kept = [one for one in written if ring.write(one)]
    held = events(ring.reader())
    assert held == kept[len(kept) - len(held) :]
    assert sum(len(one) + 2 for one in held) <= size
