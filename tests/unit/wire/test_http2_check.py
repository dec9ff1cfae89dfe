# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 of a check, without a connection: what is said, and what is understood."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from penstock.wire.http2_check import Http2

sys.path.insert(0, str(Path(__file__).parent.parent / "health"))
from frames import PING, SETTINGS, SETTINGS_ACK, answer, data, frame, goaway, reset


def asked(*arguments: object) -> tuple[list[tuple[str, str]], bytes]:
    """The headers and the body of a request, as a server reads them."""
    server = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, validate_inbound_headers=False)
    )
    server.initiate_connection()
    headers: list[tuple[str, str]] = []
    body, ended = b"", 0
    for event in server.receive_data(Http2().request(*arguments)):  # type: ignore[arg-type]
        match event:
            case h2.events.RequestReceived():
                headers = [(str(n, "latin-1"), str(v, "latin-1")) for n, v in event.headers or []]  # type: ignore[arg-type]
            case h2.events.DataReceived():
                body += event.data or b""
            case h2.events.StreamEnded():
                ended += 1
            case _:
                pass
    assert ended == 1
    return headers, body


def test_a_request() -> None:
    assert asked("GET", "/x", [("Host", "a"), ("Connection", "close")], b"") == (
        [(":method", "GET"), (":scheme", "https"), (":path", "/x"), ("host", "a")],
        b"",
    )


def test_an_absolute_uri_gives_scheme_and_authority() -> None:
    assert asked("GET", "http://a.example/b", [], b"")[0] == [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.example"),
        (":path", "/b"),
    ]
    assert (":path", "*") in asked("OPTIONS", "http://a.example", [], b"")[0]


def test_a_body_longer_than_a_frame() -> None:
    body = b"x" * 40_000
    headers, came = asked("POST", "/", [], body)
    assert ("content-length", "40000") in headers
    assert came == body


def test_te_is_for_trailers() -> None:
    headers, _ = asked("GET", "/", [("TE", "gzip, trailers"), ("te", "gzip")], b"")
    assert [field for field in headers if field[0] == "te"] == [("te", "trailers")]


@pytest.fixture
def client() -> Http2:
    one = Http2()
    one.request("GET", "/", [], b"")
    return one


def test_an_answer_byte_by_byte(client: Http2) -> None:
    whole = SETTINGS + answer(200, ("a", "b"), ends=False) + data(b"hello")
    for at in range(len(whole)):
        client.receive(whole[at : at + 1])
    found = client.answer
    assert found is not None
    assert (found.version, found.status, found.reason) == ("2.0", 200, "")
    assert (found.fields, found.body, found.whole) == (((b"a", b"b"),), b"hello", True)


def test_what_the_protocol_wants_is_said(client: Http2) -> None:
    client.receive(SETTINGS + PING)
    assert client.unsent() == SETTINGS_ACK + PING[:4] + b"\x01" + PING[5:]
    assert client.unsent() == b""


def test_windows_are_opened_again(client: Http2) -> None:
    client.receive(SETTINGS + answer(200, ends=False))
    client.unsent()
    for _ in range(5):
        client.receive(data(bytes(16_000), ends=False))
    assert b"\x00\x00\x04\x08" in client.unsent()
    assert not client.failed


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        answer(200),  # before its settings
        SETTINGS + reset(0),
        SETTINGS + frame(0, 1, 1, b"x"),  # data before headers
        SETTINGS + frame(1, 5, 1, b"\xff" * 6),
        SETTINGS + frame(9, 4, 1, b"\x88"),  # a continuation of nothing
        SETTINGS + frame(4, 0, 1),  # settings of a stream
        b"\xff\xff\xff\x04\0\0\0\0\0",
    ],
)
def test_faults(client: Http2, said: bytes) -> None:
    client.receive(said)
    client.receive(answer(200))
    assert (client.failed, client.over, client.answer) == (True, True, None)


def test_what_came_before_a_fault_counts(client: Http2) -> None:
    client.receive(SETTINGS + answer(503, ends=False) + data(b"why", ends=False) + reset(2))
    assert client.failed
    assert client.answer is not None
    assert (client.answer.status, client.answer.body) == (503, b"why")


def test_a_server_that_goes_away_may_still_answer(client: Http2) -> None:
    client.receive(SETTINGS + goaway(1, 0) + answer(204))
    assert client.answer is not None
    assert client.answer.status == 204


def test_another_request_on_the_same_connection(client: Http2) -> None:
    client.receive(SETTINGS + answer(200))
    client.request("GET", "/", [], b"")
    assert client.answer is None
    client.receive(answer(404, stream=3))
    assert client.answer is not None
    assert client.answer.status == 404


def test_a_request_that_the_server_leaves_no_room_for(client: Http2) -> None:
    """A window of 0 bytes for every stream (RFC 9113, 6.5.2)."""
    client.receive(frame(4, 0, 0, b"\0\4\0\0\0\0") + answer(200))
    assert client.request("POST", "/", [], b"x") == b""
    assert client.failed


def test_no_pushes_are_wanted() -> None:
    assert b"\0\2\0\0\0\0" in Http2().unsent()


def test_the_library_is_loaded_by_those_who_need_it() -> None:
    said = (
        "import sys, penstock.daemon\n"
        "from penstock.config.haproxy import loads\n"
        "from penstock.health.execution import Script\n"
        "text = 'backend b\\n option httpchk\\n server s 192.0.2.1:80 check\\n'\n"
        "check = loads(text).configuration.pools[0].reals[0].check\n"
        "Script(check.ruleset, 'b')\n"
        "assert not {'h2', 'hpack', 'hyperframe'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", said], check=True)
