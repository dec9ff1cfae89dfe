# SPDX-License-Identifier: Apache-2.0
"""Samples -> keys of stick tables (HAProxy's sample casts, manual 7.3), and keys as text."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address

from penstock.stick.model import KeyType, TableSpec

Sample = IPv4Address | IPv6Address | int | bytes | str
# IP, IPV6, INTEGER: the number; STRING, BINARY: the bytes.
Key = int | bytes

_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96, RFC 4291 2.5.5.2
_WORD = 0xFFFFFFFF


def key_of(spec: TableSpec, sample: Sample) -> Key | None:
    """*sample* as a key of that table, None if it cannot be one."""
    match spec.key:
        case KeyType.IP:
            return _ipv4(sample)
        case KeyType.IPV6:
            return _ipv6(sample)
        case KeyType.INTEGER:
            number = _integer(sample)
            return None if number is None else number & _WORD
        case KeyType.STRING:
            # A C string ends at its NUL.
            return _text(sample).split(b"\0", 1)[0][: spec.key_size - 1]
        case KeyType.BINARY:
            size = spec.key_size
            return _binary(sample)[:size].ljust(size, b"\0")


def key_text(spec: TableSpec, key: Key) -> str:
    """A key as ``show table`` prints it."""
    if isinstance(key, bytes):
        if spec.key is KeyType.BINARY:
            return key.hex().upper()
        return key.decode(errors="surrogateescape")
    if spec.key is KeyType.IP:
        return str(IPv4Address(key))
    if spec.key is KeyType.IPV6:
        return str(IPv6Address(key))
    return str(key)


def _ipv4(sample: Sample) -> int | None:
    if isinstance(sample, IPv4Address):
        return int(sample)
    if isinstance(sample, IPv6Address):
        mapped = sample.ipv4_mapped
        return None if mapped is None else int(mapped)
    if isinstance(sample, int):
        return sample & _WORD
    try:
        return int(IPv4Address(_ascii(sample)))
    except (AddressValueError, UnicodeDecodeError):
        return None


def _ipv6(sample: Sample) -> int | None:
    if isinstance(sample, IPv6Address):
        return int(sample)
    if isinstance(sample, IPv4Address):
        return _MAPPED | int(sample)
    if isinstance(sample, int):
        return _MAPPED | sample & _WORD
    try:
        return int(IPv6Address(_ascii(sample)))
    except (AddressValueError, UnicodeDecodeError):
        return None


def _integer(sample: Sample) -> int | None:
    if isinstance(sample, int):
        return int(sample)
    if isinstance(sample, IPv4Address):
        return int(sample)
    if isinstance(sample, IPv6Address):
        return None
    try:
        return int(_ascii(sample), 10)
    except (ValueError, UnicodeDecodeError):
        return None


def _text(sample: Sample) -> bytes:
    if isinstance(sample, bytes):
        return sample
    return str(int(sample) if isinstance(sample, bool) else sample).encode(errors="surrogateescape")


def _binary(sample: Sample) -> bytes:
    if isinstance(sample, bytes):
        return sample
    if isinstance(sample, str):
        return sample.encode(errors="surrogateescape")
    if isinstance(sample, int):
        return (sample & (1 << 64) - 1).to_bytes(8, "big")
    return sample.packed


def _ascii(sample: bytes | str) -> str:
    return sample.decode("ascii") if isinstance(sample, bytes) else sample
