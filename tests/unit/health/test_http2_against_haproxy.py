# SPDX-License-Identifier: Apache-2.0
"""Checks in HTTP/2, by penstock and by the real haproxy: what is asked, what comes of answers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from http2_server import Asked, Http2Server
from scripted import HAPROXY, READ, Scripted, Seen, Step, ours, theirs

from frames import (
    END_HEADERS,
    PING,
    SETTINGS,
    answer,
    asks,
    data,
    frame,
    goaway,
    literal,
    reset,
    status,
)

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")

_CERTIFICATES = Path(__file__).parent.parent / "engine" / "certificates"
_DEFAULTS = """defaults
    mode tcp
    timeout connect 10s
    timeout check {patience}
    timeout client 1s
    timeout server 1s
"""


def _both(
    lines: Mapping[str, str],
    ports: Mapping[str, int],
    patience: str,
    between: Callable[[], None] = lambda: None,
) -> None:
    """A backend a name; the server's words are the last of its lines, after a bar.

    *between*: after penstock's checks, before HAProxy's.
    """
    text = _DEFAULTS.format(patience=patience)
    for name, one in lines.items():
        *body, server = one.split("|")
        text += f"backend {name}\n" + "".join(f"    {line}\n" for line in body)
        text += f"    server s1 127.0.0.1:{ports[name]} check inter 3s downinter 1m {server}\n"
    mine = ours(text)
    between()
    real = theirs(text, len(lines))
    assert {name: (mine[name], real[name]) for name in lines if mine[name] != real[name]} == {}


class Server(Scripted):
    """One that waits for a request; HAProxy, which waits for its settings, wants them before."""

    def hear(self, one: socket.socket) -> bytes:
        said = b""
        while not asks(said) and (more := one.recv(65536)):
            said += more
        return said


def _first(servers: Mapping[str, Http2Server]) -> dict[str, Asked]:
    """What each was asked first since this was asked last."""
    found = {name: one.asked[0] for name, one in servers.items()}
    for one in servers.values():
        one.asked.clear()
    return found


# -- what is asked ---------------------------------------------------------------------------

REQUESTS = {
    "plain": "option httpchk|check-proto h2",
    "get": "option httpchk GET /alive?x=%20|check-proto h2",
    "host": "option httpchk|http-check send meth GET uri / ver HTTP/1.1 hdr Host a.example"
    " hdr X-Upper Yes|check-proto h2",
    "absolute": "option httpchk|http-check send meth GET uri http://a.example/b|check-proto h2",
    "absolute-host": "option httpchk|http-check send meth GET uri http://a.example/b ver HTTP/1.1"
    " hdr host b.example|check-proto h2",
    "authority": "option httpchk|http-check send meth OPTIONS uri http://a.example|check-proto h2",
    "body": "option httpchk|http-check send meth POST uri /b body 'some text'|check-proto h2",
    "no-body": "option httpchk|http-check send meth PUT uri /b|check-proto h2",
    "trace": "option httpchk|http-check send meth TRACE uri /b|check-proto h2",
    "head": "option httpchk HEAD /|check-proto h2",
    "of-http1": "option httpchk|http-check send meth GET hdr connection keep-alive hdr te"
    " 'trailers' hdr upgrade x|check-proto h2",
    "step": "option httpchk|http-check connect proto h2|http-check send uri /step|",
    "step-first": "option httpchk|http-check connect proto h2|http-check send uri /step|"
    "check-proto h1",
    "format": "option httpchk|http-check send uri-lf /%[str(a)] hdr x-b %[be_name]|check-proto h2",
    "state": "option httpchk|http-check send-state|check-proto h2",
}


def test_requests() -> None:
    servers = {name: Http2Server(b"hello") for name in REQUESTS}
    ports = {name: one.port for name, one in servers.items()}
    mines: dict[str, Asked] = {}
    try:
        _both(REQUESTS, ports, "30s", lambda: mines.update(_first(servers)))
        for name, real in _first(servers).items():
            mine = mines[name]
            if name == "state":  # times and counts stand in its value
                for one in (mine, real):
                    one.headers = [field for field in one.headers if "state" not in field[0]]
            assert mine == real, name
    finally:
        for one in servers.values():
            one.close()


# -- what comes of answers -------------------------------------------------------------------

ANSWERS: dict[str, tuple[Step, ...]] = {
    "ok": (answer(200),),
    "found": (answer(302, ("location", "/x")),),
    "missing": (answer(404),),
    "unavailable": (answer(503),),
    "no-content": (answer(204),),
    "interim": (answer(100, ends=False), answer(200)),
    "body": (answer(200, ("a", "b"), ends=False), data(b"hello")),
    "body-in-parts": (answer(200, ends=False), data(b"hel", ends=False), 0.05, data(b"lo")),
    "other-body": (answer(200, ("a", "c"), ends=False), data(b"bye")),
    "long-body": (answer(200, ends=False), data(b"x" * 8000, ends=False), data(b"hello")),
    "in-parts": (answer(200)[:4], 0.05, answer(200)[4:]),
    "continued": (frame(1, 1, 1, status(200)), frame(9, END_HEADERS, 1, literal("a", "b"))),
    "reset": (reset(7),),
    "reset-without-error": (reset(0),),
    "going-away": (goaway(1, 0), answer(200, ("a", "b"))),
    "pinged": (PING, 0.05, answer(200)),
    "of-another-kind": (frame(99, 0, 0, b"xx"), answer(200)),
    "fields-at-fault": (frame(1, 5, 1, b"\xff\xff\xff\xff\xff"),),
    "no-status": (frame(1, 5, 1, literal("a", "b")),),
    "status-of-letters": (frame(1, 5, 1, literal(":status", "abc")),),
    "status-too-short": (frame(1, 5, 1, literal(":status", "20")),),
    "of-http1": (answer(200, ("connection", "close")),),
    "in-capitals": (answer(200, ("X-A", "b")),),
    "a-requests": (answer(200, (":path", "/")),),
    "pushed": (frame(5, END_HEADERS, 1, b"\0\0\0\2\x82\x84\x86"),),
    "of-nobodys-stream": (answer(200, stream=2),),
    "of-a-later-stream": (answer(200, stream=3),),
    "no-window": (frame(8, 0, 0, bytes(4)), answer(200)),
    "too-large": (frame(1, 5, 1, bytes(17000)),),
}
GREETING = (SETTINGS[:5], 0.05, SETTINGS[5:])
# Where settings do not come first.
OTHERS: dict[str, tuple[Step, ...]] = {
    "settings-missing": (answer(200),),
    "http1": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",),
    "something": (b"x" * 50,),
}


@pytest.mark.parametrize(
    "rules",
    [
        "",
        "http-check expect string hello|",
        "http-check expect hdr name a value b|",
        "http-check expect ! rstatus ^5 comment c|",
        "http-check expect status 200 on-error '%[res.ver]' on-success '%[status]'|",
        "http-check disable-on-404|",
    ],
    ids=["implied", "body", "header", "status", "formats", "404"],
)
def test_answers(rules: str) -> None:
    servers: dict[str, Scripted] = {
        name: Server((*GREETING, READ, *steps)) for name, steps in ANSWERS.items()
    }
    servers |= {name: Scripted((READ, *steps)) for name, steps in OTHERS.items()}
    ports = {name: one.port for name, one in servers.items()}
    lines = dict.fromkeys(servers, f"option httpchk GET /|{rules}check-proto h2")
    try:
        _both(lines, ports, "10s")
    finally:
        for one in servers.values():
            one.close()


def test_silence() -> None:
    scripts: dict[str, tuple[Step, ...]] = {
        "all": (READ,),
        "settings": (SETTINGS, READ),
        "head-alone": (SETTINGS, READ, answer(200, ends=False)),
    }
    servers = {
        name: (Scripted if name == "all" else Server)(script) for name, script in scripts.items()
    }
    ports = {name: one.port for name, one in servers.items()}
    rules = "option httpchk|http-check expect string x|check-proto h2"
    try:
        _both(dict.fromkeys(scripts, rules), ports, "1s")
    finally:
        for one in servers.values():
            one.close()


# -- over TLS --------------------------------------------------------------------------------


def _tls(*protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_CERTIFICATES / "default.pem")
    context.set_alpn_protocols(list(protocols))
    return context


TLS = {
    "chosen": "option httpchk|ssl verify none check-alpn h2,http/1.1",
    "chosen-by-a-step": "option httpchk|http-check connect ssl alpn h2,http/1.1|http-check send|"
    "ssl verify none",
    "chosen-by-default": "option httpchk|http-check connect default|http-check send|"
    "ssl verify none check-alpn h2",
}


def test_over_tls() -> None:
    servers = {name: Http2Server(context=_tls("h2", "http/1.1")) for name in TLS}
    ports = {name: one.port for name, one in servers.items()}
    mine: dict[str, Asked] = {}
    try:
        _both(TLS, ports, "30s", lambda: mine.update(_first(servers)))
        assert mine == _first(servers)
    finally:
        for one in servers.values():
            one.close()


def test_a_server_may_choose_http1() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    servers = {
        name: Scripted((READ, ok), _tls("http/1.1"))
        for name in ("chosen", "chosen-by-a-step", "chosen-by-default")
    }
    ports = {name: one.port for name, one in servers.items()}
    try:
        _both({name: TLS[name].replace("h2 ", "h2,http/1.1 ") for name in servers}, ports, "30s")
        assert all(b"HTTP/1.0\r\n" in one.first() for one in servers.values())
    finally:
        for one in servers.values():
            one.close()


@pytest.mark.parametrize("words", ["", "ssl verify none"])
def test_what_is_told_is_done(words: str) -> None:
    """Over TLS, too, where HAProxy 2.6.12 waits for an answer to a request that it never sends."""
    server = Http2Server(b"hello", _tls("http/1.1") if words else None)
    text = _DEFAULTS.format(patience="30s") + (
        "backend b\n    option httpchk\n    http-check expect string hello\n"
        f"    server s1 127.0.0.1:{server.port} check check-proto h2 {words}\n"
    )
    try:
        assert ours(text) == {"b": Seen("L7OK", "200", "")}
        assert (":method", "OPTIONS") in server.asked[0].headers
    finally:
        server.close()
