# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frames written by hand, for servers that follow a script (RFC 9113, RFC 7541)."""

from __future__ import annotations

import struct

END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        struct.pack("!I", len(payload))[1:]
        + bytes((kind, flags))
        + struct.pack("!I", stream)
        + payload
    )


def literal(name: str, value: str) -> bytes:
    """A field that no table has, without Huffman's code."""
    head, rest = name.encode(), value.encode()
    return b"\0" + bytes((len(head),)) + head + bytes((len(rest),)) + rest


def status(code: int) -> bytes:
    known = {200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}
    if code in known:
        return bytes((0x80 | known[code],))
    return literal(":status", str(code))


def answer(code: int, *fields: tuple[str, str], ends: bool = True, stream: int = 1) -> bytes:
    block = status(code) + b"".join(literal(*one) for one in fields)
    return frame(1, END_HEADERS | (END_STREAM if ends else 0), stream, block)


def data(payload: bytes, *, ends: bool = True, stream: int = 1) -> bytes:
    return frame(0, END_STREAM if ends else 0, stream, payload)


def reset(code: int, stream: int = 1) -> bytes:
    return frame(3, 0, stream, struct.pack("!I", code))


def goaway(last: int, code: int) -> bytes:
    return frame(7, 0, 0, struct.pack("!II", last, code))


def asks(said: bytes) -> bool:
    """Whether the head of a request is among what a client has said."""
    at = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    while at + 9 <= len(said):
        kind, at = said[at + 3], at + 9 + int.from_bytes(said[at : at + 3])
        if kind == 1:
            return at <= len(said)
    return False


SETTINGS = frame(4, 0, 0)
SETTINGS_ACK = frame(4, ACK, 0)
PING = frame(6, 0, 0, b"12345678")
