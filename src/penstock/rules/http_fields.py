# SPDX-License-Identifier: Apache-2.0
"""What header fields, and cookies and parameters of a request, say (manual 7.3.6).

Each of these may be there several times: a pattern may match any, other rules see one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Generic, TypeVar

from penstock.rules.samples import Sample
from penstock.wire import http_cookies, http_uri
from penstock.wire.digits import number_within
from penstock.wire.http_head import Request
from penstock.wire.http_values import Message

Arguments = tuple[str, ...]
Of_contra = TypeVar("Of_contra", bound=Message, contravariant=True)
One = Callable[[Request], Sample | None]

_LONGEST_WAY_BACK: Final = 10  # HAProxy's MAX_HDR_HISTORY
_IPV4: Final = re.compile(rb"([0-9]+(?:\.[0-9]+){3})(?::([0-9]+))?")
_LAST_PORT: Final = 65535
_MOST_IN_32: Final = 2**32


@dataclass(frozen=True, slots=True)
class Reader(Generic[Of_contra]):
    """*many*: for patterns, in order; None: there is only one."""

    one: Callable[[Of_contra], Sample | None]
    many: Callable[[Of_contra], Iterable[Sample]] | None = None


def text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def number(value: bytes) -> int:
    """What HAProxy's strl2ic() makes of it: no overflow, and signs are worth less than 0."""
    digits = value[1:] if value.startswith(b"-") else value
    made = 0
    for byte in digits:
        digit = (byte - 256 if byte > 127 else byte) - 48
        if digit > 9:
            break
        made = (made * 10 + digit) % _MOST_IN_32
    made = (-made if digits is not value else made) % _MOST_IN_32
    return made - _MOST_IN_32 if made >> 31 else made


def address(value: bytes) -> IPv4Address | IPv6Address | None:
    """An IPv4 address, which a port may follow, or an IPv6 address."""
    found = _IPV4.fullmatch(value)
    if found is not None:
        host = http_uri.dotted(found[1])
        if host is None or number_within(found[2] or b"0", _LAST_PORT) is None:
            return None
        return IPv4Address(host)
    if b"%" in value:  # of a zone, which is not an address's
        return None
    try:
        return IPv6Address(text(value))
    except ValueError:
        return None


def _argument(arguments: Arguments, at: int = 0) -> str:
    return arguments[at] if len(arguments) > at else ""


def _name(arguments: Arguments) -> bytes:
    return _argument(arguments).encode("utf-8", "surrogateescape")


def _values(arguments: Arguments, *, whole: bool) -> Callable[[Message], list[bytes]]:
    name = _name(arguments).lower()
    if whole:
        return lambda message: message.lines(name)
    return lambda message: message.items(name)


def _field(made: Callable[[bytes], Sample | None], *, whole: bool = False) -> Builder:
    """The last value, or the one that is counted from the front, or with "-" the back."""

    def build(arguments: Arguments) -> Reader[Message]:
        if not _argument(arguments):
            return Reader(lambda message: None)
        values = _values(arguments, whole=whole)
        wanted = int(_argument(arguments, 1) or 0)
        at = wanted - 1 if wanted > 0 else wanted or -1

        def one(message: Message) -> Sample | None:
            found = values(message)
            if not -min(len(found), _LONGEST_WAY_BACK) <= at < len(found):
                return None
            return made(found[at])

        def many(message: Message) -> Iterator[Sample]:
            for value in values(message):
                sample = made(value)
                if sample is not None:
                    yield sample

        return Reader(one, None if wanted else many)

    return build


def _count(*, whole: bool) -> Builder:
    def build(arguments: Arguments) -> Reader[Message]:
        values = _values(arguments, whole=whole)
        return Reader(lambda message: len(values(message)))

    return build


def _names(arguments: Arguments) -> Reader[Message]:
    delimiter = _argument(arguments)[:1] or ","
    return Reader(lambda message: delimiter.join(text(name) for name, _ in message.fields))


def _cookies(request: Request, name: bytes) -> Iterator[bytes]:
    for value in request.items(b"cookie"):
        yield from http_cookies.values(value, name)


def _cookie(made: Callable[[bytes], Sample]) -> OfRequest:
    """The last one of that name; without a name the first of all."""

    def build(arguments: Arguments) -> Reader[Request]:
        name = _name(arguments)

        def one(request: Request) -> Sample | None:
            found = list(_cookies(request, name))
            return made(found[-1 if name else 0]) if found else None

        return Reader(one, lambda request: map(made, _cookies(request, name)))

    return build


def _cookie_count(arguments: Arguments) -> Reader[Request]:
    name = _name(arguments)
    return Reader(lambda request: sum(1 for _ in _cookies(request, name)))


def _parameter(made: Callable[[bytes], Sample]) -> OfRequest:
    def build(arguments: Arguments) -> Reader[Request]:
        name = _name(arguments)
        delimiter = (_argument(arguments, 1) or "?").encode("utf-8", "surrogateescape")[:1]

        def many(request: Request) -> Iterator[Sample]:
            return map(made, http_uri.parameters(request.target, delimiter, name))

        return Reader(lambda request: next(many(request), None), many)

    return build


Builder = Callable[[Arguments], Reader[Message]]
OfRequest = Callable[[Arguments], Reader[Request]]

FIELDS: Final[dict[str, Builder]] = {
    "hdr": _field(text),
    "fhdr": _field(text, whole=True),
    "hdr_val": _field(number),
    "hdr_ip": _field(address),
    "hdr_cnt": _count(whole=False),
    "fhdr_cnt": _count(whole=True),
    "hdr_names": _names,
}
"""By the names that they have behind ``req.`` and ``res.``."""

OF_REQUEST: Final[dict[str, OfRequest]] = {
    **{f"req.{name}": made for name, made in FIELDS.items()},
    **{name: FIELDS[name] for name in ("hdr", "hdr_val", "hdr_ip", "hdr_cnt")},
    "cook": _cookie(text),
    "cookie": _cookie(text),
    "req.cook": _cookie(text),
    "cook_val": _cookie(number),
    "req.cook_val": _cookie(number),
    "cook_cnt": _cookie_count,
    "req.cook_cnt": _cookie_count,
    "url_param": _parameter(text),
    "urlp": _parameter(text),
    "urlp_val": _parameter(number),
}
