# SPDX-License-Identifier: Apache-2.0
"""What the hello of a TLS or SSL handshake says, read from plain bytes (RFC 8446, RFC 6066).

What the fetches ``req.ssl_sni``, ``req.ssl_hello_type``, ``req.ssl_ver`` and their like are made of
(HAProxy manual 7.3.5). Unlike HAProxy's, a hello may lie in several TLS records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

CLIENT_HELLO: Final = 1
SERVER_HELLO: Final = 2

_HANDSHAKE: Final = 0x16
_OTHER_RECORDS: Final = frozenset({0x14, 0x15, 0x17, 0xFF})
_LONGEST_RECORD: Final = (1 << 14) + 2048  # RFC 5246, 6.2.3
_SERVER_NAME, _STATUS_REQUEST, _CURVES, _ALPN, _TICKET, _VERSIONS = 0, 5, 10, 16, 35, 43
_TLS_1_0: Final = 3 << 16 | 1


class NotTls(ValueError):
    """No further byte can make this a hello."""


@dataclass(frozen=True, slots=True)
class Hello:
    """One hello. Versions are HAProxy's numbers: the major one times 65536 plus the minor one.

    *version* is what the hello names; TLS 1.3 still names 1.2 there and speaks of itself in
    *supported_versions* only. *handshake* is the message's type; 0 in the SSLv2 format, which
    ``req.ssl_hello_type`` does not know.
    """

    handshake: int
    version: int
    sni: str | None = None
    alpn: tuple[str, ...] = ()
    supported_versions: tuple[int, ...] = ()
    has_ec_extension: bool = False
    has_status_request: bool = False
    session_ticket: int | None = None  # length; None: no such extension


def parse(data: bytes) -> Hello | None:
    """The hello that *data* begins with; None while more bytes are needed. Raises NotTls."""
    if not data:
        return None
    if data[0] in _OTHER_RECORDS:
        raise NotTls("this is a TLS record, but none of a handshake")
    if data[0] != _HANDSHAKE:
        return _sslv2(data)
    message = _message(data)
    if message is None:
        return None
    kind, body = message[0], message[4:]
    if len(body) < 2:
        raise NotTls("the handshake message is too short for a hello")
    version = body[0] << 16 | body[1]
    if kind != CLIENT_HELLO:
        return Hello(kind, version)
    return _client_hello(version, body)


def _message(data: bytes) -> bytes | None:
    """The first handshake message with its head, out of as many records as it takes."""
    message = b""
    at = 0
    while True:
        head = data[at : at + 5]
        if (head and head[0] != _HANDSHAKE) or (len(head) > 1 and head[1] < 3):
            raise NotTls("this is no record of a TLS handshake")
        if len(head) < 5:
            return None
        size = head[3] << 8 | head[4]
        if not 0 < size <= _LONGEST_RECORD:
            raise NotTls(f"a TLS record cannot be {size} bytes long")
        message += data[at + 5 : at + 5 + size]
        if len(message) >= 4:
            whole = 4 + int.from_bytes(message[1:4], "big")
            if len(message) >= whole:
                return message[:whole]
        at += 5 + size
        if at > len(data):
            return None


def _client_hello(version: int, body: bytes) -> Hello:
    """What its extensions say, as far as they make sense."""
    hello = Hello(CLIENT_HELLO, version)
    if version < _TLS_1_0:
        return hello
    try:
        at = _skip(body, 34, 1)  # session id
        at = _skip(body, at, 2)  # cipher suites
        at = _skip(body, at, 1)  # compression methods
        extensions = _vector(body, at, 2)
    except _TruncatedError:
        return hello
    said: dict[int, bytes] = {}
    for kind, value in _extensions(extensions):
        said.setdefault(kind, value)
    return Hello(
        CLIENT_HELLO,
        version,
        sni=_server_name(said.get(_SERVER_NAME, b"")),
        alpn=tuple(_strings(said.get(_ALPN, b""))),
        supported_versions=tuple(_versions(said.get(_VERSIONS, b""))),
        has_ec_extension=_CURVES in said,
        has_status_request=_STATUS_REQUEST in said,
        session_ticket=len(said[_TICKET]) if _TICKET in said else None,
    )


class _TruncatedError(Exception):
    """A length points past the end of what holds it."""


def _vector(data: bytes, at: int, width: int) -> bytes:
    """What a length of *width* bytes at *at* announces. Raises _TruncatedError."""
    end = _skip(data, at, width)
    return data[at + width : end]


def _skip(data: bytes, at: int, width: int) -> int:
    """Where the vector at *at* ends. Raises _TruncatedError."""
    end = at + width + int.from_bytes(data[at : at + width], "big")
    if at + width > len(data) or end > len(data):
        raise _TruncatedError
    return end


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        kind = data[at] << 8 | data[at + 1]
        try:
            end = _skip(data, at + 2, 2)
        except _TruncatedError:
            return
        yield kind, data[at + 4 : end]
        at = end


def _server_name(data: bytes) -> str | None:
    try:
        names = _vector(data, 0, 2)
        if names[:1] != b"\0":  # the only type there is: a host's name
            return None
        return _text(_vector(names, 1, 2))
    except _TruncatedError:
        return None


def _strings(data: bytes) -> Iterator[str]:
    try:
        names = _vector(data, 0, 2)
        at = 0
        while at < len(names):
            end = _skip(names, at, 1)
            yield _text(names[at + 1 : end])
            at = end
    except _TruncatedError:
        return


def _versions(data: bytes) -> Iterator[int]:
    try:
        versions = _vector(data, 0, 1)
    except _TruncatedError:
        return
    for at in range(0, len(versions) - 1, 2):
        yield versions[at] << 16 | versions[at + 1]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _sslv2(data: bytes) -> Hello | None:
    """A client's hello in SSLv2's format, which may ask for newer versions (RFC 5246, E.2)."""
    short = bool(data[0] & 0x80)
    head = 2 if short else 3
    if len(data) <= head:
        return None
    if data[head] != CLIENT_HELLO:
        raise NotTls("this is no hello of TLS or SSL")
    if len(data) < head + 9:
        return None
    length = (data[0] & (0x7F if short else 0x3F)) << 8 | data[1]
    padding = 0 if short else data[2]
    ciphers, session, challenge = (
        data[at] << 8 | data[at + 1] for at in range(head + 3, head + 9, 2)
    )
    if (
        ciphers % 3
        or session not in (0, 16)
        or not 16 <= challenge <= 32
        or length != 9 + ciphers + session + challenge
    ):
        raise NotTls("this is no hello of SSLv2")
    if len(data) < head + length + padding:
        return None
    return Hello(0, data[head + 1] << 16 | data[head + 2])
