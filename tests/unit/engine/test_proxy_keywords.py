# SPDX-License-Identifier: Apache-2.0
"""Keywords of haproxy.cfg that the proxy engine carries out, here and in HAProxy itself."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_haproxy import HaproxyRig
from unit_ports import closed_port
from unit_proxy import ProxyRig, Server, rig, wait_for

from penstock.control.desired import RealHealth

BOTH = ["penstock", pytest.param("haproxy", marks=pytest.mark.needs("haproxy"))]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyRig]:
    with rig(tmp_path) as made:
        yield made


@pytest.fixture(params=BOTH)
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ProxyRig]:
    """Penstock's proxy engine, then HAProxy."""
    made = ProxyRig(tmp_path) if request.param == "penstock" else HaproxyRig(tmp_path)
    try:
        yield made
    finally:
        made.close()


def echoes(proxy: ProxyRig, *names: str) -> dict[str, Server]:
    made = {name: proxy.server(name) for name in names}
    for one in made.values():
        one.echo()
    return made


def served(port: int, client: str) -> bool:
    """Whether *client* gets an answer."""
    try:
        with socket.create_connection(
            ("127.0.0.1", port), timeout=10, source_address=(client, 0)
        ) as one:
            one.sendall(b"x")
            return one.recv(10) != b""
    except ConnectionError:
        return False


def test_sessions_over_the_rate_wait_for_the_next_second(either: ProxyRig) -> None:
    """None comes too early, ever; and none too late, which a busy machine may need a try for."""
    server = either.server()
    for name in ("front", "front2", "front3"):
        either.run(
            f"""
frontend {name}
 bind {either.path(name)}
 rate-limit sessions 4
 default_backend b
backend b
 server s {server.where}
"""
        )
        came = arrivals(either, server, name)
        assert came[4] > 0.8
        assert came[9] > 1.4
        if came[3] < 0.5 and came[4] < 1.6 and came[9] < 3:
            return
    pytest.fail(f"they wait for longer than the next second: {came}")


def arrivals(proxy: ProxyRig, server: Server, name: str) -> list[float]:
    """When each of ten sessions comes to the server, in seconds since before the first began."""
    began = time.monotonic()
    came = []
    with contextlib.ExitStack() as clients:
        for _ in range(10):
            clients.enter_context(proxy.connect(name)).sendall(b"x")
        for _ in range(10):
            with server.accept() as conn:
                conn.recv(1)
            came.append(time.monotonic() - began)
    return came


def test_rejected_connections_do_not_count_as_sessions(either: ProxyRig) -> None:
    servers = echoes(either, "s")
    port = closed_port()
    either.run(
        f"""
frontend front
 bind 127.0.0.1:{port}
 rate-limit sessions 1
 tcp-request connection reject if {{ src 127.0.0.2 }}
 default_backend b
backend b
 server s {servers["s"].where}
"""
    )
    began = time.monotonic()
    for _ in range(20):
        assert not served(port, "127.0.0.2")
    assert either.ask(str(port)) == b"s:x"
    assert time.monotonic() - began < 15  # a second each, if they did


# -- where connections to servers come from -----------------------------------------------------


def seen_by(proxy: ProxyRig, server: Server, port: int, client: tuple[str, int]) -> tuple[str, int]:
    """Who *server* believes to speak with when *client* connects to the proxy's *port*."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(client)
        sock.settimeout(10)
        sock.connect(("127.0.0.1", port))
        sock.sendall(b"x")
        with server.accept() as conn:
            return conn.getpeername()[:2]


@pytest.mark.root
@pytest.mark.parametrize("where", ["backend", "server"])
@pytest.mark.parametrize(
    ("said", "address", "same_port"),
    [
        ("127.0.0.5", "127.0.0.5", False),
        ("0.0.0.0 usesrc 127.0.0.6", "127.0.0.6", False),
        ("0.0.0.0 usesrc clientip", "127.0.0.9", False),
        ("127.0.0.5 usesrc client", "127.0.0.9", True),
        ("127.0.0.5 interface lo", "127.0.0.5", False),
    ],
)
def test_the_source_of_connections_to_servers(
    either: ProxyRig, said: str, address: str, same_port: bool, where: str
) -> None:
    server = either.server()
    port, own = closed_port(), closed_port()
    line = f" source {said}\n" if where == "backend" else " source 127.0.0.77 usesrc client\n"
    either.run(
        f"listen front\n bind 127.0.0.1:{port}\n{line}"
        f" server s {server.where} {f'source {said}' if where == 'server' else ''}\n"
    )
    found, at = seen_by(either, server, port, ("127.0.0.9", own))
    assert found == address
    assert (at == own) is same_port


def test_an_interface_that_is_not_there_is_no_way_to_a_server(proxy: ProxyRig) -> None:
    """HAProxy would take any other."""
    servers = echoes(proxy, "s")
    proxy.run(
        f"listen front\n bind {proxy.path()}\n retries 0\n source 0.0.0.0 interface nosuch0\n"
        f" server s {servers['s'].where}\n"
    )
    assert proxy.ask() == b""


# -- chosen by what the client says -------------------------------------------------------------


def rdp(cookie: str) -> bytes:
    """A connection request as a remote desktop's client sends it."""
    text = f"Cookie: {cookie}\r\n".encode()
    return bytes([3, 0, 0, 11 + len(text), 6 + len(text), 0xE0, 0, 0, 0, 0, 0]) + text


_RDP_WAIT = " tcp-request inspect-delay 5s\n tcp-request content accept if RDP_COOKIE\n"
# HAProxy 2.6 itself no longer sees the buffer when it chooses: variables keep what was in it.
_RDP_SAID = (
    " tcp-request content set-var(txn.word) req.rdp_cookie(mstshash) if RDP_COOKIE\n"
    " tcp-request content set-var(txn.size) req.len if RDP_COOKIE\n"
)


@pytest.mark.needs("haproxy")
@pytest.mark.parametrize(
    ("balance", "hash_type"),
    [
        ("rdp-cookie", ""),
        ("rdp-cookie(user)", "map-based djb2 avalanche"),
        ("hash var(txn.word),upper", "map-based wt6"),
        ("hash var(txn.size),mul(7)", "map-based crc32"),
        ("hash var(txn.word)", "map-based sdbm avalanche"),
    ],
)
def test_the_same_words_go_to_the_same_server_as_with_haproxy(
    tmp_path: Path, balance: str, hash_type: str
) -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(contextlib.closing(Server(name))) for name in "abc"]
        for one in servers:
            one.echo()
        text = (
            f"listen front\n bind {tmp_path / 'front'}\n balance {balance}\n{_RDP_SAID}{_RDP_WAIT}"
            + (f" hash-type {hash_type}\n" if hash_type else "")
            + "".join(
                f" server {one.name} {one.where} weight {weight}\n"
                for one, weight in zip(servers, (1, 3, 2), strict=True)
            )
        )
        cookie = "user" if "user" in balance else "mstshash"
        found = []
        for kind in (ProxyRig, HaproxyRig):
            with contextlib.closing(kind(tmp_path)) as made:
                made.run(text)
                words = (rdp(f"{cookie}=u{'x' * n}") for n in range(24))
                found.append([made.ask(data=one)[:1] for one in words])
    assert found[0] == found[1]
    assert len(set(found[0])) > 1


@pytest.mark.parametrize("hash_type", ["map-based", "consistent"])
def test_what_the_client_says_is_hashed(proxy: ProxyRig, hash_type: str) -> None:
    servers = echoes(proxy, "a", "b", "c")
    proxy.run(
        f"listen front\n bind {proxy.path()}\n balance hash req.payload(0,4)\n"
        f" hash-type {hash_type}\n tcp-request inspect-delay 5s\n"
        " tcp-request content accept if { req.len ge 4 }\n"
        + "".join(f" server {n} {servers[n].where}\n" for n in servers)
    )
    found = {n: {proxy.ask(data=b"%04d%d" % (n, m))[:1] for m in range(3)} for n in range(12)}
    assert all(len(one) == 1 for one in found.values())
    assert len(set().union(*found.values())) > 1


def test_without_anything_to_hash_servers_take_turns(either: ProxyRig) -> None:
    servers = echoes(either, "a", "b")
    either.run(
        f"listen front\n bind {either.path()}\n balance rdp-cookie\n"
        " tcp-request inspect-delay 1s\n tcp-request content accept if { req.len gt 2 }\n"
        + "".join(f" server {n} {servers[n].where}\n" for n in servers)
    )
    assert {either.ask(data=b"hello")[:1] for _ in range(4)} == {b"a", b"b"}


@pytest.mark.parametrize(
    ("said", "cookie"), [("rdp-cookie", "msts"), ("rdp-cookie(other)", "other")]
)
def test_a_remote_desktops_cookie_names_its_server(
    either: ProxyRig, said: str, cookie: str
) -> None:
    servers = echoes(either, "a", "b", "c")
    either.run(
        f"listen front\n bind {either.path()}\n persist {said}\n{_RDP_WAIT}"
        + "".join(f" server {n} {servers[n].where}\n" for n in servers)
    )
    for name in ("c", "a", "c", "b", "b"):
        address, _, port = servers[name].where.rpartition(":")
        number = int.from_bytes(socket.inet_aton(address), "little")
        said = f"{cookie}={number}.{socket.htons(int(port))}.0000"
        assert either.ask(data=rdp(said))[:1].decode() == name
    assert {either.ask(data=rdp(f"{cookie}=1.2.0000"))[:1] for _ in range(6)} == {b"a", b"b", b"c"}


# -- where the client wanted to go --------------------------------------------------------------


@pytest.mark.parametrize("address", ["*", "0.0.0.0"])
def test_a_server_without_an_address_is_where_the_client_wanted_to_go(
    either: ProxyRig, address: str
) -> None:
    port = closed_port()
    with socket.create_server(("127.0.0.8", 0)) as server:
        server.settimeout(10)
        at = server.getsockname()[1]
        either.run(f"listen front\n bind :{port}\n server s {address}:{at}\n")
        with socket.create_connection(("127.0.0.8", port), timeout=10) as client:
            client.sendall(b"x")
            with server.accept()[0] as conn:
                assert conn.recv(1) == b"x"


@pytest.mark.parametrize("word", ["transparent", "option transparent"])
def test_transparent_connects_to_where_the_client_wanted_to_go(either: ProxyRig, word: str) -> None:
    servers = echoes(either, "s")
    port = closed_port()
    _, _, at = servers["s"].where.rpartition(":")
    either.run(
        f"frontend front\n bind 127.0.0.1:{port}\n"
        f" tcp-request connection set-dst-port int({at})\n default_backend b\n"
        f"backend b\n {word}\n"
    )
    assert either.ask(str(port)) == b"s:x"


# -- numbers ------------------------------------------------------------------------------------


def test_proxies_listeners_and_servers_have_haproxys_numbers(either: ProxyRig) -> None:
    servers = echoes(either, "s")
    first, second = closed_port(), closed_port()
    where = servers["s"].where
    either.run(
        f"""
global
 stats socket {either.path("more")}
frontend other
 id 3
 bind {either.path("o")}
frontend front
 bind 127.0.0.1:{first} id 2
 bind 127.0.0.1:{second} name second
 bind {either.path()}
 tcp-request inspect-delay 5s
 tcp-request content reject unless {{ fe_id 4 }}
 tcp-request content reject if {{ dst_port {first} }} !{{ so_id 2 }}
 tcp-request content reject if {{ dst_port {second} }} !{{ so_id 3 }}
 tcp-request content reject if {{ dst_port {second} }} !{{ so_name second }}
 tcp-request content reject if !{{ dst_port {first} {second} }} !{{ so_id 4 }}
 use_backend b
backend unused
backend b
 tcp-request content reject unless {{ be_id 6 }}
 tcp-response content reject unless {{ srv_id 3 }}
 server a 127.0.0.1:1 disabled
 server b 127.0.0.1:1 disabled id 2
 server s {where}
"""
    )
    assert either.ask(str(first)) == b"s:x"
    assert either.ask(str(second)) == b"s:x"
    assert either.ask() == b"s:x"


# -- sockets ------------------------------------------------------------------------------------


def test_a_server_is_told_with_a_reset_under_nolinger(either: ProxyRig) -> None:
    server = either.server()
    either.run(f"listen front\n bind {either.path()}\n option nolinger\n server s {server.where}\n")
    client = either.connect()
    client.sendall(b"x")
    with server.accept() as conn:
        assert conn.recv(1) == b"x"
        client.close()
        with pytest.raises(ConnectionError):  # noqa: PT012  # by whichever of them comes first
            while conn.recv(10) == b"":
                conn.sendall(b"y")


# -- servers that are full or down --------------------------------------------------------------


def test_a_servers_own_queue_has_a_limit(either: ProxyRig) -> None:
    servers = {name: either.server(name) for name in "ab"}
    either.run(
        f"listen front\n bind {either.path()}\n option redispatch\n use-server a if TRUE\n"
        f" server a {servers['a'].where} maxconn 1 maxqueue 1\n server b {servers['b'].where}\n"
    )
    clients = []
    for n in range(3):
        clients.append(either.connect())
        clients[-1].sendall(b"%d" % n)
        if n == 0:
            first = servers["a"].accept()
            assert first.recv(1) == b"0"
    with servers["b"].accept() as elsewhere:
        passed_over = elsewhere.recv(1)
    first.close()
    clients[0].close()
    with servers["a"].accept() as queued:
        assert {queued.recv(1), passed_over} == {b"1", b"2"}


def test_connections_of_a_server_that_goes_down_can_be_cut(proxy: ProxyRig) -> None:
    servers = {name: proxy.server(name) for name in "ab"}
    text = f"listen front\n bind {proxy.path()}\n balance first\n" + "".join(
        f" server {n} {servers[n].where} check on-marked-down shutdown-sessions\n" for n in "ab"
    )
    proxy.run(text)
    client = proxy.connect()
    client.sendall(b"x")
    behind = servers["a"].accept()
    assert behind.recv(1) == b"x"
    proxy.health[proxy.key("a")] = RealHealth(up=False)
    proxy.run(text)
    proxy.engine.cut(proxy.key("a"))  # as the controller does that reads on-marked-down
    with pytest.raises(ConnectionResetError):
        behind.recv(1)
    client.close()
    again = proxy.connect()
    again.sendall(b"y")
    assert servers["b"].accept().recv(1) == b"y"


@pytest.mark.parametrize(
    ("said", "served_by"),
    [
        ("", b"b"),
        (" option persist\n", b"a"),
        (" force-persist if TRUE\n", b"a"),
        (" ignore-persist if TRUE\n", b"b"),
    ],
)
def test_a_server_that_is_down_may_still_be_persisted_to(
    either: ProxyRig, said: str, served_by: bytes
) -> None:
    """Only its check fails, which has a port of its own; ``probe`` tells when HAProxy has seen."""
    servers = echoes(either, "a", "b")
    check = f"check inter 50ms fall 1 port {closed_port()}"
    text = (
        f"listen front\n bind {either.path()}\n use-server a if TRUE\n{said}"
        f" server a {servers['a'].where} {check}\n server b {servers['b'].where}\n"
        f"listen probe\n bind {either.path('probe')}\n balance first\n"
        f" server c {servers['a'].where} {check}\n server d {servers['b'].where}\n"
    )
    either.run(text)
    if not isinstance(either, HaproxyRig):
        assert either.ask()[:1] == b"a"
        either.health |= {either.key(name): RealHealth(up=False) for name in "ac"}
        either.run(text)
    wait_for(lambda: either.ask("probe")[:1] == b"b", "the server is down")
    assert either.ask()[:1] == served_by


def test_a_listener_has_a_limit_of_its_own(either: ProxyRig) -> None:
    server = either.server()
    either.run(
        f"listen front\n bind {either.path()} maxconn 1\n bind {either.path('more')}\n"
        f" server s {server.where}\n"
    )
    clients = [either.connect(), either.connect(), either.connect("more")]
    for number, one in enumerate(clients):
        one.sendall(b"%d" % number)
    served = [server.accept(), server.accept()]
    assert {one.recv(1) for one in served} == {b"0", b"2"}
    clients[0].close()
    for one in served:
        one.close()
    assert server.accept().recv(1) == b"1"


@pytest.mark.parametrize(
    ("data", "pool"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"web"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"other"),  # not whole when the delay is over
        (b"SSH-2.0-OpenSSH_9.2\r\n", b"other"),
        (b"OPTIONS / SIP/2.0\r\n\r\n", b"web"),  # HAProxy's parser lets it pass
        (b"GET / http/1.0\r\n\r\n", b"other"),
    ],
)
def test_http_is_told_from_other_protocols(either: ProxyRig, data: bytes, pool: bytes) -> None:
    servers = echoes(either, "web", "other")
    either.run(
        f"""
frontend front
 bind {either.path()}
 tcp-request inspect-delay 300ms
 tcp-request content accept if HTTP
 use_backend web if HTTP
 default_backend other
backend web
 server web {servers["web"].where}
backend other
 server other {servers["other"].where}
"""
    )
    assert either.ask(data=data).partition(b":")[0] == pool


def test_a_rule_may_want_the_header_of_a_netscaler(either: ProxyRig) -> None:
    servers = echoes(either, "a")
    either.run(
        f"listen front\n bind {either.path()}\n"
        " tcp-request connection expect-netscaler-cip layer4\n"
        f" server a {servers['a'].where}\n"
    )
    assert either.ask(data=bytes(64)[1:] + b"x") == b""


@pytest.mark.parametrize("name", ["maxconnrate", "maxsessrate"])
def test_rates_of_all_services_together(proxy: ProxyRig, name: str) -> None:
    """Connections that come too fast wait to be accepted, whichever service they are for."""
    server = proxy.server("s", unix=True)
    server.echo()
    text = f"""
global
 {name} 3
listen one
 bind {proxy.path("one")}
 server s {server.where}
listen two
 bind {proxy.path("two")}
 server s {server.where}
"""
    proxy.run(text)
    began = time.monotonic()
    for _ in range(5):
        assert proxy.ask("one") == b"s:x"
        assert proxy.ask("two") == b"s:x"
    # Three in the first second at most, and as many in each that follows: the tenth is in the
    # fourth second, which begins after two whole ones and what is left of the first.
    assert time.monotonic() - began > 1.5
    proxy.run(text.replace(f"{name} 3", ""))
    assert proxy.ask("one") == b"s:x"
