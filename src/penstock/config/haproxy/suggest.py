# SPDX-License-Identifier: Apache-2.0
""" "did you mean": HAProxy's measure of how alike two words are, by letters and transitions."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Container, Iterable

_PRESENT = 0  # no class: (_PRESENT, class) says that the class occurs
_DIGIT = 27
_OTHER = 28  # also the beginning and the end of the word


def fingerprint(word: str) -> Counter[tuple[int, int]]:
    """Which character classes *word* has, and how often each transition between them occurs."""
    seen: Counter[tuple[int, int]] = Counter()
    before = _OTHER
    for char in word.lower():
        if "a" <= char <= "z":
            after = ord(char) - ord("a") + 1
        elif "0" <= char <= "9":
            after = _DIGIT
        else:
            after = _OTHER
        seen[_PRESENT, after] = 1
        seen[before, after] += 1
        before = after
    seen[before, _OTHER] += 1
    return seen


def fingerprint_of(words: Iterable[str]) -> Counter[tuple[int, int]]:
    """That of several words, which may stand in any order."""
    seen: Counter[tuple[int, int]] = Counter()
    for word in words:
        seen += fingerprint(word)
    return Counter({key: 1 if key[0] == _PRESENT else count for key, count in seen.items()})


def distance(one: Counter[tuple[int, int]], other: Counter[tuple[int, int]]) -> int:
    """Sum of the differences of two fingerprints."""
    apart = sum(other.values())
    for key, count in one.items():
        there = other.get(key, 0)
        apart += abs(count - there) - there
    return apart


# Candidates are the keywords there are: a few thousand, the same ones for every word at fault.
_known = functools.lru_cache(maxsize=8192)(fingerprint)


def closest(word: str, candidates: Iterable[str], prefixes: Container[str] = ()) -> str | None:
    """The candidate most like *word*, or None when none is near; the first of equals wins.

    Those of *prefixes* are followed by arguments and need be less like it.
    """
    wanted = fingerprint(word)
    best: str | None = None
    best_distance = 0
    for candidate in candidates:
        apart = distance(wanted, _known(candidate))
        if best is None or apart < best_distance:
            best, best_distance = candidate, apart
    if best is None:
        return None
    most = 3 if best in prefixes else 2
    if best_distance > most * len(word) or best_distance > most * len(best):
        return None
    return best
