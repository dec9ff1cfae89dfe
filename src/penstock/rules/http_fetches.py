# SPDX-License-Identifier: Apache-2.0
"""Fetches of HTTP requests (manual 7.3.6): of what a client of mode tcp says first, too.

As in HAProxy a request is looked for in the bytes that have come so far: until its head is whole
there is no sample yet, and where no request can come of it there is none.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final

from penstock.rules.fetches import Fetch, Fetcher
from penstock.rules.hashes import avalanche, sdbm
from penstock.rules.http_fields import OF_REQUEST, Arguments, One, Reader, text
from penstock.rules.samples import WAITING, Changing, Found, Sample, Waiting
from penstock.rules.subject import Subject
from penstock.rules.vocabulary import FETCHES
from penstock.wire import http_head, http_uri
from penstock.wire.http_head import Request
from penstock.wire.http_request import Head, parse

Users = Callable[[Head], tuple[str, ...] | None]
"""The groups of whom a head names with the right password; None: there is nobody."""

USUAL_METHODS: Final = frozenset(
    {"OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT"}
)
_LARGEST_BYTE: Final = 240  # of HAProxy's variable integers, that is one of them alone


# Many rules look at the same request, one after the other.
@lru_cache(maxsize=16)
def _read(data: bytes) -> Request | Waiting | None:
    try:
        return http_head.read(data) or WAITING
    except http_head.NotHttp:
        return None


def request_of(subject: Subject) -> Request | Waiting | None:
    """None: there will be none."""
    request = _read(subject.request)
    if isinstance(request, Request) and (method := text(request.method)) in USUAL_METHODS:
        subject.method = method
    return request


def http_fetch(name: str, arguments: Arguments) -> Fetcher | None:
    """None: it is no fetch of a request."""
    if name == "method":
        return Fetcher(_method, patient=True)
    if name in _WITH_SOURCE:
        return Fetcher(_with_source(_START[_WITH_SOURCE[name]]), patient=True)
    if name in _START:
        reader = Reader(_START[name])
    elif name in OF_REQUEST:
        reader = OF_REQUEST[name](arguments)
    elif name == "http_auth_bearer":
        reader = Reader(_bearer(arguments))
    else:
        return None
    one, many = reader.one, reader.many

    def fetch(subject: Subject) -> Found:
        request = request_of(subject)
        return one(request) if isinstance(request, Request) else request

    if many is None:
        return Fetcher(fetch, patient=True)

    def fetch_many(subject: Subject) -> Iterable[Sample] | Waiting:
        request = request_of(subject)
        if isinstance(request, Request):
            return many(request)
        return request or ()

    return Fetcher(fetch, patient=True, many=fetch_many)


def tcp_fetch(name: str, arguments: Arguments) -> Fetch | None:
    """Those that tell other things in mode tcp than elsewhere, or nothing; None: it is no such."""
    if name == "capture.req.hdr":
        at = int(arguments[0])
        return lambda subject: subject.captured(at)
    if name.startswith("capture.re") or FETCHES[name].source.startswith("HTTP response"):
        return lambda subject: None
    if name == "req.body":
        return _body
    if name in ("req.body_len", "req.body_size"):
        return lambda subject: _if_whole(subject, 0)
    if name == "req.body_param":
        return lambda subject: _if_whole(subject, None)
    if name == "http_first_req":
        return lambda subject: True
    return None


def _if_whole(subject: Subject, found: Found) -> Found:
    request = request_of(subject)
    return found if isinstance(request, Request) else request


def _body(subject: Subject) -> Found:
    """HAProxy takes the head alone for a request in mode tcp, and waits for its body in vain."""
    return _if_whole(subject, Changing(b""))


def _method(subject: Subject) -> Found:
    """One of the usual ones is remembered when the request has gone on to a server."""
    if subject.method is not None:
        return subject.method
    request = request_of(subject)
    return text(request.method) if isinstance(request, Request) else request


# -- the request line ----------------------------------------------------------------------------


def _path(request: Request, *, query: bool = False) -> bytes | None:
    path = http_uri.take_apart(request.target).path
    return path if query or path is None else path.partition(b"?")[0]


def _text_or_none(value: bytes | None) -> str | None:
    return None if value is None else text(value)


def _query(request: Request) -> str | None:
    _, mark, query = request.target.partition(b"?")
    return text(query) if mark else None


def _base(request: Request, *, query: bool = False) -> str | None:
    path = _path(request, query=query)
    host = next(iter(request.items(b"host")), b"")
    return text(host + (path or b"")) if host else _text_or_none(path)


def _version(request: Request) -> str | None:
    return text(request.version.partition(b"/")[2]) or None


def _base32(request: Request) -> int:
    host = next(iter(request.items(b"host")), b"")
    return avalanche(sdbm(host + (_path(request) or b""), signed=True))


def _url32(request: Request) -> int:
    host = next(iter(request.lines(b"host")), b"")
    return avalanche(sdbm(host + (_path(request, query=True) or b""), signed=True))


def _url_ip(request: Request) -> IPv4Address | None:
    found = http_uri.address(request.target)
    return None if found is None else IPv4Address(found[0])


def _url_port(request: Request) -> int | None:
    found = http_uri.address(request.target)
    return None if found is None else found[1]


def _block(request: Request) -> str:
    lines = [text(name + b": " + value) for name, value in request.fields]
    return "\r\n".join([*lines, "", ""])


def _packed_block(request: Request) -> bytes:
    pieces = [piece for field in request.fields for piece in field]
    return b"".join(_packed(len(one)) + one for one in pieces) + bytes(2)


def _packed(number: int) -> bytes:
    """A variable integer of HAProxy's SPOE (doc/SPOE.txt, 3.1)."""
    if number < _LARGEST_BYTE:
        return bytes((number,))
    made = [number & 0xFF | _LARGEST_BYTE]
    number = (number - _LARGEST_BYTE) >> 4
    while number >= 128:
        made.append(number & 0xFF | 128)
        number = (number - 128) >> 7
    return bytes((*made, number))


# -- who says it is who --------------------------------------------------------------------------


def _credentials(request: Request) -> tuple[str, bytes] | None:
    """Scheme and what follows it; HAProxy takes any beginning of their names for them."""
    value = next(iter(request.items(b"authorization")), b"")
    scheme, blank, rest = value.partition(b" ")
    for known in ("Basic", "Bearer"):
        if blank and scheme and known.lower().startswith(text(scheme).lower()):
            return known, rest.lstrip(b" ")
    return None


def _basic(request: Request) -> tuple[bytes, bytes] | None:
    found = _credentials(request)
    if found is None or found[0] != "Basic":
        return None
    try:
        decoded = binascii.a2b_base64(found[1], strict_mode=True)
    except binascii.Error:
        return None
    user, colon, password = decoded.partition(b"\0")[0].partition(b":")
    return (user, password) if colon else None


def _auth_type(request: Request) -> str | None:
    found = _credentials(request)
    if found is None or (found[0] == "Basic" and _basic(request) is None):
        return None
    return found[0]


def _auth(part: int) -> One:
    def one(request: Request) -> str | None:
        found = _basic(request)
        return None if found is None else text(found[part])

    return one


def _bearer(arguments: Arguments) -> One:
    name = (arguments[0] if arguments else "").encode("utf-8", "surrogateescape").lower()

    def one(request: Request) -> str | None:
        if not name:
            found = _credentials(request)
            return text(found[1]) if found is not None and found[0] == "Bearer" else None
        value = next(iter(request.items(name)), b"")
        scheme, _, token = value.partition(b" ")
        return text(token.lstrip(b" ")) if scheme.lower() == b"bearer" else ""

    return one


_START: Final[dict[str, One]] = {
    "path": lambda request: _text_or_none(_path(request)),
    "pathq": lambda request: _text_or_none(_path(request, query=True)),
    "url": lambda request: text(request.target),
    "query": _query,
    "base": _base,
    "baseq": lambda request: _base(request, query=True),
    "base32": _base32,
    "url32": _url32,
    "url_ip": _url_ip,
    "url_port": _url_port,
    "req.ver": _version,
    "req_ver": _version,
    "req.proto_http": lambda request: True,
    "req_proto_http": lambda request: True,
    "req.hdrs": _block,
    "req.hdrs_bin": _packed_block,
    "http_auth_type": _auth_type,
    "http_auth_user": _auth(0),
    "http_auth_pass": _auth(1),
}
_WITH_SOURCE: Final = {"base32+src": "base32", "url32+src": "url32"}


def _with_source(hashed: One) -> Fetch:
    def fetch(subject: Subject) -> Found:
        source = subject.source
        if source is None:
            return None
        request = request_of(subject)
        if not isinstance(request, Request):
            return request
        number = hashed(request)
        return number.to_bytes(4, "big") + source.packed if isinstance(number, int) else None

    return fetch


# -- users, where penstock itself answers --------------------------------------------------------


@lru_cache(maxsize=8)
def _head(raw: bytes) -> Head:
    return parse(raw)


def groups(users: Users | None) -> Callable[[Subject], list[str]]:
    """Of whom the request names with the right password; none for nobody."""
    return lambda subject: list((users(_head(subject.request)) if users else None) or ())


def _known(users: Users | None) -> Fetch:
    return lambda subject: users is not None and users(_head(subject.request)) is not None


def _groups(users: Users | None) -> Fetch:
    named = groups(users)
    return lambda subject: ",".join(named(subject)) or None


# Their argument is a list of users.
AUTH: Final[dict[str, Callable[[Users | None], Fetch]]] = {
    "http_auth": _known,
    "http_auth_group": _groups,
}
