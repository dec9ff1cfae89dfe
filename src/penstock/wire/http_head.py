# SPDX-License-Identifier: Apache-2.0
"""The head of a request, as HAProxy 2.6 reads it in what a client of mode tcp says first.

As lenient as HAProxy's parser (h1_headers_to_hdr_list() and smp_prefetch_htx()): RTSP and SIP have
requests of that shape too, lines may be folded, and HTTP/0.9 has a request of one line.
``http_request`` reads those that penstock answers itself, and is strict.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from penstock.wire import http_uri
from penstock.wire.digits import number_within
from penstock.wire.http_values import Field, Message, split_values

# HAProxy's tune.http.maxhdr is 101, of which the method, the target and the end take three.
_MOST_FIELDS: Final = 98
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_BEFORE: Final = re.compile(rb"(?:\r?\n)*+")
_LINE: Final = re.compile(
    rb"(?P<method>" + _TOKEN + rb"++)"
    rb"(?:[ \t]++(?:(?P<target>[!\"$-~]++)(?:[ \t]++(?P<version>[A-Z0-9./]*+))?)?)?(?=[\r\n])"
)
# How a line may begin that is not over yet.
_BEGINNING: Final = re.compile(_TOKEN + rb"++(?:[ \t]++(?:[!\"$-~]++(?:[ \t]++[A-Z0-9./]*+)?)?)?")
_END: Final = re.compile(rb"\r?\n")
_FOLDED: Final = rb"[^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*+"
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"++):(" + _FOLDED + rb")\r?\n(?=[^ \t])")
_FIELD_BEGINNING: Final = re.compile(_TOKEN + rb"++(?::" + _FOLDED + rb"\r?\n?)?|\r")
_LENGTH: Final = re.compile(rb"[ \t]*+([0-9]++)[ \t]*+")
_LONGEST: Final = 2**64 - 1


class NotHttp(ValueError):
    """No further byte can make it a request."""


@dataclass(frozen=True, slots=True)
class Request(Message):
    """Among its fields ``:method`` and ``:path`` are the first two."""

    method: bytes
    target: bytes
    version: bytes
    fields: tuple[Field, ...]


def read(data: bytes) -> Request | None:
    """The request that *data* begins with; None while bytes of its head are missing.

    Raises NotHttp as soon as it can be none.
    """
    before = _BEFORE.match(data)
    at = before.end() if before is not None else 0
    if data[at:] in (b"", b"\r"):
        return None
    line = _LINE.match(data, at)
    if line is None:
        if _BEGINNING.fullmatch(data, at):
            return None
        raise NotHttp("the first line is no request line")
    end = _END.match(data, line.end())
    if end is None:
        if line.end() + 1 == len(data):
            return None
        raise NotHttp("a carriage return does not end a line")
    method, target, version = line["method"], line["target"] or b"", line["version"] or b""
    reading = _Reading(method, target)
    if not version:
        if method != b"GET" or not target:
            raise NotHttp("a request of HTTP/0.9 can be nothing but a GET")
        return Request(method, target, b"HTTP/1.0", reading.finish())
    if not _read_fields(data, end.end(), reading):
        return None
    return Request(method, target, version, reading.finish())


def _read_fields(data: bytes, at: int, reading: _Reading) -> bool:
    """Whether the empty line has come. Raises NotHttp."""
    while not _END.match(data, at):
        found = _FIELD.match(data, at)
        if found is None:
            if at == len(data) or _FIELD_BEGINNING.fullmatch(data, at):
                return False
            raise NotHttp("a line is no header field")
        value = found[2]
        if b"\n" in value:
            value = value.replace(b"\r", b" ").replace(b"\n", b" ")
        reading.add(found[1].lower(), value.strip(b" \t"))
        at = found.end()
    return True


class _Reading:
    """Fields that come one after the other, and what they say of each other."""

    def __init__(self, method: bytes, target: bytes) -> None:
        self._method, self._target = method, target
        self._fields: list[Field] = []
        self._host: bytes | None = None
        self._length: int | None = None
        self._codings: list[bytes] | None = None

    def add(self, name: bytes, value: bytes) -> None:
        """Raises NotHttp. Left out is what only repeats what was said."""
        if len(self._fields) > _MOST_FIELDS:
            raise NotHttp("too many header fields")
        match name:
            case b"connection" if not value:
                return
            case b"host":
                if self._host is not None:
                    if value.lower() != self._host.lower():
                        raise NotHttp("two hosts are named")
                    return
                self._host = value
            case b"content-length":
                known = self._length
                self._length = _agreed([] if known is None else [known], value)
                if known is not None:
                    return
                value = value.rpartition(b",")[2].strip(b" \t")
            case b"transfer-encoding":
                self._codings = [*(self._codings or ()), *_codings(value)]
                if b"chunked" in self._codings[:-1]:
                    raise NotHttp("chunks are not the last coding")
        self._fields.append((name, value))

    def finish(self) -> tuple[Field, ...]:
        """All that were added, and what HAProxy makes fields of. Raises NotHttp."""
        if len(self._fields) > _MOST_FIELDS:
            raise NotHttp("too many header fields")
        try:
            host = http_uri.agreed_host(self._method, self._target, self._host)
        except ValueError as error:
            raise NotHttp(str(error)) from None
        if self._codings is not None and self._codings[-1:] != [b"chunked"]:
            raise NotHttp("the end of the body cannot be told for certain")
        return (
            (b":method", self._method),
            (b":path", self._target),
            *(
                (name, host if name == b"host" and host is not None else value)
                for name, value in self._fields
                if self._codings is None or name != b"content-length"
            ),
        )


def _agreed(lengths: list[int], value: bytes) -> int:
    """The one number that all lengths are. Raises NotHttp."""
    for part in value.split(b","):
        found = _LENGTH.fullmatch(part)
        length = number_within(found[1], _LONGEST) if found is not None else None
        if length is None:
            raise NotHttp("a length is no number")
        lengths.append(length)
    if len(set(lengths)) > 1:
        raise NotHttp("two lengths are named")
    return lengths[0]


def _codings(value: bytes) -> list[bytes]:
    parts = [part.lower() for part in split_values(value)]
    return parts if parts[-1] else parts[:-1]
