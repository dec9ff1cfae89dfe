# SPDX-License-Identifier: Apache-2.0
"""Samples -> keys of stick tables, and keys as text."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from penstock.rules.samples import Sample, to_bytes, to_integer, to_ipv4, to_ipv6, to_text
from penstock.stick.model import Key, KeyType, TableSpec

_WORD = 0xFFFFFFFF


def key_of(spec: TableSpec, sample: Sample) -> Key | None:
    """*sample* as a key of that table, None if it cannot be one. What is too long is cut."""
    number: IPv4Address | IPv6Address | int | None
    match spec.key:
        case KeyType.IP:
            number = to_ipv4(sample)
        case KeyType.IPV6:
            number = to_ipv6(sample)
        case KeyType.INTEGER:
            number = to_integer(sample)
            return None if number is None else number & _WORD
        case KeyType.STRING:
            # HAProxy keeps a C string, which ends at its NUL.
            text = to_text(sample).encode(errors="surrogateescape")
            return text.split(b"\0", 1)[0][: spec.key_size - 1]
        case KeyType.BINARY:
            return to_bytes(sample)[: spec.key_size].ljust(spec.key_size, b"\0")
    return None if number is None else int(number)


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
    # HAProxy prints an unsigned key.
    return str(key)
