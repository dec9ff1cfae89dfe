# SPDX-License-Identifier: Apache-2.0
"""Lines in a stream, in whichever pieces it comes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.logs.framing import Frames, FramingError


def lines_of(pieces: list[bytes]) -> list[bytes]:
    frames = Frames(100)
    found = []
    for piece in pieces:
        frames.feed(piece)
        while (line := frames.next()) is not None:
            found.append(line)
    return found


def test_both_kinds_in_one_stream() -> None:
    data = b"<30>one\r\n7 <30>two<30>three\n9 <30>a\nb\nc"
    assert lines_of([data]) == [b"<30>one", b"<30>two", b"<30>three", b"<30>a\nb\nc"]


@given(
    st.lists(st.tuples(st.binary(max_size=60), st.booleans()), max_size=6),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_pieces_do_not_matter(lines: list[tuple[bytes, bool]], cuts: list[int]) -> None:
    written, expected = b"", []
    for text, counted in lines:
        line = b"<30>" + (text if counted else text.replace(b"\n", b"").rstrip(b"\r"))
        written += b"%d " % len(line) + line if counted else line + b"\n"
        expected.append(line)
    at = [0, *sorted(min(cut, len(written)) for cut in cuts), len(written)]
    pieces = [written[low:high] for low, high in itertools.pairwise(at)]
    assert lines_of(pieces) == expected


@pytest.mark.parametrize(
    "data",
    [b"text\n", b" <30>a\n", b"0 \n", b"101 <", b"123456789", b"1x <", b"<" + b"a" * 101],
)
def test_what_is_no_line(data: bytes) -> None:
    with pytest.raises(FramingError):
        lines_of([data])


@pytest.mark.parametrize("data", [b"", b"<30>", b"<", b"12", b"12 <30>", b"<" + b"a" * 99])
def test_what_may_become_one(data: bytes) -> None:
    assert lines_of([data]) == []
