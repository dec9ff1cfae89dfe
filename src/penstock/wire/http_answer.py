# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1 answer, as far as it has come (RFC 9112): what HAProxy 2.6 takes for one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from penstock.wire.digits import number_within
from penstock.wire.http_values import Field, Message

_LONGEST: Final = (1 << 64) - 1
_STATUS: Final = re.compile(rb"HTTP/([0-9]\.[0-9]) +([0-9]{3})(?: ([^\r\n]*))?\r?\Z")
_MAY_BEGIN: Final = re.compile(rb"[A-Z0-9./]*(?: |\Z)")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*\r?\Z", re.DOTALL)
_BODILESS: Final = (204, 304)


class NotHttpError(ValueError):
    """What came is no answer of HTTP/1."""


@dataclass(frozen=True, slots=True)
class Answer(Message):
    """The head of an answer, and its body so far."""

    version: str  # as "1.1"
    status: int
    reason: str
    fields: tuple[Field, ...] = ()
    body: bytes = b""
    whole: bool = False


def parse(data: bytes, *, ended: bool, to_head: bool = False) -> Answer | None:
    """The answer that *data* begin; None while its head is not whole.

    *ended*: no more will come. *to_head*: it answers HEAD, and has no body. Raises NotHttpError.
    """
    data = data.lstrip(b"\r\n")
    lines: list[bytes] = []
    at = 0
    while True:
        end = data.find(b"\n", at)
        if end < 0:
            if not lines and not _may_begin(data):
                raise NotHttpError("the first line is no status line")
            if ended:
                raise NotHttpError("it ends within its head")
            return None
        line, at = data[at:end], end + 1
        if line in (b"", b"\r"):
            break
        lines.append(line)
        if len(lines) == 1 and not _STATUS.match(line):
            raise NotHttpError("the first line is no status line")
    first = _STATUS.match(lines[0])
    assert first is not None  # noqa: S101  # looked at above
    fields = tuple(_fields(lines[1:]))
    status = int(first[2])
    body, whole = _body(data[at:], fields, ended=ended)
    if to_head or status < 200 or status in _BODILESS:
        body, whole = b"", True
    reason = (first[3] or b"").decode(errors="surrogateescape")
    return Answer(first[1].decode(), status, reason, fields, body, whole or ended)


def _may_begin(data: bytes) -> bool:
    head = b"HTTP/"
    return data[: len(head)] == head[: len(data)] and _MAY_BEGIN.match(data) is not None


def _fields(lines: list[bytes]) -> Iterator[Field]:
    folded: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and folded:
            folded[-1] = folded[-1].rstrip(b"\r") + b" " + line.strip()
        else:
            folded.append(line)
    for line in folded:
        field = _FIELD.match(line)
        if field is None:
            raise NotHttpError("a line is no header field")
        yield field[1].lower(), field[2]


def _body(data: bytes, fields: tuple[Field, ...], *, ended: bool) -> tuple[bytes, bool]:
    """What there is of the body, and whether that is all of it."""
    lengths = {
        one.strip()
        for name, value in fields
        if name == b"content-length"
        for one in value.split(b",")
    }
    if len(lengths) > 1 or not all(one.isdigit() for one in lengths):
        raise NotHttpError("its length is not one number")
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
    if codings and codings[-1].rpartition(b",")[2].strip() == b"chunked":
        return _chunks(data)
    if lengths:
        length = number_within(next(iter(lengths)), _LONGEST)
        if length is None:
            raise NotHttpError("its length is more than a number of 64 bits")
        return data[:length], len(data) >= length
    return data, ended


def _chunks(data: bytes) -> tuple[bytes, bool]:
    body, at = b"", 0
    while True:
        end = data.find(b"\n", at)
        if end < 0:
            return body, False
        try:
            size = int(data[at:end].split(b";")[0].strip(), 16)
        except ValueError:
            raise NotHttpError("a chunk has no size") from None
        begin = end + 1
        if not size:
            return body, b"\n\r\n" in data[end:] or b"\n\n" in data[end:]
        body += data[begin : begin + size]
        end = data.find(b"\n", begin + size)
        if len(data) < begin + size or end < 0:
            return body, False
        at = end + 1
