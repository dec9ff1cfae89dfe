# SPDX-License-Identifier: Apache-2.0
"""Fetches of what was sent so far (manual 7.3.5): lengths, payloads, TLS hellos, RDP cookies."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from penstock.rules.samples import WAITING, Changing, Found
from penstock.rules.subject import Subject
from penstock.wire import rdp, tls_hello

_Builder = Callable[[tuple[str, ...]], Callable[[Subject], Found]]
_Buffer = Callable[[Subject], bytes]


def _request(subject: Subject) -> bytes:
    return subject.request


def _response(subject: Subject) -> bytes:
    return subject.response


def _length(buffer: _Buffer) -> _Builder:
    def fetch(subject: Subject) -> Found:
        return Changing(len(buffer(subject)))

    return lambda arguments: fetch


def _payload(buffer: _Buffer) -> _Builder:
    def build(arguments: tuple[str, ...]) -> Callable[[Subject], Found]:
        offset, length = int(arguments[0]), int(arguments[1])

        def fetch(subject: Subject) -> Found:
            data = buffer(subject)
            if offset < 0 or length < 0:
                return None
            if offset + length > len(data) or (not length and offset >= len(data)):
                return WAITING
            if length:
                return data[offset : offset + length]
            return Changing(data[offset:])

        return fetch

    return build


def _payload_lv(buffer: _Buffer) -> _Builder:
    def build(arguments: tuple[str, ...]) -> Callable[[Subject], Found]:
        offset, width = int(arguments[0]), int(arguments[1])
        start = arguments[2] if len(arguments) > 2 and arguments[2] else "+0"
        # With a sign it counts from behind the length, else from the beginning.
        at = offset + width + int(start) if start[0] in "+-" else int(start)

        def fetch(subject: Subject) -> Found:
            data = buffer(subject)
            if offset + width > len(data):
                return WAITING
            size = int.from_bytes(data[offset : offset + width], "big")
            if not size or at < 0:
                return None
            return data[at : at + size] if at + size <= len(data) else WAITING

        return fetch

    return build


# Many rules ask for the same hello, one after the other.
@lru_cache(maxsize=64)
def _parsed(data: bytes) -> tls_hello.Hello | bool | None:
    """None while bytes are missing, False when it is no hello."""
    try:
        return tls_hello.parse(data)
    except ValueError:
        return False


def _hello(buffer: _Buffer, read: Callable[[tls_hello.Hello], Found]) -> _Builder:
    def fetch(subject: Subject) -> Found:
        hello = _parsed(buffer(subject))
        if hello is None:
            return WAITING
        return read(hello) if isinstance(hello, tls_hello.Hello) else None

    return lambda arguments: fetch


def _version(hello: tls_hello.Hello) -> Found:
    return hello.version


def _of_client(read: Callable[[tls_hello.Hello], Found]) -> Callable[[tls_hello.Hello], Found]:
    return lambda hello: read(hello) if hello.handshake == tls_hello.CLIENT_HELLO else None


def _ticket(hello: tls_hello.Hello) -> Found:
    """0: no extension, 1: an empty one, 2: with a ticket."""
    if hello.session_ticket is None:
        return 0
    return 2 if hello.session_ticket else 1


def _cookie(arguments: tuple[str, ...]) -> Callable[[Subject], Found]:
    name = arguments[0] if arguments else ""

    def fetch(subject: Subject) -> Found:
        try:
            value = rdp.cookie(subject.request, name)
        except ValueError:
            return None
        return WAITING if value is None else value

    return fetch


def _cookie_count(arguments: tuple[str, ...]) -> Callable[[Subject], Found]:
    name = arguments[0] if arguments else ""

    def fetch(subject: Subject) -> Found:
        try:
            value = rdp.cookie(subject.request, name)
        except ValueError:
            return 0
        return WAITING if value is None else 1

    return fetch


_alpn = _of_client(lambda hello: ",".join(hello.alpn) or None)
_type = _hello(_request, lambda hello: hello.handshake or None)
_answer = _hello(_response, lambda hello: hello.handshake or None)
_sni = _hello(_request, _of_client(lambda hello: hello.sni))


PAYLOAD: Final[dict[str, _Builder]] = {
    "req.len": _length(_request),
    "req_len": _length(_request),
    "res.len": _length(_response),
    "payload": _payload(_request),
    "payload_lv": _payload_lv(_request),
    "req.payload": _payload(_request),
    "req.payload_lv": _payload_lv(_request),
    "res.payload": _payload(_response),
    "res.payload_lv": _payload_lv(_response),
    "req.ssl_hello_type": _type,
    "req_ssl_hello_type": _type,
    "res.ssl_hello_type": _answer,
    "rep_ssl_hello_type": _answer,
    "req.ssl_sni": _sni,
    "req_ssl_sni": _sni,
    "req.ssl_ver": _hello(_request, _version),
    "req_ssl_ver": _hello(_request, _version),
    "req.ssl_alpn": _hello(_request, _alpn),
    "req.ssl_ec_ext": _hello(_request, _of_client(lambda hello: hello.has_ec_extension)),
    "req.ssl_st_ext": _hello(_request, _of_client(_ticket)),
    "rdp_cookie": _cookie,
    "req.rdp_cookie": _cookie,
    "req_rdp_cookie": _cookie,
    "rdp_cookie_cnt": _cookie_count,
    "req.rdp_cookie_cnt": _cookie_count,
    "req_rdp_cookie_cnt": _cookie_count,
}
