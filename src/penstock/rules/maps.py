# SPDX-License-Identifier: Apache-2.0
"""Maps (``map_MATCH_OUTPUT``, manual 7.3.1): the value of the key that matches."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final, cast

from penstock.rules.argument_values import map_kinds
from penstock.rules.matching import compile_patterns
from penstock.rules.model import Call, Matching
from penstock.rules.patterns import Sources, no_name, read_network, read_patterns, read_regex
from penstock.rules.samples import Sample, to_address, to_bytes, to_ipv4, to_text


def compile_map(call: Call) -> Callable[[Sample], Sample | None]:
    """The converter ``map…`` with the entries of its file."""
    matching, output = map_kinds(call.name)
    value_of = _MAP_VALUES[output]
    default = value_of(call.arguments[1]) if len(call.arguments) > 1 else None
    lookup = _lookup(matching, call.entries, value_of)
    if matching is Matching.REGM:
        return lambda sample: _expanded(call.entries, sample, default)

    def convert(sample: Sample) -> Sample | None:
        found = lookup(sample)
        return default if found is None else found

    return convert


def _text_value(text: str) -> Sample:
    return text


def _address_value(text: str) -> Sample:
    return IPv6Address(text) if ":" in text else IPv4Address(text)


_MAP_VALUES: Final[dict[str, Callable[[str], Sample]]] = {
    "str": _text_value,
    "int": int,
    "ip": _address_value,
}


def _lookup(
    matching: Matching, entries: tuple[tuple[str, str], ...], value_of: Callable[[str], Sample]
) -> Callable[[Sample], Sample | None]:
    """Finds the value of the first key that matches; of networks the longest."""
    if matching is Matching.STR:
        exact: dict[str, Sample] = {}
        for key, value in entries:
            exact.setdefault(key, value_of(value))
        return lambda sample: exact.get(to_text(sample))
    made = [
        (read_patterns(matching, [key], versions=False, sources=Sources()), value_of(value))
        for key, value in entries
    ]
    if matching is Matching.IP:
        return _network_map([(read_network(key, no_name), value_of(text)) for key, text in entries])
    if matching is Matching.BEG:
        # The longest beginning wins, as in HAProxy's tree.
        made.sort(key=lambda pair: len(cast("str", pair[0][0])), reverse=True)
    tests = [(compile_patterns(matching, patterns), value) for patterns, value in made]

    def lookup(sample: Sample) -> Sample | None:
        return next((value for test, value in tests if test(sample)), None)

    return lookup


def _network_map(
    pairs: list[tuple[object, Sample]],
) -> Callable[[Sample], Sample | None]:
    by_length: dict[int, dict[tuple[int, int], Sample]] = {}
    for network, value in pairs:
        one = ip_network(str(network))
        shift = one.max_prefixlen - one.prefixlen
        key = (one.version, int(one.network_address) >> shift)
        by_length.setdefault(shift, {}).setdefault(key, value)
    lengths = sorted(by_length.items())

    def lookup(sample: Sample) -> Sample | None:
        address = to_address(sample)
        if address is None:
            return None
        inner = to_ipv4(address)
        for one in (address,) if inner is None or inner == address else (address, inner):
            number, version = int(one), one.version
            for shift, values in lengths:
                if (found := values.get((version, number >> shift))) is not None:
                    return found
        return None

    return lookup


def _expanded(
    entries: tuple[tuple[str, str], ...], sample: Sample, default: Sample | None
) -> Sample | None:
    """``map_regm``: ``\\1`` in a value is the first group of its expression."""
    subject = to_bytes(sample)
    for key, value in entries:
        found = read_regex(key).search(subject)
        if found is not None:
            return to_text(with_groups(to_bytes(value), found))
    return default


def with_groups(template: bytes, found: re.Match[bytes]) -> bytes:
    """*template* with ``\\1`` and its like replaced by what *found* has in its groups."""

    def group(reference: re.Match[bytes]) -> bytes:
        number = int(reference[1])
        return (found[number] or b"") if number <= (found.re.groups or 0) else b""

    return re.sub(rb"\\([0-9])", group, template)
