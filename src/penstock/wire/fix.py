# SPDX-License-Identifier: Apache-2.0
"""FIX messages, 4.0 to 5.0 (FIX Trading Community, tagvalue encoding): checked, and looked into.

As HAProxy's converters ``fix_is_valid`` and ``fix_tag_value`` (manual 7.3.1) read them.
"""

from __future__ import annotations

from typing import Final

from penstock.wire.digits import number_within

_END = b"\x01"  # of a field
_SHORTEST = 26  # bytes: a message of the three fields that must begin one, and a checksum
_BEGIN_STRING, _BODY_LENGTH, _CHECKSUM, _MESSAGE_TYPE = 8, 9, 10, 35
_NAMES: Final = {
    "beginstring": _BEGIN_STRING,
    "bodylength": _BODY_LENGTH,
    "checksum": _CHECKSUM,
    "msgtype": _MESSAGE_TYPE,
    "sendercompid": 49,
    "targetcompid": 56,
}
# The highest tag of each version; FIXT.1.1 is the transport of 5.0 and its service packs.
_LARGEST_TAG: Final = (1 << 31) - 1
_HIGHEST: Final = {
    b"FIX.4.0": 140,
    b"FIX.4.1": 211,
    b"FIX.4.2": 446,
    b"FIX.4.3": 659,
    b"FIX.4.4": 956,
    b"FIXT.1.1": 1621,
}
_OF_USERS: Final = range(10000, 20000)  # tags that no version defines


def is_valid(data: bytes) -> bool | None:
    """Whether *data* begins with a valid message; None while more bytes are needed."""
    if len(data) < _SHORTEST:
        return None
    at = number = length = body = 0
    version: bytes | None = None
    while at < len(data):
        end = _end_of(data, at)
        if end is None:
            return None
        name, _, value = data[at:end].partition(b"=")
        tag = _tag(name, version)
        if not tag or not value:
            return False
        number += 1
        if number <= 3 and tag != (_BEGIN_STRING, _BODY_LENGTH, _MESSAGE_TYPE)[number - 1]:
            return False
        if number == 1:
            version = value
            if version not in _HIGHEST:
                return False
        elif number == 2:
            length, body = _number(value), end + 1
            if not length:
                return False
        elif number > 3 and tag == _CHECKSUM:
            return (
                length == at - body and len(value) == 3 and _number(value) == sum(data[:at]) % 256
            )
        at = end + 1
    return None if body else False


def value(data: bytes, tag: int) -> bytes | None:
    """What the message that *data* begins with says under *tag*; None: nothing.

    Empty: more bytes may tell. Of fields it is only asked that tag and value are not empty.
    """
    at = 0
    while at < len(data):
        end = _end_of(data, at)
        if end is None:
            return b""
        name, _, found = data[at:end].partition(b"=")
        number = _tag(name, None)
        if not number or not found:
            return None
        if number == tag:
            return found
        if number == _CHECKSUM:
            return None
        at = end + 1
    return b""


def tag_number(name: str) -> int | None:
    """The tag that *name* is, or names in any case; None: it is none."""
    return _tag(name.encode(), None) or _NAMES.get(name.lower())


def _end_of(data: bytes, at: int) -> int | None:
    """Where the field at *at* ends: at the first delimiter behind its ``=``; None: not yet."""
    equals = data.find(b"=", at)
    end = data.find(_END, equals) if equals >= 0 else -1
    return None if end < 0 else end


def _tag(name: bytes, version: bytes | None) -> int:
    """0: it is none, or none that *version* has."""
    number = _number(name)
    if version is None or number in _OF_USERS or number <= _HIGHEST[version]:
        return number
    return 0


def _number(text: bytes) -> int:
    return (number_within(text, _LARGEST_TAG) or 0) if text.isdigit() else 0
