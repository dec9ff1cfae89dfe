# SPDX-License-Identifier: Apache-2.0
"""The proxy engine with real sockets and real worker processes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_proxy import ProxyRig, rig, wait_for
from unit_waiting import ready

from penstock.engine.proxy import Owner, process
from penstock.errors import DatapathError

ONE = """
listen front
 bind {path}
 server a {a}
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyRig]:
    with rig(tmp_path) as made:
        yield made


def pair(proxy: ProxyRig, more: str = "") -> tuple[socket.socket, socket.socket]:
    """Both ends of one proxied connection."""
    server = proxy.server()
    proxy.run(ONE.format(path=proxy.path(), a=server.where) + more)
    client = proxy.connect()
    client.sendall(b"hello")
    behind = server.accept()
    assert behind.recv(100) == b"hello"
    return client, behind


def test_bytes_go_both_ways_and_are_counted(proxy: ProxyRig) -> None:
    client, behind = pair(proxy)
    behind.sendall(b"welcome")
    assert client.recv(100) == b"welcome"
    assert proxy.live("front") == 1
    assert proxy.engine.live(proxy.key("a")) == 1
    client.close()
    assert behind.recv(100) == b""
    behind.close()
    wait_for(lambda: proxy.live("front") == 0, "the session is over")
    traffic = proxy.engine.counters().services["front"]
    assert (traffic.total, traffic.bytes_in, traffic.bytes_out) == (1, 5, 7)
    assert proxy.engine.live(proxy.key("a")) == 0


@pytest.mark.parametrize("first", ["client", "server"])
def test_the_other_direction_goes_on_after_a_half_close(proxy: ProxyRig, first: str) -> None:
    client, behind = pair(proxy)
    one, other = (client, behind) if first == "client" else (behind, client)
    one.shutdown(socket.SHUT_WR)
    assert other.recv(100) == b""
    other.sendall(b"still here")
    assert one.recv(100) == b"still here"
    other.close()
    assert one.recv(100) == b""
    one.close()
    wait_for(lambda: proxy.live("front") == 0, "the session is over")


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_is_carried_across(tmp_path: Path, first: str) -> None:
    with rig(tmp_path) as proxy:
        server = proxy.server()
        port = closed_port()
        proxy.run(ONE.format(path=f"127.0.0.1:{port}", a=server.where))
        client = proxy.connect(str(port))
        client.sendall(b"x")
        behind = server.accept()
        assert behind.recv(10) == b"x"
        one, other = (client, behind) if first == "client" else (behind, client)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        with pytest.raises(ConnectionResetError):
            other.recv(100)
        other.close()


def test_whoever_does_not_read_stops_the_sender_after_a_bounded_amount(proxy: ProxyRig) -> None:
    client, behind = pair(proxy)
    behind.setblocking(False)
    block, sent = bytes(65536), 0
    quiet = 0
    while quiet < 50:  # a while in which nothing more is taken
        try:
            sent += behind.send(block)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            wait_for_writable(behind)
    assert sent < 16 << 20  # the kernel's socket buffers and one buffer of ours
    received = 0
    while received < sent:
        received += len(client.recv(65536))
    assert received == sent
    client.close()
    behind.close()


def wait_for_writable(sock: socket.socket) -> None:
    ready(sock, seconds=0.01, writing=True)


def test_much_data_arrives_as_it_was(proxy: ProxyRig) -> None:
    client, behind = pair(proxy)
    data = random.Random(1).randbytes(8 << 20)  # noqa: S311  # the same in every run
    sender = threading.Thread(target=lambda: (behind.sendall(data), behind.close()))
    sender.start()
    got = bytearray()
    while part := client.recv(1 << 16):
        got += part
    sender.join()
    assert got == data
    client.close()


def test_silence_ends_a_session(proxy: ProxyRig) -> None:
    client, behind = pair(proxy, " timeout client 150\n timeout server 150\n")
    assert client.recv(100) == b""
    assert behind.recv(100) == b""
    client.close()
    behind.close()


def test_a_half_closed_session_may_have_less_time(proxy: ProxyRig) -> None:
    client, behind = pair(proxy, " timeout client-fin 150\n timeout server-fin 150\n")
    client.shutdown(socket.SHUT_WR)
    assert behind.recv(100) == b""
    assert client.recv(100) == b""  # though the server has not ended
    client.close()
    behind.close()


def test_a_connect_that_fails_is_tried_elsewhere(proxy: ProxyRig) -> None:
    alive = proxy.server("alive")
    alive.echo()
    proxy.run(
        f"""
listen front
 bind {proxy.path()}
 option redispatch 1
 retries 2
 server dead 127.0.0.1:{closed_port()}
 server alive {alive.where}
"""
    )
    assert [proxy.ask() for _ in range(4)] == [b"alive:x"] * 4


def test_without_a_server_the_client_is_told_by_the_end(proxy: ProxyRig) -> None:
    proxy.run(
        f"listen front\n bind {proxy.path()}\n retries 0\n server a 127.0.0.1:{closed_port()}\n"
    )
    assert proxy.ask() == b""
    wait_for(lambda: proxy.live("front") == 0, "the session is over")


@pytest.mark.parametrize("server", ["", " server a 127.0.0.1:1 disabled", " server a {closed}"])
def test_without_a_server_nobody_is_reset(proxy: ProxyRig, server: str) -> None:
    port = closed_port()
    more = server.format(closed=f"127.0.0.1:{closed_port()}")
    proxy.run(f"listen front\n bind 127.0.0.1:{port}\n retries 0\n{more}\n")
    (pid,) = proxy.engine.pids()
    with proxy.connect(str(port)):  # the worker is there
        os.kill(pid, signal.SIGSTOP)
    with proxy.connect(str(port)) as client:
        client.sendall(b"hello")
        os.kill(pid, signal.SIGCONT)
        assert client.recv(100) == b""


def test_a_full_server_is_waited_for(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    proxy.run(f"listen front\n bind {proxy.path()}\n server a {server.where} maxconn 1\n")
    first = proxy.connect()
    first.sendall(b"1")
    assert first.recv(10) == b"a:1"
    second = proxy.connect()
    second.sendall(b"2")
    wait_for(lambda: proxy.live("front") == 2, "both are there")
    assert proxy.engine.live(proxy.key("a")) == 1
    first.close()
    assert second.recv(10) == b"a:2"
    second.close()


def test_the_queue_has_a_timeout(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    proxy.run(
        f"listen front\n bind {proxy.path()}\n timeout queue 150\n"
        f" server a {server.where} maxconn 1\n"
    )
    first = proxy.connect()
    first.sendall(b"1")
    assert first.recv(10) == b"a:1"
    assert proxy.ask() == b""
    first.close()


def test_a_long_queue_behind_a_server_that_is_gone(proxy: ProxyRig) -> None:
    server = proxy.server(unix=True)
    proxy.run(
        f"listen front\n bind {proxy.path()}\n retries 0\n server a {server.where} maxconn 1\n"
    )
    first = proxy.connect()
    first.sendall(b"1")
    held = server.accept()
    waiting = [proxy.connect() for _ in range(400)]
    wait_for(lambda: proxy.live("front") == 401, "all are there")
    os.unlink(server.where)  # from now on a connect fails at once
    held.close()
    for one in (first, *waiting):
        with contextlib.suppress(ConnectionError):
            while one.recv(10):
                pass
        one.close()
    wait_for(lambda: proxy.live("front") == 0, "all are over")
    assert proxy.engine.live(proxy.key("a")) == 0


def test_a_full_service_does_not_accept(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    proxy.run(f"listen front\n bind {proxy.path()}\n maxconn 1\n server a {server.where}\n")
    first = proxy.connect()
    first.sendall(b"1")
    assert first.recv(10) == b"a:1"
    second = proxy.connect()
    second.sendall(b"2")
    assert proxy.live("front") == 1
    first.close()
    assert second.recv(10) == b"a:2"
    second.close()


@pytest.mark.parametrize(
    ("balance", "expected"),
    [("roundrobin", {b"a:x": 3, b"b:x": 3}), ("source", {b"a:x": 6}), ("first", {b"a:x": 6})],
)
def test_servers_are_chosen_as_configured(
    proxy: ProxyRig, balance: str, expected: dict[bytes, int]
) -> None:
    a, b = proxy.server("a"), proxy.server("b")
    a.echo()
    b.echo()
    proxy.run(
        f"listen front\n bind {proxy.path()}\n balance {balance}\n"
        f" server a {a.where}\n server b {b.where}\n"
    )
    answers = [proxy.ask() for _ in range(6)]
    assert {one: answers.count(one) for one in set(answers)} == expected


def test_leastconn_looks_at_what_is_open(proxy: ProxyRig) -> None:
    a, b = proxy.server("a"), proxy.server("b")
    a.echo()
    b.echo()
    proxy.run(
        f"listen front\n bind {proxy.path()}\n balance leastconn\n"
        f" server a {a.where}\n server b {b.where}\n"
    )
    held = []
    for _ in range(6):
        one = proxy.connect()
        one.sendall(b"x")
        assert one.recv(10)
        held.append(one)
    assert [proxy.engine.live(proxy.key(name)) for name in "ab"] == [3, 3]
    for one in held:
        one.close()


def test_clients_are_told_of_in_the_proxy_protocol_and_read_from_it(proxy: ProxyRig) -> None:
    server = proxy.server(unix=True)
    inner, outer = closed_port(), closed_port()
    proxy.run(
        f"""
listen outer
 bind 127.0.0.1:{outer}
 server inner 127.0.0.1:{inner} send-proxy-v2
listen inner
 bind 127.0.0.1:{inner} accept-proxy
 server a {server.where} send-proxy
"""
    )
    client = proxy.connect(str(outer))
    mine = client.getsockname()[1]
    client.sendall(b"data")
    behind = server.accept()
    expected = f"PROXY TCP4 127.0.0.1 127.0.0.1 {mine} {outer}\r\ndata".encode()
    got = b""
    while len(got) < len(expected):
        got += behind.recv(1000)
    assert got == expected
    client.close()
    behind.close()


def test_a_client_that_sends_no_header_is_closed(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    proxy.run(f"listen front\n bind {proxy.path()} accept-proxy\n server a {server.where}\n")
    assert proxy.ask(data=b"GET / HTTP/1.0\r\n\r\n") == b""


def test_abstract_sockets(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    name = f"penstock-test-{os.getpid()}"
    proxy.run(
        f"listen front\n bind {proxy.path()}\n server x abns@{name}\n"
        f"listen behind\n bind abns@{name}\n server a {server.where}\n"
    )
    assert proxy.ask() == b"a:x"


def test_a_reload_keeps_sessions_and_what_waits_to_be_accepted(proxy: ProxyRig) -> None:
    client, behind = pair(proxy)
    other = proxy.server("other")
    other.echo()
    proxy.run(ONE.format(path=proxy.path(), a=other.where) + " timeout queue 7s\n")
    behind.sendall(b"old")
    assert client.recv(10) == b"old"
    assert proxy.ask() == b"other:x"
    proxy.run("")
    behind.sendall(b"older")
    assert client.recv(10) == b"older"
    client.close()
    behind.close()
    assert not Path(proxy.path()).exists()


def test_ports_that_are_taken_are_named_and_nothing_changes(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    proxy.run(ONE.format(path=proxy.path(), a=server.where))
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(DatapathError, match=r"cannot listen on 127.0.0.1:\d+: Address already"),
    ):
        proxy.run(ONE.format(path=f"127.0.0.1:{taken.getsockname()[1]}", a=server.where))
    assert proxy.ask() == b"a:x"


def test_a_worker_that_dies_is_replaced(proxy: ProxyRig) -> None:
    server = proxy.server("a")
    server.echo()
    proxy.run(ONE.format(path=proxy.path(), a=server.where))
    assert proxy.ask() == b"a:x"
    (pid,) = proxy.engine.pids()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: proxy.engine.tick() or proxy.engine.pids() != [pid], "another worker")
    assert proxy.ask() == b"a:x"
    wait_for(lambda: proxy.live("front") == 0, "nothing is counted that is not there")


def test_a_worker_that_is_stuck_is_replaced(
    proxy: ProxyRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_PATIENCE", 0.2)
    server = proxy.server("a")
    server.echo()
    proxy.run(ONE.format(path=proxy.path(), a=server.where))
    (pid,) = proxy.engine.pids()
    os.kill(pid, signal.SIGSTOP)
    for n in range(400):  # more than the socket to it takes
        proxy.run(ONE.format(path=proxy.path(), a=server.where) + f" timeout queue {n + 1}s\n")
    wait_for(lambda: proxy.engine.tick() or proxy.engine.pids() != [pid], "another worker")
    assert proxy.ask() == b"a:x"


def test_sessions_outlive_an_engine_that_keeps_them(tmp_path: Path) -> None:
    with rig(tmp_path) as proxy:
        client, behind = pair(proxy)
        (pid,) = proxy.engine.pids()
        proxy.engine.close(keep=True)
        behind.sendall(b"still")
        assert client.recv(10) == b"still"
        client.close()
        assert behind.recv(10) == b""
        behind.close()
        wait_for(lambda: not _runs(pid), "the worker ends with its last session")
        proxy.engine = type(proxy.engine)()


def _runs(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)
        os.kill(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return False
    return True


def test_failed_connects_count_until_one_succeeds(proxy: ProxyRig) -> None:
    server = proxy.server()
    port = closed_port()
    proxy.run(ONE.format(path=f"127.0.0.1:{port}", a=server.where))
    key = proxy.key("a")
    server.close()
    with proxy.connect(str(port)) as client:
        client.sendall(b"x")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    wait_for(lambda: proxy.engine.errors_in_a_row(key) == 4, "three retries are counted as well")
    where = ("127.0.0.1", key.port.value)
    with socket.create_server(where) as back, proxy.connect(str(port)) as client:
        client.sendall(b"x")
        back.accept()[0].close()
        wait_for(lambda: proxy.engine.errors_in_a_row(key) == 0, "it is forgotten")


def test_connections_to_one_server_can_be_cut(proxy: ProxyRig) -> None:
    server = proxy.server()
    port = closed_port()
    proxy.run(ONE.format(path=f"127.0.0.1:{port}", a=server.where))
    client = proxy.connect(str(port))
    client.sendall(b"x")
    behind = server.accept()
    assert behind.recv(10) == b"x"
    proxy.engine.cut(proxy.key("a"))
    for one in (client, behind):
        with pytest.raises(ConnectionResetError):
            one.recv(100)
        one.close()


def test_several_workers_share_what_they_count(tmp_path: Path) -> None:
    with rig(tmp_path, workers=2) as proxy:
        server = proxy.server("a")
        server.echo()
        port = closed_port()
        proxy.run(ONE.format(path=f"127.0.0.1:{port}", a=server.where))
        held = []
        for _ in range(16):
            one = proxy.connect(str(port))
            one.sendall(b"x")
            assert one.recv(10) == b"a:x"
            held.append(one)
        assert proxy.live("front") == 16
        assert proxy.engine.live(proxy.key("a")) == 16
        for one in held:
            one.close()
        wait_for(lambda: proxy.live("front") == 0, "all are over")


@pytest.mark.root
@pytest.mark.parametrize("owner", [Owner(), Owner(65534, 65534)])
def test_workers_keep_few_rights(tmp_path: Path, owner: Owner) -> None:
    with rig(tmp_path, owner=owner) as proxy:
        server = proxy.server("a")
        server.echo()
        proxy.run(ONE.format(path=proxy.path(), a=server.where))
        assert proxy.ask() == b"a:x"
        (pid,) = proxy.engine.pids()
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        kept = int(status["CapEff"], 16)
        assert kept & ~(1 << 2 | 1 << 10 | 1 << 12) == 0
        assert (int(status["CapPrm"], 16), status["NoNewPrivs"]) == (kept, "1")
        if owner.user != -1:
            assert (status["Uid"].split()[1], status["Groups"].strip()) == ("65534", "")


def test_a_path_has_the_mode_of_the_last_reload_and_stays_if_it_is_another_s(
    proxy: ProxyRig,
) -> None:
    server = proxy.server("a")
    server.echo()
    place = Path(proxy.path())
    proxy.run(ONE.format(path=proxy.path(), a=server.where))
    assert proxy.ask() == b"a:x"
    proxy.run(ONE.format(path=f"{proxy.path()} mode 600", a=server.where))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert proxy.ask() == b"a:x"
    place.unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(place))
        proxy.run("")
        assert place.exists()
