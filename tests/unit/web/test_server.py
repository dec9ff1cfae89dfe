# SPDX-License-Identifier: Apache-2.0
"""The sockets: several requests, slow and hostile clients, limits, reloads, TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from unit_web import Web, body_of, frontend, server, services_of, status_of

from penstock.errors import DatapathError
from penstock.web.http1 import MAX_HEAD
from penstock.web.limits import MAX_PRODUCING

STATS = "listen s\n bind {d}/a\n stats uri /\n"
GET = b"GET /;csv HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_connection_takes_several_requests(web: Web) -> None:
    web.follow(STATS)
    with web.connect() as client:
        for _ in range(3):
            assert status_of(web.say(client, GET)) == 200
        assert web.say(client, GET + GET).count(b"HTTP/1.1 200 OK") == 2
        assert web.say(client, GET.replace(b"Host: x", b"Connection: close")).endswith(b"<closed>")


def test_requests_may_come_in_pieces(web: Web) -> None:
    web.follow(STATS)
    with web.connect() as client:
        for at in range(len(GET) - 1):
            assert web.say(client, GET[at : at + 1]) == b""
        assert status_of(web.say(client, GET[-1:])) == 200


def test_who_sends_no_more_is_answered_all_the_same(web: Web) -> None:
    web.follow(STATS)
    with web.connect() as client:
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        answer = web.hear(client)
        assert status_of(answer) == 200
        assert answer.endswith(b"<closed>")


def test_http_1_0_gets_one_answer(web: Web) -> None:
    web.follow(STATS + " monitor-uri /up\n")
    assert web.talk(b"GET /up HTTP/1.0\r\n\r\n").endswith(b"<closed>")
    kept = web.talk(b"GET /up HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"\r\nconnection: keep-alive\r\n" in kept
    assert not kept.endswith(b"<closed>")


def test_httpclose_ends_each_connection(web: Web) -> None:
    web.follow(STATS + " option httpclose\n")
    assert web.talk(GET).endswith(b"<closed>")


@pytest.mark.parametrize(
    "data",
    [
        b"FOO\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * MAX_HEAD + b"\r\n\r\n",
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_hung_up_on(web: Web, data: bytes) -> None:
    web.follow(STATS)
    answer = web.talk(data)
    assert status_of(answer) == 400
    assert answer.endswith(b"<closed>")


def test_who_begins_and_does_not_go_on_is_told_so_in_time(web: Web) -> None:
    web.follow(STATS + " timeout http-request 2s\n")
    with web.connect() as client:
        assert web.say(client, b"GET / HT") == b""
        web.now += 1.5
        assert web.say(client, b"TP/1.1\r\n") == b""  # some bytes do not buy time
        web.now += 0.6
        answer = web.hear(client)
        assert status_of(answer) == 408
        assert answer.endswith(b"<closed>")


def test_who_says_nothing_is_forgotten(web: Web) -> None:
    web.follow(STATS + " timeout http-request 2s\n timeout http-keep-alive 5s\n")
    with web.connect() as silent, web.connect() as kept:
        assert status_of(web.say(kept, GET)) == 200
        web.now += 2.1
        assert web.hear(silent) == b"<closed>"
        assert web.hear(kept) == b""
        web.now += 3.0
        assert web.hear(kept) == b"<closed>"


def test_nobody_waits_for_ever_without_timeouts(web: Web) -> None:
    web.follow(STATS + " timeout client 0\n")
    with web.connect() as client:
        web.turns()
        web.now += 31
        assert web.hear(client) == b"<closed>"


def test_who_does_not_read_is_dropped(web: Web) -> None:
    web.statistics.table += [server("b", f"s{n}" * 50) for n in range(5000)]
    web.follow(STATS)
    with web.connect() as client:
        client.sendall(GET)
        web.turns()
        assert web.server._producing == 1  # no more is made than fits
        web.now += 9.5
        web.turns()
        assert web.server._producing == 0
        assert len(web.server._by_fd) == 1


def test_a_long_answer_arrives_whole(web: Web) -> None:
    web.statistics.table += [server("b", f"s{n}") for n in range(50_000)]
    web.follow(STATS)
    assert body_of(web.talk(GET)).count("\n") == 50_001
    old = web.talk(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert b"chunked" not in old
    assert old.endswith(b"<closed>")
    assert body_of(old).count("\n") == 50_001


def test_long_answers_are_made_side_by_side(web: Web) -> None:
    web.statistics.table += [server("b", f"s{n}") for n in range(3000)]
    web.follow(STATS)
    clients = [web.connect() for _ in range(4)]
    for client in clients:
        client.sendall(GET)
    web.turns(12)
    begun = [client.recv(1 << 16) for client in clients]
    assert all(begun)
    for client, first in zip(clients, begun, strict=True):
        assert body_of(first + web.hear(client)).count("\n") == 3001
        client.close()


def test_too_many_long_answers_are_refused(web: Web) -> None:
    web.statistics.table += [server("b", f"s{n}" * 20) for n in range(5000)]
    web.follow(STATS)
    clients = [web.connect() for _ in range(MAX_PRODUCING)]
    for client in clients:
        client.sendall(GET)
    web.turns(2000)
    assert status_of(web.talk(GET)) == 503
    for client in clients:
        client.close()
    web.turns()
    assert status_of(web.talk(GET)) == 200


def test_the_silent_make_room_for_those_who_ask(web: Web) -> None:
    web.follow(STATS + " maxconn 5\n")
    silent = [web.connect() for _ in range(5)]
    web.turns()
    assert status_of(web.talk(GET)) == 200
    assert web.hear(silent[0]) == b"<closed>"
    assert web.hear(silent[1]) == b""
    for one in silent:
        one.close()
    web.turns()
    assert status_of(web.talk(GET)) == 200


def test_one_turn_does_little(web: Web) -> None:
    """However many ask at once: health checks are in the same loop."""
    web.follow(STATS)
    clients = [web.connect() for _ in range(20)]
    for client in clients:
        web.server.run_once(web.now)
        client.sendall(GET)
    for _ in range(30):
        before = len(web.statistics.asked)
        web.server.run_once(web.now)
        assert len(web.statistics.asked) - before <= 1
    assert len(web.statistics.asked) == 20
    assert web.server.next_deadline() is not None
    for client in clients:
        assert status_of(web.hear(client)) == 200
        client.close()


def test_clients_that_vanish_leave_nothing_behind(web: Web) -> None:
    web.follow(STATS)
    for _ in range(50):
        client = web.connect()
        client.sendall(GET)
        web.server.run_once(web.now)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    web.turns()
    assert len(web.server._by_fd) == 1  # the listener


def test_a_fault_in_an_answer_is_the_answers_alone(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.follow(STATS)
    monkeypatch.setattr(web.statistics, "rows", lambda *_: 1 / 0)
    assert status_of(web.talk(GET)) == 500
    monkeypatch.setattr(web.statistics, "rows", lambda *_: (1 / 0 for _ in range(1)))
    assert web.talk(GET).endswith(b"<closed>")
    monkeypatch.undo()
    assert status_of(web.talk(GET)) == 200


# -- reloads ---------------------------------------------------------------------------------


def test_a_reload_keeps_sockets_and_changes_answers(web: Web) -> None:
    web.follow(STATS)
    with web.connect() as waiting:
        web.follow(STATS.replace("uri /", "uri /new") + "listen t\n bind {d}/b\n stats uri /\n")
        assert status_of(web.say(waiting, GET)) == 503
        assert status_of(web.talk(GET, "b")) == 200
    web.follow(STATS)
    assert not (web.directory / "b").exists()
    assert status_of(web.talk(GET)) == 200


def test_a_reload_that_cannot_listen_changes_nothing(web: Web) -> None:
    web.follow(STATS)
    (web.directory / "file").write_text("no socket")
    with pytest.raises(DatapathError, match="cannot listen"):
        web.follow(STATS.replace("{d}/a", "{d}/c") + " bind {d}/file\n")
    assert status_of(web.talk(GET)) == 200


def test_a_reload_that_is_refused_later_leaves_no_socket(web: Web) -> None:
    web.follow(STATS)
    text = "listen t\n bind {d}/b\n stats uri /\n".replace("{d}", str(web.directory))
    web.server.stage(services_of(text)).drop()
    assert not (web.directory / "b").exists()
    assert status_of(web.talk(GET)) == 200


def test_a_disabled_section_does_not_listen(web: Web) -> None:
    web.follow(STATS + " disabled\n")
    assert not (web.directory / "a").exists()


# -- what comes before HTTP --------------------------------------------------------------------


def test_a_proxy_header_says_who_asks(web: Web) -> None:
    web.follow(
        "listen s\n bind {d}/a accept-proxy\n stats uri /\n"
        " http-request deny if { src 192.0.2.1 }\n"
        " tcp-request connection reject if { src 192.0.2.2 }\n"
    )

    def ask(source: str) -> bytes:
        return web.talk(f"PROXY TCP4 {source} 192.0.2.9 1 2\r\n".encode() + GET)

    assert status_of(ask("192.0.2.7")) == 200
    assert status_of(ask("192.0.2.1")) == 403
    assert ask("192.0.2.2") == b"<closed>"
    assert web.talk(GET) == b"<closed>"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    key, crt = tmp_path / "key", tmp_path / "crt"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            str(key),
            "-out",
            str(crt),
            "-subj",
            "/CN=x",
            "-days",
            "9",
        ],
        check=True,
        capture_output=True,
    )
    pem = tmp_path / "pem"
    pem.write_text(key.read_text() + crt.read_text())
    return pem


def over_tls(web: Web, client: socket.socket, data: bytes) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    sock = context.wrap_socket(client, do_handshake_on_connect=False)

    def until(act: Callable[[], bytes | int | None]) -> bytes | int | None:
        for _ in range(50):
            try:
                return act()
            except ssl.SSLWantReadError:
                web.turns(20)
        pytest.fail("no answer")

    until(sock.do_handshake)
    sock.sendall(data)
    heard = b""
    while not heard.endswith(b"\n") or b"\r\n0\r\n\r\n" not in heard:
        piece = until(lambda: sock.recv(1 << 16))
        assert isinstance(piece, bytes)
        if not piece:
            break
        heard += piece
    return heard


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("header", [b"", b"PROXY TCP4 192.0.2.7 192.0.2.9 1 2\r\n"])
def test_tls_where_the_listener_has_it(web: Web, certificate: Path, header: bytes) -> None:
    accept = " accept-proxy" if header else ""
    web.statistics.table.append(frontend("f"))
    web.follow(
        f"listen s\n bind {{d}}/a ssl crt {certificate}{accept}\n stats uri /\n"
        " http-request deny unless { ssl_fc }\n"
    )
    with web.connect() as client:
        if header:
            client.sendall(header)
        answer = over_tls(web, client, GET)
    assert status_of(answer) == 200
    assert "\nf,FRONTEND," in body_of(answer)
    assert b"HTTP" not in web.talk(GET)  # in the clear


# -- counters ----------------------------------------------------------------------------------


def test_what_happens_is_counted_over_reloads(web: Web) -> None:
    text = STATS + " stats auth a:b\n http-request deny if { path /deny }\n"
    web.follow(text)
    with web.connect() as client:
        assert status_of(web.say(client, b"GET /deny HTTP/1.1\r\n\r\n")) == 403
        tally = web.server.tally("s")
        assert tally is not None
        assert (tally.live, tally.most_live, tally.connections) == (1, 1, 1)
        assert status_of(web.say(client, GET)) == 401
    web.follow(text + " option httpclose\n")
    assert status_of(web.talk(b"junk\r\n\r\n")) == 400
    tally = web.server.tally("s")
    assert tally is not None
    assert (tally.live, tally.most_live, tally.connections) == (0, 1, 2)
    assert (tally.requests, tally.denied, tally.invalid) == (3, 1, 1)
    assert tally.responses == [0, 0, 0, 3, 0, 0]
    assert tally.bytes_in == len(b"GET /deny HTTP/1.1\r\n\r\n" + GET + b"junk\r\n\r\n")
    assert tally.bytes_out > 100
    assert web.server.tally("nobody") is None


def test_an_answer_that_waits_is_due_since_it_was_asked_for(web: Web) -> None:
    """A loop compares that with a moment before it asked for the deadline."""
    web.follow(STATS)
    with web.connect() as client, web.connect() as other:
        web.turns()
        client.sendall(GET)
        other.sendall(GET)
        web.server.run_once(web.now)
        before, web.now = web.now, web.now + 1
        deadline = web.server.next_deadline()
        assert deadline is not None
        assert deadline <= before


def test_another_mode_is_no_other_socket(web: Web, tmp_path: Path) -> None:
    web.follow(STATS)
    web.follow(STATS.replace("{d}/a", "{d}/a mode 666"))
    assert status_of(web.talk(GET)) == 200
    with pytest.raises(DatapathError, match="unknown user or group"):
        web.follow(STATS.replace("{d}/a", "{d}/a user nobody-at-all"))
    assert status_of(web.talk(GET)) == 200
