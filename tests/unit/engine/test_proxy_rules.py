# SPDX-License-Identifier: Apache-2.0
"""Rules, stick tables and peers at work in the proxy engine, with real connections."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_proxy import ProxyRig, Server, rig, wait_for

from penstock.wire import proxy_protocol


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyRig]:
    with rig(tmp_path) as made:
        yield made


def echoes(proxy: ProxyRig, *names: str) -> dict[str, Server]:
    made = {name: proxy.server(name) for name in names}
    for one in made.values():
        one.echo()
    return made


def backends(servers: dict[str, Server], more: str = "") -> str:
    return "".join(
        f"backend {name}\n{more} server {name} {server.where}\n" for name, server in servers.items()
    )


def hello(name: str, alpn: tuple[str, ...] = ()) -> bytes:
    """The first bytes of a TLS client that asks for *name*."""
    context = ssl.create_default_context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(into, out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def test_pools_are_chosen_by_the_name_in_the_clients_hello(proxy: ProxyRig) -> None:
    servers = echoes(proxy, "a", "b", "other")
    proxy.run(
        f"""
frontend front
 bind {proxy.path()}
 tcp-request inspect-delay 5s
 tcp-request content accept if {{ req.ssl_hello_type 1 }}
 tcp-request content reject
 use_backend a if {{ req.ssl_sni -i a.example }}
 use_backend b if {{ req.ssl_sni -m end .b.example }} {{ req.ssl_alpn h2 }}
 default_backend other
"""
        + backends(servers)
    )
    assert proxy.ask(data=hello("A.example"))[:2] == b"a:"
    assert proxy.ask(data=hello("x.b.example", ("h2",)))[:2] == b"b:"
    assert proxy.ask(data=hello("x.b.example")).startswith(b"other:")


def test_a_hello_in_two_parts_is_waited_for(proxy: ProxyRig) -> None:
    servers = echoes(proxy, "a", "other")
    proxy.run(
        f"""
frontend front
 bind {proxy.path()}
 tcp-request inspect-delay 20s
 tcp-request content accept if {{ req.ssl_hello_type 1 }}
 use_backend a if {{ req.ssl_sni a.example }}
 default_backend other
"""
        + backends(servers)
    )
    data = hello("a.example")
    with proxy.connect() as client:
        client.sendall(data[:40])
        wait_for(lambda: proxy.live("front") == 1, "it has come")
        client.sendall(data[40:])
        assert client.recv(65536)[:2] == b"a:"


REQUEST = b"GET /x?k=7 HTTP/1.1\r\nHost: a.example\r\n\r\n"
BY_HOST = """
 use_backend a if { hdr(host) a.example } METH_GET { path_beg /x }
 use_backend b if HTTP
 default_backend other
"""


def test_pools_are_chosen_by_a_request_of_http(proxy: ProxyRig) -> None:
    servers = echoes(proxy, "a", "b", "other")
    proxy.run(
        f"""
frontend front
 bind {proxy.path()}
 tcp-request inspect-delay 20s
 tcp-request content accept if HTTP or !HTTP
{BY_HOST}"""
        + backends(servers)
    )
    assert proxy.ask(data=REQUEST) == b"a:" + REQUEST
    assert proxy.ask(data=REQUEST.replace(b"a.", b"b.")).startswith(b"b:")
    assert proxy.ask(data=b"SSH-2.0-x\r\n") == b"other:SSH-2.0-x\r\n"
    with proxy.connect() as client:
        client.sendall(REQUEST[:20])
        wait_for(lambda: proxy.live("front") == 1, "it has come")
        client.sendall(REQUEST[20:])
        assert client.recv(65536) == b"a:" + REQUEST


def test_what_has_been_said_already_chooses_a_pool_without_a_delay(proxy: ProxyRig) -> None:
    """As in HAProxy, which reads what is there before it looks at its rules."""
    servers = {name: proxy.server(name) for name in ("a", "b", "other")}
    proxy.run(
        f"""
frontend front
 bind {proxy.path()} accept-proxy
{BY_HOST}"""
        + backends(servers)
    )
    header = b"PROXY TCP4 192.0.2.7 192.0.2.8 7 8\r\n"
    with proxy.connect() as client:
        client.sendall(header + REQUEST)
        with servers["a"].accept() as server:
            assert server.recv(65536) == REQUEST
    with proxy.connect() as client:
        client.sendall(header)
        with servers["other"].accept() as server:
            client.sendall(REQUEST)
            assert server.recv(65536) == REQUEST


def test_servers_are_remembered_by_what_a_request_says(proxy: ProxyRig) -> None:
    one, two = proxy.server("one"), proxy.server("two")
    one.echo()
    two.echo()
    proxy.run(
        f"""
frontend front
 bind {proxy.path()}
 default_backend pool
backend pool
 balance roundrobin
 tcp-request inspect-delay 20s
 tcp-request content reject if {{ path /no }}
 tcp-request content accept if HTTP
 stick-table type string len 20 size 1k
 stick on urlp(k)
 use-server two if {{ hdr(host) two.example }}
 server one {one.where}
 server two {two.where}
"""
    )
    first = proxy.ask(data=REQUEST)[:4]
    assert {proxy.ask(data=REQUEST)[:4] for _ in range(3)} == {first}
    other = {proxy.ask(data=REQUEST.replace(b"k=7", b"k=%d" % at))[:4] for at in range(4)}
    assert other == {b"one:", b"two:"}
    assert proxy.ask(data=REQUEST.replace(b"a.ex", b"two.ex").replace(b"k=", b"m="))[:4] == b"two:"
    assert proxy.ask(data=b"GET /no HTTP/1.0\r\n\r\n") == b""


def test_sessions_have_names_that_rules_and_servers_are_told(proxy: ProxyRig) -> None:
    one, other = proxy.server("one"), proxy.server("other")
    proxy.run(
        f"""
frontend front
 bind {proxy.path()} accept-proxy
 unique-id-format %{{+X}}o%ci:%cp%%%[path]
 tcp-request connection set-var(sess.name) unique-id
 tcp-request inspect-delay 20s
 tcp-request content accept if {{ var(sess.name) -m found }}
 tcp-request content reject if !HTTP
 tcp-request content set-var(txn.name) unique-id
 use_backend named if {{ var(txn.name) -m str C0000207:0007%/x }} {{ unique-id -m beg C0000207 }}
 default_backend nameless
backend named
 server one {one.where} send-proxy-v2 proxy-v2-options unique-id
backend nameless
 server other {other.where} send-proxy-v2 proxy-v2-options unique-id
frontend plain
 bind {proxy.path("plain")} accept-proxy
 default_backend nameless
"""
    )
    with proxy.connect() as client:
        client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 7 8\r\n" + REQUEST)
        with one.accept() as server:
            header = proxy_protocol.parse(server.recv(65536))
    assert header is not None
    assert header.tlvs.unique_id == b"C0000207:0007%/x"
    with proxy.connect("plain") as client:
        client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 7 8\r\n")
        with other.accept() as server:
            header = proxy_protocol.parse(server.recv(65536))
    assert header is not None
    assert header.tlvs.unique_id == b""  # HAProxy tells it, though it is empty


def test_what_does_not_come_in_time_must_do_without(proxy: ProxyRig) -> None:
    servers = echoes(proxy, "a", "other")
    proxy.run(
        f"""
frontend front
 bind {proxy.path()}
 tcp-request inspect-delay 150ms
 tcp-request content accept if {{ req.len gt 100 }}
 use_backend a if {{ req.len gt 100 }}
 default_backend other
"""
        + backends(servers)
    )
    assert proxy.ask(data=b"short") == b"other:short"
    assert proxy.ask(data=b"x" * 200)[:2] == b"a:"


def test_connections_are_rejected_and_counted(tmp_path: Path) -> None:
    with rig(tmp_path) as proxy:
        servers = echoes(proxy, "a")
        port = closed_port()
        proxy.run(
            f"""
frontend front
 bind 127.0.0.1:{port}
 acl friends src 10.0.0.0/8 192.168.0.0/16
 tcp-request connection reject if !friends
 default_backend a
"""
            + backends(servers)
        )
        with proxy.connect(str(port)) as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"x")
                assert client.recv(10) == b""
            wait_for(lambda: proxy.live("front") == 0, "it is over")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_rates_of_a_source_are_kept_in_a_table(tmp_path: Path, address: str) -> None:
    with rig(tmp_path) as proxy:
        servers = echoes(proxy, "a")
        port = closed_port()
        proxy.run(
            f"""
frontend front
 bind 127.0.0.1:{port}
 stick-table type ip size 1k expire 1m store conn_cnt
 tcp-request content track-sc0 src
 tcp-request content reject if {{ sc0_conn_cnt gt 3 }} {{ req.len ge 0 }}
 default_backend a
"""
            + backends(servers)
        )
        answers = []
        for _ in range(5):
            with socket.create_connection(
                ("127.0.0.1", port), timeout=20, source_address=(address, 0)
            ) as client:
                try:
                    client.sendall(b"x")
                    answers.append(client.recv(10))
                except ConnectionError:
                    answers.append(b"")
        assert answers == [b"a:x"] * 3 + [b""] * 2


def sticky(proxy: ProxyRig, port: int, servers: dict[str, Server], more: str = "") -> None:
    lines = "".join(f" server {name} {one.where}\n" for name, one in servers.items())
    proxy.run(
        f"listen front\n bind 127.0.0.1:{port}\n stick-table type ip size 1k expire 10m\n"
        f" stick on src\n{more}{lines}"
    )


def test_a_client_comes_back_to_its_server_after_a_reload_too(proxy: ProxyRig) -> None:
    servers = echoes(proxy, "a", "b", "c")
    port = closed_port()
    sticky(proxy, port, servers)
    first = {proxy.ask(str(port)) for _ in range(6)}
    assert len(first) == 1
    sticky(proxy, port, servers, " timeout queue 3s\n")
    assert {proxy.ask(str(port)) for _ in range(6)} == first


def test_a_server_is_named_by_a_rule(proxy: ProxyRig) -> None:
    servers = echoes(proxy, "a", "b")
    lines = "".join(f" server {name} {one.where}\n" for name, one in servers.items())
    proxy.run(
        f"""
listen front
 bind {proxy.path()}
 tcp-request inspect-delay 5s
 tcp-request content accept if {{ req.len gt 0 }}
 use-server b if {{ req.payload(0,1) -m str B }}
 use-server a unless {{ req.payload(0,1) -m str B }}
{lines}"""
    )
    assert [proxy.ask(data=one) for one in (b"B", b"x", b"B", b"y")] == [
        b"b:B",
        b"a:x",
        b"b:B",
        b"a:y",
    ]


def test_a_server_of_weight_0_is_for_those_that_belong_to_it(proxy: ProxyRig) -> None:
    servers = echoes(proxy, "a", "b")
    proxy.run(
        f"""
listen front
 bind {proxy.path()}
 tcp-request inspect-delay 5s
 tcp-request content accept if {{ req.len gt 0 }}
 use-server b if {{ req.payload(0,1) -m str B }}
 server a {servers["a"].where}
 server b {servers["b"].where} weight 0
"""
    )
    assert [proxy.ask(data=one) for one in (b"x", b"B", b"y")] == [b"a:x", b"b:B", b"a:y"]


def test_what_a_server_says_may_end_the_connection(proxy: ProxyRig) -> None:
    servers = echoes(proxy, "good", "bad")
    proxy.run(
        f"""
frontend front
 bind {proxy.path()}
 tcp-request inspect-delay 5s
 tcp-request content accept if {{ req.len gt 0 }}
 use_backend bad if {{ req.payload(0,1) -m str b }}
 default_backend good
"""
        + backends(
            servers,
            " tcp-response inspect-delay 5s\n"
            " tcp-response content reject if { res.payload(0,3) -m str bad }\n",
        )
    )
    assert proxy.ask(data=b"x") == b"good:x"
    assert proxy.ask(data=b"b") == b""


def test_tables_are_shared_with_peers(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    ports = [closed_port(), closed_port()]
    with rig(tmp_path / "1") as one, rig(tmp_path / "2") as two:
        servers = echoes(one, "a", "b", "c")
        fronts = [closed_port(), closed_port()]
        for number, proxy in enumerate((one, two)):
            lines = "".join(f" server {name} {each.where}\n" for name, each in servers.items())
            proxy.run(
                f"""
peers mesh
 peer n0 127.0.0.1:{ports[0]}
 peer n1 127.0.0.1:{ports[1]}
listen front
 bind 127.0.0.1:{fronts[number]}
 stick-table type ip size 1k expire 10m peers mesh
 stick on src
{lines}""",
                local=f"n{number}",
            )
        for _ in range(2):  # the next in turn is not the first
            one.ask(str(fronts[0]))
        mine = one.ask(str(fronts[0]))
        wait_for(lambda: two.ask(str(fronts[1])) == mine, "the other knows")
        assert {two.ask(str(fronts[1])) for _ in range(4)} == {mine}


def test_a_map_names_the_backend_and_one_that_nobody_has_is_the_default(
    proxy: ProxyRig, tmp_path: Path
) -> None:
    servers = echoes(proxy, "a", "b")
    table = tmp_path / "backends.map"
    front = f"""
frontend front
 bind {proxy.path()}
 use_backend %[str(me),map({table},nowhere)]
 default_backend a
"""
    answers = []
    for line in ("me b\n", "me c\n", "you b\n"):
        table.write_text(line)
        proxy.run(front + backends(servers))
        answers.append(proxy.ask(proxy.path()))
    assert answers == [b"b:x", b"a:x", b"a:x"]
