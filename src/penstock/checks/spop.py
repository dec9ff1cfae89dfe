# SPDX-License-Identifier: Apache-2.0
"""``option spop-check``: HAPROXY-HELLO to an agent, AGENT-HELLO back (HAProxy's SPOE.txt, 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock.checks.codes import CheckCode
from penstock.checks.model import Custom, Expect, Family, Ruleset, Send
from penstock.checks.result import Result

_HELLO, _AGENT_HELLO, _AGENT_DISCONNECT = 1, 101, 102
_FIN: Final = 1
_HEAD: Final = 7  # type, flags, and both ids
_LONGEST: Final = 16380  # HAProxy's buffer less the length in front
_SHORTEST: Final = 256
_VERSION: Final = "2.0"

_NORMAL, _FRAGMENTED = "normal", "fragmentation not supported"
_INVALID, _UNKNOWN = "invalid frame received", "an unknown error occurred"
_NO_VERSION, _NO_SIZE = "version value not found", "max-frame-size value not found"
_WRONG_VERSION, _WRONG_SIZE = "unsupported version", "max-frame-size too big or too small"
# By the code that an agent gives when it hangs up.
_REASONS: Final = (
    *(_NORMAL, "I/O error", "a timeout occurred", "frame is too big", _INVALID, _NO_VERSION),
    *(_NO_SIZE, "capabilities value not found", _WRONG_VERSION, _WRONG_SIZE, _FRAGMENTED),
    *("invalid interlaced frames", "frame-id not found", "resource allocation error"),
)


class _InvalidError(Exception):
    pass


def ruleset() -> Ruleset:
    return Ruleset(Family.SPOP, (Send(1, hello()), Expect(2, Custom.SPOP_HELLO, min_recv=4)))


def hello() -> bytes:
    """The frame that a check sends; it says that it is one."""
    body = bytes((_HELLO,)) + _FIN.to_bytes(4, "big") + b"\0\0"
    body += _text("supported-versions") + b"\x08" + _text(_VERSION)
    body += _text("max-frame-size") + b"\x03" + _varint(_LONGEST)
    body += _text("capabilities") + b"\x08" + _text("")
    body += _text("healthcheck") + b"\x11"
    return len(body).to_bytes(4, "big") + body


def _text(text: str) -> bytes:
    return _varint(len(text)) + text.encode()


def _varint(number: int) -> bytes:
    if number < 240:
        return bytes((number,))
    made = bytearray(((number & 15) | 0xF0,))
    number = (number - 240) >> 4
    while number >= 128:
        made.append((number & 127) | 0x80)
        number = (number - 128) >> 7
    made.append(number)
    return bytes(made)


def agent_hello(data: bytes, *, over: bool) -> Result | None:
    """What the agent's first frame says; None while bytes are missing."""
    if len(data) < 4:
        return Result(CheckCode.L7RSP, _INVALID) if over else None
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length and not over:
        return None
    frame = data[4 : 4 + length]
    try:
        wrong = _judge(frame)
    except _InvalidError:
        wrong = _INVALID
    if wrong is not None:
        return Result(CheckCode.L7RSP, wrong)
    return Result(CheckCode.L7OK, "SPOA server is ok")


def _judge(frame: bytes) -> str | None:
    """What is wrong with a frame. Raises _InvalidError."""
    if len(frame) < _HEAD:
        raise _InvalidError
    kind = frame[0]
    if kind not in (_AGENT_HELLO, _AGENT_DISCONNECT):
        raise _InvalidError
    if not int.from_bytes(frame[1:5], "big") & _FIN:
        return _FRAGMENTED
    if frame[5:7] != b"\0\0":
        raise _InvalidError
    items = _items(frame)
    if kind == _AGENT_DISCONNECT:
        code = items.get("status-code", 0)
        return _REASONS[code] if isinstance(code, int) and code < len(_REASONS) else _UNKNOWN
    version, size = items.get("version"), items.get("max-frame-size")
    if version is None:
        return _NO_VERSION
    if not isinstance(version, str):
        raise _InvalidError
    if version.strip() != _VERSION:
        return _WRONG_VERSION
    if size is None:
        return _NO_SIZE
    if not isinstance(size, int) or isinstance(size, bool):
        raise _InvalidError
    return None if _SHORTEST <= size <= _LONGEST else _WRONG_SIZE


def _items(frame: bytes) -> dict[str, int | str | None]:
    found: dict[str, int | str | None] = {}
    at = _HEAD
    while at < len(frame):
        name, at = _read_text(frame, at)
        found[name], at = _read_value(frame, at)
    return found


def _read_varint(frame: bytes, at: int) -> tuple[int, int]:
    if at >= len(frame):
        raise _InvalidError
    number = frame[at]
    at += 1
    if number < 240:
        return number, at
    shift = 4
    while True:
        if at >= len(frame):
            raise _InvalidError
        byte = frame[at]
        at += 1
        number += byte << shift
        shift += 7
        if byte < 128:
            return number, at


def _read_text(frame: bytes, at: int) -> tuple[str, int]:
    length, at = _read_varint(frame, at)
    if at + length > len(frame):
        raise _InvalidError
    return frame[at : at + length].decode(errors="surrogateescape"), at + length


def _skip(count: int) -> Callable[[bytes, int], tuple[None, int]]:
    def read(frame: bytes, at: int) -> tuple[None, int]:
        if at + count > len(frame):
            raise _InvalidError
        return None, at + count

    return read


_READERS: Final[dict[int, Callable[[bytes, int], tuple[int | str | None, int]]]] = {
    0: _skip(0),
    1: _skip(0),  # a flag beside the type is its value
    **dict.fromkeys((2, 3, 4, 5), _read_varint),
    6: _skip(4),
    7: _skip(16),
    8: _read_text,
    9: _read_text,
}


def _read_value(frame: bytes, at: int) -> tuple[int | str | None, int]:
    if at >= len(frame):
        raise _InvalidError
    kind = frame[at] & 15
    read = _READERS.get(kind)
    if read is None:
        raise _InvalidError
    value, at = read(frame, at + 1)
    return (True if kind == 1 else value), at
