# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 as a health check speaks it: one request at a time, and what has come of its answer.

Frames and headers are the h2 library's; this module is imported where a check needs it, for h2 is
imported with it. Pure: bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from penstock.wire.http_answer import Answer

_HEAD: Final = 9  # bytes of a frame before what it carries (RFC 9113, 4.1)
_LARGEST: Final = 16384  # what it carries, unless more was allowed (4.2)
_HEADERS: Final = 1
_SETTINGS: Final = 4
_PUSH: Final = 5
_GOAWAY: Final = 7
_SCHEME: Final = "https"  # HAProxy's for whatever a request does not say itself
_UNSIZED: Final = frozenset({"OPTIONS", "GET", "HEAD", "DELETE"})  # no length of no body is said
_OF_HTTP1: Final = frozenset(
    {"connection", "proxy-connection", "keep-alive", "upgrade", "transfer-encoding"}
)


class Http2:
    """One connection, from its preface on."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding=False,
            # What a check sends is what its configuration says, right or wrong.
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            # HAProxy tells faults apart that the library takes for one.
            validate_inbound_headers=False,
        )
        self._connection = h2.connection.H2Connection(config)
        self._connection.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.ENABLE_PUSH: 0}
        )
        self._connection.initiate_connection()
        self._stream = 0
        self._answer: Answer | None = None
        self._body = bytearray()
        self._unread = bytearray()  # the begin of a frame
        self._greeted = False  # the server has sent its settings
        self.over = False  # nothing more will come of the answer
        self.failed = False  # what came is no HTTP/2, or the stream was reset
        self.broken = False  # the answer has a header that HTTP/2 does not have

    def request(
        self, method: str, uri: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> bytes:
        """The bytes that ask, on a stream of their own; none when it has failed."""
        self._answer, self._body, self.over = None, bytearray(), False
        fields = list(_fields(method, uri, headers, len(body)))
        try:
            self._ask(fields, body)
        except h2.exceptions.ProtocolError:  # no stream or no window is left for it
            self._fail()
            return b""
        return self.unsent()

    def _ask(self, fields: list[tuple[str, str]], body: bytes) -> None:
        connection = self._connection
        self._stream = connection.get_next_available_stream_id()
        connection.send_headers(
            self._stream,
            [(name.encode(), value.encode(errors="surrogateescape")) for name, value in fields],
            end_stream=not body,
        )
        # A line of a configuration is shorter than a window, and longer than a frame may be.
        size = connection.max_outbound_frame_size
        for at in range(0, len(body), size):
            part = body[at : at + size]
            connection.send_data(self._stream, part, end_stream=at + size >= len(body))

    def unsent(self) -> bytes:
        """What is to be sent for the sake of the protocol."""
        return self._connection.data_to_send()

    def receive(self, data: bytes) -> None:
        """Take in what the server has sent, frame by frame: what comes before a fault counts."""
        unread = self._unread
        unread += data
        while not self.failed and len(unread) >= _HEAD:
            size, kind = int.from_bytes(unread[:3]), unread[3]
            if size > _LARGEST or (kind != _SETTINGS and not self._greeted):
                self._fail()
                return
            if len(unread) < _HEAD + size:
                return
            frame = bytes(unread[: _HEAD + size])
            del unread[: _HEAD + size]
            self._greeted = True
            if kind == _PUSH or (kind == _HEADERS and not frame[8] & 1):  # nobody asked for it
                self._fail()
                return
            # Whoever says that it will take no more requests may still answer; for the library
            # everything is over then.
            if kind != _GOAWAY:
                self._read(frame)

    def _read(self, frame: bytes) -> None:
        try:
            events = self._connection.receive_data(frame)
        except (h2.exceptions.ProtocolError, ValueError):
            self._fail()
            return
        for event in events:
            self._take(event)

    def _fail(self) -> None:
        self.failed = self.over = True

    @property
    def answer(self) -> Answer | None:
        """As far as it has come; None while its head has not."""
        answer = self._answer
        if answer is None:
            return None
        return Answer(
            answer.version,
            answer.status,
            answer.reason,
            answer.fields,
            bytes(self._body),
            self.over,
        )

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() | h2.events.InformationalResponseReceived():
                self._head(event.headers or [])
            case h2.events.DataReceived():
                self._body += event.data or b""
                self._connection.acknowledge_received_data(
                    event.flow_controlled_length or 0, event.stream_id or 0
                )
            case h2.events.StreamEnded():
                self.over = True
            case h2.events.StreamReset():
                self._fail()
            case _:
                pass

    def _head(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self._answer is not None:  # the one before was an interim one, and is judged
            return
        said = [(bytes(name), bytes(value)) for name, value in headers]
        codes = [value for name, value in said if name == b":status"]
        fields = tuple((name, value) for name, value in said if name != b":status")
        well_named = all(name == name.lower() and name[:1] != b":" for name, _ in fields)
        if len(codes) != 1 or len(codes[0]) != 3 or not codes[0].isdigit() or not well_named:
            self._fail()
            return
        self.broken = any(name.decode("latin-1") in _OF_HTTP1 for name, _ in fields)
        self._answer = Answer("2.0", int(codes[0]), "", fields)


def _fields(
    method: str, uri: str, headers: Iterable[tuple[str, str]], length: int
) -> Iterator[tuple[str, str]]:
    """In HAProxy's order; an absolute *uri* gives scheme and authority, else there is "host"."""
    said = [(name.lower(), value) for name, value in headers]
    yield ":method", method
    authority = ""
    if method == "CONNECT":
        authority = uri
        yield ":authority", authority
    else:
        scheme, path = _SCHEME, uri
        if uri[0] not in "/*" and "://" in uri:
            scheme, _, rest = uri.partition("://")
            authority, slash, path = rest.partition("/")
            path = slash + path
            authority = next((value for name, value in said if name == "host"), authority)
        yield ":scheme", scheme
        if authority:
            yield ":authority", authority
        yield ":path", path or ("*" if method == "OPTIONS" else "/")
    for name, value in said:
        if name in _OF_HTTP1 or (authority and name == "host") or name.startswith(":"):
            continue
        if name == "te":
            if "trailers" in value:
                yield "te", "trailers"
            continue
        yield name, value
    if length or method not in _UNSIZED:
        yield "content-length", str(length)
