# SPDX-License-Identifier: Apache-2.0
"""Samples at run time, and how one type becomes another (HAProxy manual 7.3.1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from penstock.rules.vocabulary import Type

# BOOL, INT, STRING and METHOD, BINARY, addresses.
Sample = bool | int | str | bytes | IPv4Address | IPv6Address

_MASK64: Final = (1 << 64) - 1
_MAPPED_HIGH: Final = 0xFFFF << 32
_LEADING: Final = re.compile(r"[-+]?[0-9]{1,30}", re.ASCII)


class Waiting:
    """There is no sample yet, and there may be one when more data are there."""

    __slots__ = ()


WAITING: Final = Waiting()


@dataclass(frozen=True, slots=True)
class Changing:
    """A sample that is another one when more data are there."""

    value: Sample


# None: there is none, and there will be none.
Found = Sample | Changing | Waiting | None


def wrap64(number: int) -> int:
    """*number* as a signed integer of 64 bits has it."""
    number &= _MASK64
    return number - (1 << 64) if number >> 63 else number


def to_integer(sample: Sample) -> int | None:
    """Of a text the number that it begins with, 0 if there is none."""
    if isinstance(sample, int):
        return int(sample)
    if isinstance(sample, IPv4Address):
        return int(sample)
    if isinstance(sample, str) and sample:
        found = _LEADING.match(sample)
        return wrap64(int(found[0])) if found is not None else 0
    return None


def to_text(sample: Sample) -> str:
    if isinstance(sample, str):
        return sample
    if isinstance(sample, bytes):
        return sample.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return str(int(sample)) if isinstance(sample, int) else str(sample)


def to_bytes(sample: Sample) -> bytes:
    if isinstance(sample, bytes):
        return sample
    if isinstance(sample, str):
        return sample.encode("utf-8", "surrogateescape")
    if isinstance(sample, int):
        return (int(sample) & _MASK64).to_bytes(8, "big")
    return sample.packed


def to_address(sample: Sample) -> IPv4Address | IPv6Address | None:
    if isinstance(sample, IPv4Address | IPv6Address):
        return sample
    if isinstance(sample, bool | bytes):
        return None
    if isinstance(sample, int):
        return IPv4Address(sample & 0xFFFFFFFF)
    try:
        return IPv6Address(sample) if ":" in sample else IPv4Address(sample)
    except ValueError:
        return None


def to_ipv6(sample: Sample) -> IPv6Address | None:
    address = to_address(sample)
    if isinstance(address, IPv4Address):
        return IPv6Address(_MAPPED_HIGH | int(address))
    return address


def to_ipv4(sample: Sample) -> IPv4Address | None:
    """An IPv6 address only if it holds an IPv4 one (RFC 4291 2.5.5, RFC 3056)."""
    address = to_address(sample)
    if isinstance(address, IPv6Address):
        if int(address) >> 32 == 0:
            return IPv4Address(int(address))
        return address.ipv4_mapped or address.sixtofour
    return address


def to_bool(sample: Sample) -> bool | None:
    if isinstance(sample, IPv6Address):
        return bool(int(sample))
    number = to_integer(sample)
    return None if number is None else bool(number)


def _same(sample: Sample) -> Sample:
    return sample


CAST: Final[dict[Type, Callable[[Sample], Sample | None]]] = {
    Type.ANY: _same,
    Type.BOOL: to_bool,
    Type.INT: to_integer,
    Type.ADDRESS: to_address,
    Type.IPV4: to_ipv4,
    Type.IPV6: to_ipv6,
    Type.STRING: to_text,
    Type.BINARY: to_bytes,
    Type.METHOD: to_text,
}
