# SPDX-License-Identifier: Apache-2.0
"""Keys of stick tables as operators write them (HAProxy's src/stick_table.c). Pure."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address

from penstock.c_numbers import strtol
from penstock.runtime_api.registry import CommandFailed
from penstock.stick.model import Key, KeyType, TableSpec

_WORD = 0xFFFFFFFF


def read_key(spec: TableSpec, text: str, unable: str) -> Key:
    """*text* as a key of that table; *unable* is said where its keys cannot be written.

    Raises CommandFailed.
    """
    match spec.key:
        case KeyType.IP:
            return dotted(text)
        case KeyType.IPV6:
            try:
                return int(IPv6Address(text))
            except AddressValueError:
                raise CommandFailed("Invalid key") from None
        case KeyType.INTEGER:
            read = strtol(text)
            if read is None or not 0 <= read[0] <= _WORD:
                raise CommandFailed("Invalid key")
            return read[0]
        case KeyType.STRING:
            return text.encode(errors="surrogateescape")[: spec.key_size - 1]
        case _:
            raise CommandFailed(unable)


def dotted(text: str) -> int:
    """An IPv4 address as HAProxy's inetaddr_host() reads it: what is no number ends it."""
    number, shift = 0, 24
    while True:
        digits = len(text) - len(text.lstrip("0123456789"))
        number += int(text[max(digits - 3, 0) : digits] or 0) << shift
        if not shift or text[digits : digits + 1] != ".":
            return number & _WORD
        shift -= 8
        text = text[digits + 1 :]
