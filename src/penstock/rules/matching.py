# SPDX-License-Identifier: Apache-2.0
"""Samples against patterns (manual 7.1): made once into tests that do not slow with long lists."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from penstock.rules.model import IntRange, Matching, Pattern
from penstock.rules.patterns import read_regex
from penstock.rules.samples import (
    Sample,
    to_address,
    to_bool,
    to_bytes,
    to_integer,
    to_ipv4,
    to_text,
)

Test = Callable[[Sample], bool]

_MAPPED_HIGH: Final = 0xFFFF << 32
_DELIMITERS: Final = {Matching.DIR: "/?", Matching.DOM: "/?.:"}


class NetworkSet:
    """Networks of one family, asked once for each length of prefix among them."""

    __slots__ = ("_lengths",)

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network], bits: int) -> None:
        by_length: dict[int, set[int]] = {}
        for network in networks:
            shift = bits - network.prefixlen
            by_length.setdefault(shift, set()).add(int(network.network_address) >> shift)
        self._lengths = tuple((shift, frozenset(by_length[shift])) for shift in sorted(by_length))

    def __contains__(self, address: int) -> bool:
        return any(address >> shift in prefixes for shift, prefixes in self._lengths)

    def __bool__(self) -> bool:
        return bool(self._lengths)


class RangeSet:
    """Inclusive ranges of integers."""

    __slots__ = ("_bounds", "_lows")

    def __init__(self, ranges: Iterable[IntRange]) -> None:
        bounds: list[tuple[float, float]] = []
        for low, high in sorted(
            (
                float("-inf") if one.low is None else one.low,
                float("inf") if one.high is None else one.high,
            )
            for one in ranges
        ):
            if bounds and low <= bounds[-1][1]:
                bounds[-1] = (bounds[-1][0], max(bounds[-1][1], high))
            elif low <= high:
                bounds.append((low, high))
        self._bounds = bounds
        self._lows = [low for low, _ in bounds]

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._lows, number)
        return at > 0 and number <= self._bounds[at - 1][1]


def compile_patterns(
    matching: Matching, patterns: tuple[Pattern, ...], *, ignore_case: bool = False
) -> Test:
    """Whether a sample matches one of *patterns*."""
    match matching:
        case Matching.FOUND:
            return lambda sample: True
        case Matching.BOOL:
            return lambda sample: bool(to_bool(sample))
        case Matching.INT:
            return _numbers(RangeSet(_ranges(patterns)), to_integer)
        case Matching.LEN:
            return _numbers(
                RangeSet(_ranges(patterns)), lambda sample: len(to_bytes(to_text(sample)))
            )
        case Matching.IP:
            return _addresses(patterns)
        case Matching.BIN:
            wanted = frozenset(one for one in patterns if isinstance(one, bytes))
            return lambda sample: to_bytes(sample) in wanted
        case Matching.REG | Matching.REGM:
            return _expressions(_texts(patterns), ignore_case)
    test = _text_test(matching, _texts(patterns), ignore_case)
    if ignore_case:
        return lambda sample: test(to_text(sample).lower())
    return lambda sample: test(to_text(sample))


def _ranges(patterns: tuple[Pattern, ...]) -> Iterable[IntRange]:
    return (one for one in patterns if isinstance(one, IntRange))


def _texts(patterns: tuple[Pattern, ...]) -> list[str]:
    return [one for one in patterns if isinstance(one, str)]


def _numbers(wanted: RangeSet, number: Callable[[Sample], int | None]) -> Test:
    def test(sample: Sample) -> bool:
        value = number(sample)
        return value is not None and value in wanted

    return test


def _addresses(patterns: tuple[Pattern, ...]) -> Test:
    """Each family's networks, and those of the other for addresses that are in both."""
    four = NetworkSet((one for one in patterns if isinstance(one, IPv4Network)), 32)
    six = NetworkSet((one for one in patterns if isinstance(one, IPv6Network)), 128)
    both = bool(six)

    def test(sample: Sample) -> bool:
        address = to_address(sample)
        if isinstance(address, IPv4Address):
            number = int(address)
            return number in four or (both and (_MAPPED_HIGH | number) in six)
        if isinstance(address, IPv6Address):
            if int(address) in six:
                return True
            inner = to_ipv4(address)
            return inner is not None and int(inner) in four
        return False

    return test


def _expressions(texts: list[str], ignore_case: bool) -> Test:
    expressions = [read_regex(text, ignore_case=ignore_case) for text in texts]

    def test(sample: Sample) -> bool:
        subject = to_bytes(to_text(sample))
        return any(one.search(subject) for one in expressions)

    return test


def _text_test(matching: Matching, texts: list[str], ignore_case: bool) -> Callable[[str], bool]:
    wanted = frozenset(text.lower() if ignore_case else text for text in texts)
    lengths = tuple(sorted({len(text) for text in wanted}))
    match matching:
        case Matching.STR:
            return wanted.__contains__
        case Matching.BEG:
            return lambda text: any(
                length <= len(text) and text[:length] in wanted for length in lengths
            )
        case Matching.END:
            return lambda text: any(
                length <= len(text) and text[len(text) - length :] in wanted for length in lengths
            )
        case Matching.SUB:
            return lambda text: any(one in text for one in wanted)
        case _:
            delimiters = _DELIMITERS[matching]
            stripped = [one.strip(delimiters) for one in wanted]
            return lambda text: any(_has_word(text, one, delimiters) for one in stripped)


def _has_word(text: str, word: str, delimiters: str) -> bool:
    """Whether *word* stands in *text* between delimiters."""
    at = text.find(word) if word else -1
    while at >= 0:
        end = at + len(word)
        if (at == 0 or text[at - 1] in delimiters) and (
            end == len(text) or text[end] in delimiters
        ):
            return True
        at = text.find(word, at + 1)
    return False
