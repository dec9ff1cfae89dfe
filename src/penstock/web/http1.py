# SPDX-License-Identifier: Apache-2.0
"""One connection's bytes -> requests, and answers -> bytes (RFC 9112). No I/O.

The limits are HAProxy's buffers: 15 KiB for a head, as much for the body of a POST.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Final

from penstock.wire.http_request import Head, NotARequest, end_of_head, may_begin, parse

MAX_HEAD: Final = 15360  # bytes: tune.bufsize less tune.maxrewrite
MAX_BODY: Final = 15360
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r?\n")
_MAX_CHUNK_LINE: Final = 1024
# Where HAProxy's words are not those of the registry.
_REASONS: Final = {400: "Bad request", 408: "Request Time-out", 504: "Gateway Time-out"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a whole. *excess*: its body was too long and is not all here."""

    head: Head
    raw: bytes  # the head as it came, for rules that look at it
    body: bytes = b""
    excess: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    fields: tuple[tuple[str, str], ...] = ()
    close: bool = False  # whatever the client would like
    pieces: Iterator[str] | None = None  # a long body, made while the client takes it


class Hangup(Enum):
    """In place of a response: the connection is closed without a word."""

    SILENT = "silent"


Answer = Response | Hangup


class _State(Enum):
    HEAD = "head"
    BODY = "body"
    CHUNKS = "chunks"
    TRAILER = "trailer"


@dataclass(slots=True)
class Reader:
    """Collects what has arrived. Raises NotARequest for what can be no request."""

    _data: bytearray = field(default_factory=bytearray)
    _state: _State = _State.HEAD
    _head: Head | None = None
    _raw: bytes = b""
    _body: bytearray = field(default_factory=bytearray)
    _told: bool = False

    @property
    def idle(self) -> bool:
        """Nothing of a next request is here."""
        return self._state is _State.HEAD and not self._data

    @property
    def awaits_continue(self) -> bool:
        """True once for a client that waits to be asked for its body (RFC 9110, 10.1.1)."""
        head = self._head
        if head is None or self._told or self._body or self._data:
            return False
        self._told = True
        return head.minor == 1 and "100-continue" in (v.lower() for v in head.values("expect"))

    def receive(self, data: bytes) -> None:
        self._data += data

    def take(self) -> Request | None:
        """The next request; None while it is not whole. Raises NotARequest."""
        if self._state is _State.HEAD and not self._take_head():
            return None
        head = self._head
        assert head is not None  # noqa: S101  # the state says so
        if self._state is _State.BODY:
            return self._take_body(head)
        return self._take_chunks(head)

    def _take_head(self) -> bool:
        while self._data[:2] == b"\r\n" or self._data[:1] == b"\n":  # RFC 9112, 2.2
            del self._data[: 2 if self._data[0] == ord("\r") else 1]
        end = end_of_head(self._data)
        if (end if end >= 0 else len(self._data)) > MAX_HEAD:
            raise NotARequest(f"a head of more than {MAX_HEAD} bytes")
        if end < 0:
            if not may_begin(self._data):
                raise NotARequest("what comes is no request line")
            return False
        self._raw = bytes(self._data[:end])
        self._head = parse(self._raw)
        del self._data[:end]
        self._told = False
        self._state = _State.BODY if self._head.length is not None else _State.CHUNKS
        return True

    def _take_body(self, head: Head) -> Request | None:
        wanted = head.length or 0
        if wanted > MAX_BODY:
            return self._whole(head, excess=True)
        if len(self._data) < wanted:
            return None
        self._body += self._data[:wanted]
        del self._data[:wanted]
        return self._whole(head)

    def _take_chunks(self, head: Head) -> Request | None:
        while self._state is _State.CHUNKS:
            line = _CHUNK_LINE.match(self._data)
            if line is None:
                if len(self._data) > _MAX_CHUNK_LINE or b"\n" in self._data:
                    raise NotARequest("a line is no length of a chunk")
                return None
            size = int(line[1], 16)
            if not size:
                del self._data[: line.end()]
                self._state = _State.TRAILER
                break
            if len(self._body) + size > MAX_BODY:
                return self._whole(head, excess=True)
            end = line.end() + size
            behind = bytes(self._data[end : end + 2])
            if not behind or behind == b"\r":
                return None
            if not behind.startswith((b"\r\n", b"\n")):
                raise NotARequest("a chunk is longer than it says")
            self._body += self._data[line.end() : end]
            del self._data[: end + (2 if behind == b"\r\n" else 1)]
        return self._take_trailer(head)

    def _take_trailer(self, head: Head) -> Request | None:
        while (end := self._data.find(b"\n")) >= 0:
            line = bytes(self._data[:end]).removesuffix(b"\r")
            del self._data[: end + 1]
            if not line:
                return self._whole(head)
        if len(self._data) > MAX_HEAD:
            raise NotARequest("a trailer that does not end")
        return None

    def _whole(self, head: Head, *, excess: bool = False) -> Request:
        made = Request(head, self._raw, bytes(self._body), excess)
        self._state, self._head, self._raw = _State.HEAD, None, b""
        self._body.clear()
        if excess:
            self._data.clear()  # nobody could tell where the next request begins
        return made


CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def is_chunked(response: Response, head: Head) -> bool:
    """Whether its body is sent in chunks; else its end is that of the connection."""
    return response.pieces is not None and bool(head.minor)


def chunk(data: bytes) -> bytes:
    """One chunk; an empty one is the last."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encoded(response: Response, head: Head | None, *, close: bool) -> bytes:
    """*response* to a request with *head*, without its pieces; None: it was none."""
    lines = [f"HTTP/1.1 {response.status} {_reason(response.status)}"]
    lines += [f"{name}: {value}" for name, value in response.fields]
    if response.pieces is None:
        lines.append(f"content-length: {len(response.body)}")
    elif head is not None and is_chunked(response, head):
        lines.append("transfer-encoding: chunked")
    if close:
        lines.append("connection: close")
    elif head is not None and not head.minor:
        lines.append("connection: keep-alive")
    text = "\r\n".join((*lines, "", "")).encode("latin-1", "replace")
    return text if head is not None and head.method == "HEAD" else text + response.body


def _reason(status: int) -> str:
    try:
        return _REASONS.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return "Other"
