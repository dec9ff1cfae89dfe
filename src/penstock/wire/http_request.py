# SPDX-License-Identifier: Apache-2.0
"""The head of an HTTP/1 request, taken apart (RFC 9112); as strict as HAProxy 2.6.

What could be read in two ways, such as a folded line or two different lengths, is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_FIELDS: Final = 101  # HAProxy's tune.http.maxhdr
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])\Z")
# Blanks around the value are stripped afterwards: asking for them here takes quadratic time.
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)\Z")
_BEGINNING: Final = re.compile(_TOKEN + rb"( [\x21-\x7e]*( [A-Z0-9./]*\r?)?)?")
_NUMBER: Final = re.compile(r"[0-9]{1,18}\Z")
_END: Final = re.compile(rb"\r?\n\r?\n")


class NotARequest(ValueError):
    """It breaks the rules of HTTP/1: 400."""


@dataclass(frozen=True, slots=True)
class Head:
    """*fields* are in order, names in lower case."""

    method: str
    target: str
    minor: int  # HTTP/1.0 or 1.1
    fields: tuple[tuple[str, str], ...]
    length: int | None  # of the body; None: it is sent in chunks

    def values(self, name: str) -> list[str]:
        """Values of the fields called *name*, a line each."""
        return [value for field, value in self.fields if field == name]

    def items(self, name: str) -> list[str]:
        """The parts of *name*'s values, which commas separate."""
        return [
            part.strip() for value in self.values(name) for part in value.split(",") if part.strip()
        ]

    @property
    def path(self) -> str:
        """Path and query, "" for a target that has none."""
        return path_of(self.target)

    @property
    def keeps_alive(self) -> bool:
        """Whether the client would have another answer on this connection."""
        options = {option.lower() for option in self.items("connection")}
        return "close" not in options and (self.minor == 1 or "keep-alive" in options)


def end_of_head(data: bytes | bytearray) -> int:
    """Where the body begins; -1 while the empty line is missing."""
    found = _END.search(data)
    return found.end() if found else -1


def may_begin(data: bytes | bytearray) -> bool:
    """Whether a head may begin like *data*, which is not empty and not whole."""
    line = data.partition(b"\n")[0]
    return line in (b"", b"\r") or bool(_BEGINNING.fullmatch(line))


def parse(head: bytes) -> Head:
    """*head* ends with the empty line. Raises NotARequest."""
    lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    first = _LINE.match(lines[0]) if lines else None
    if first is None:
        raise NotARequest("the first line is no request line")
    if len(lines) - 1 > MAX_FIELDS:
        raise NotARequest(f"more than {MAX_FIELDS} header fields")
    fields = tuple(_field(line) for line in lines[1:])
    minor = int(first[3])
    return Head(first[1].decode(), first[2].decode(), minor, fields, _length(fields, minor))


def path_of(target: str) -> str:
    """What follows the authority of an absolute target; others as they are."""
    if target.startswith("/"):
        return target
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*", target)
    return target[scheme.end() :] or "/" if scheme else ""


def _field(line: bytes) -> tuple[str, str]:
    found = _FIELD.match(line)
    if found is None:
        raise NotARequest("a line is no header field")
    return found[1].decode().lower(), found[2].strip(b" \t").decode("latin-1")


def _length(fields: tuple[tuple[str, str], ...], minor: int) -> int | None:
    codings = [
        part.strip().lower()
        for name, value in fields
        if name == "transfer-encoding"
        for part in value.split(",")
    ]
    sizes = {
        part.strip()
        for name, value in fields
        if name == "content-length"
        for part in value.split(",")
    }
    if codings:
        if codings != ["chunked"] or sizes or not minor:
            raise NotARequest("the end of the body cannot be told for certain")
        return None
    if len(sizes) > 1 or not all(_NUMBER.match(size) for size in sizes):
        raise NotARequest("the length of the body is no number")
    return int(next(iter(sizes), "0"))
