# SPDX-License-Identifier: Apache-2.0
"""Splitting a line into words. Each expectation was checked against HAProxy 2.6."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.haproxy.lexer import LexError, Place, split

ENVIRON = {"A": "b c", "Q": "a  b"}


def quote(word: str) -> str:
    """*word* as it may be written in a file."""
    escaped = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r"}
    return '"' + "".join(escaped.get(c, c) for c in word) + '"'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a b  c", ["a", "b", "c"]),
        ("a b # c", ["a", "b"]),
        ("a b# c", ["a", "b"]),
        (r"a\#b", ["a#b"]),
        ('"a#b"c#d', ["a#bc"]),
        ('"a b" c', ["a b", "c"]),
        (r"'a\b' c", [r"a\b", "c"]),
        (r"a\ \ b", ["a  b"]),
        (r"\q\"", [r"\q" + '"']),
        (r"a\tb\x41", ["a\tbA"]),
        (r"a\xffb \xc3\xa9", ["a\udcffb", "é"]),
        (r"a\x00b c\x00", ["a", "c"]),
        ("foo\\", ["foo\\"]),
        ('foo ""', ["foo"]),
        ('foo "" bar', ["foo", "", "bar"]),
        ('"${NOPE-def}"', ["def"]),
        ('"$A"', ["b c"]),
        ("$A", ["$A"]),
        (r'"\$A"', ["$A"]),
        (r"\$A", [r"\$A"]),
        ("'$A'", ["$A"]),
        ('"$A.b$A-"', ["b c.bb c-"]),
        ('"${A}x"', ["b cx"]),
        ('"${A[*]}x" y', ["b", "cx", "y"]),
        ('"${Q[*]}"', ["a", "b"]),
        ('"${NOPE}"', []),
        ('x "${NOPE[*]}" z', ["x", "z"]),
        ('"$.LINE $.FILE $.SECTION"', ["7 f.cfg listen"]),
        ("", []),
        ("a\r", ["a"]),
    ],
)
def test_words(line: str, words: list[str]) -> None:
    assert split(line, ENVIRON, Place("f.cfg", 7, "listen")) == words


@pytest.mark.parametrize(
    ("line", "message", "column"),
    [
        ('foo "abc', "unmatched quote at position 5:", 5),
        ("foo 'abc\"", "unmatched quote at position 5:", 5),
        ('foo "${A"', "unmatched brace in environment variable name at position 7:", 7),
        ('foo "${N-x"', "unmatched brace in environment variable name at position 7:", 7),
        ('foo "$1"', "forbidden first char in environment variable name at position 7:", 7),
        ('foo "$.FOO"', "forbidden first char in environment variable name at position 7:", 7),
        ('foo "${A[x]}"', "truncated or invalid word expansion sequence at position 9:", 9),
        (r"foo \x4", "truncated or invalid hexadecimal sequence at position 5:", 5),
        (r"foo \xzz", "truncated or invalid hexadecimal sequence at position 5:", 5),
    ],
)
def test_errors_name_the_position(line: str, message: str, column: int) -> None:
    with pytest.raises(LexError) as caught:
        split(line, ENVIRON)
    assert (caught.value.message, caught.value.column) == (message, column)


def test_positions_count_the_indent() -> None:
    with pytest.raises(LexError) as caught:
        split('foo "abc', {}, indent=2)
    assert caught.value.column == 7


def test_sixty_four_words_are_the_most() -> None:
    assert len(split(" ".join(["w"] * 64), {})) == 64
    with pytest.raises(LexError, match="too many words, truncating after word 64, position 127"):
        split(" ".join(["w"] * 65), {})
    with pytest.raises(LexError, match="too many words"):
        split(" ".join(["w"] * 64) + " ", {})


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), max_size=64))
def test_quoted_words_come_back(words: list[str]) -> None:
    assert split(" ".join(quote(word) for word in words), {"A": "x"}) == words


@given(st.text())
def test_any_text_is_split_or_refused(text: str) -> None:
    try:
        split(text, ENVIRON)
    except LexError as error:
        assert 1 <= error.column <= len(text) + 1


@given(st.text(string.ascii_letters + "\"'\\$#{}[*]-. \tx0", max_size=40))
def test_text_full_of_signs_is_split_or_refused(text: str) -> None:
    try:
        split(text, ENVIRON)
    except LexError as error:
        assert error.column >= 1
