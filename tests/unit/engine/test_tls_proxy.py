# SPDX-License-Identifier: Apache-2.0
"""The proxy engine with TLS on either side, and with what comes before it on the wire."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_proxy import ProxyRig, rig, wait_for

from penstock.wire import socks4
from penstock.wire.proxy_protocol import parse

FILES = Path(__file__).parent / "certificates"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyRig]:
    with rig(tmp_path) as made:
        yield made


def client(*, certificate: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=FILES / "ca.pem")
    if certificate is not None:
        context.load_cert_chain(FILES / certificate)
    return context


def read(sock: socket.socket, count: int) -> bytes:
    """*count* bytes, or what comes before an end or a reset."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while len(data) < count and (more := sock.recv(count - len(data))):
            data += more
    return data


def test_tls_ends_here_and_the_server_is_told_of_the_client(proxy: ProxyRig) -> None:
    server, port = proxy.server(), closed_port()
    proxy.run(
        f"""
listen front
 bind 127.0.0.1:{port} ssl crt {FILES}/default.pem crt {FILES}/wild.pem ca-file {FILES}/ca.pem\
 verify optional alpn mqtt
 server a {server.where} send-proxy-v2-ssl-cn
"""
    )
    context = client(certificate="client.pem")
    context.set_alpn_protocols(["mqtt"])
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="a.wild.example") as sock,
    ):
        mine = sock.getsockname()
        assert sock.selected_alpn_protocol() == "mqtt"
        sock.sendall(b"hello")
        with server.accept() as behind:
            data = behind.recv(1000)
            while (header := parse(data)) is None or len(data) < header.length + 5:
                data += behind.recv(1000)
            assert data[header.length :] == b"hello"
            behind.sendall(b"x" * 100_000)
            assert read(sock, 100_000) == b"x" * 100_000
    assert header.source == (IPv4Address("127.0.0.1"), mine[1])
    assert header.tlvs.alpn == "mqtt"
    assert header.tlvs.ssl is not None
    assert (header.tlvs.ssl.client, header.tlvs.ssl.common_name) == (7, "a client")


def test_a_reload_takes_a_renewed_certificate(proxy: ProxyRig, tmp_path: Path) -> None:
    server, port = proxy.server("a"), closed_port()
    server.echo()
    path = tmp_path / "renewed.pem"
    text = f"listen front\n bind 127.0.0.1:{port} ssl crt {path}\n server a {server.where}\n"
    loose = client()
    loose.check_hostname = False

    def shown() -> bytes | None:
        with (
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            loose.wrap_socket(plain) as sock,
        ):
            return sock.getpeercert(binary_form=True)

    shutil.copy(FILES / "one.pem", path)
    proxy.run(text)
    first = shown()
    shutil.copy(FILES / "default.pem", path)
    proxy.run(text)
    wait_for(lambda: shown() != first, "the new certificate")


def echo_over_tls(listening: socket.socket) -> None:
    """Answer one connection over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FILES / "one.pem")
    plain, _ = listening.accept()
    try:
        with context.wrap_socket(plain, server_side=True) as sock:
            sock.sendall(b"echo " + sock.recv(100))
    except OSError:
        plain.close()


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ("verify none", b"echo hello"),
        (f"ca-file {FILES}/ca.pem", b"echo hello"),
        (f"ca-file {FILES}/ca.pem verifyhost one.example", b"echo hello"),
        (f"ca-file {FILES}/ca.pem verifyhost wrong.example", b""),
        (f"ca-file {FILES}/other-ca.pem", b""),
    ],
)
def test_tls_towards_a_server(proxy: ProxyRig, options: str, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        thread = threading.Thread(target=echo_over_tls, args=(listening,))
        thread.start()
        port = listening.getsockname()[1]
        proxy.run(
            f"listen front\n retries 0\n bind {proxy.path()}\n"
            f" server a 127.0.0.1:{port} ssl {options}\n"
        )
        sock = proxy.connect()
        sock.sendall(b"hello")
        assert read(sock, 100) == answer
        thread.join()


def test_a_netscaler_tells_of_the_client_before_tls(proxy: ProxyRig) -> None:
    server, port = proxy.server(), closed_port()
    proxy.run(
        f"listen front\n bind 127.0.0.1:{port} accept-netscaler-cip 7 ssl crt {FILES}/default.pem\n"
        f" server a {server.where} send-proxy\n"
    )
    ends = IPv4Address("192.0.2.1").packed + IPv4Address("198.51.100.2").packed
    tcp = struct.pack("!HH", 4711, 443) + bytes(16)
    packet = b"\x45" + bytes(8) + b"\6" + bytes(2) + ends + tcp
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        plain.sendall(struct.pack("!IIHH", 7, len(packet) + 12, 0, len(packet)) + packet)
        with client().wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(b"hello")
            with server.accept() as behind:
                expected = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\nhello"
                assert read(behind, len(expected)) == expected


@pytest.mark.parametrize(("code", "answer"), [(90, b"welcome"), (91, b"")])
def test_a_server_behind_a_socks4_proxy(proxy: ProxyRig, code: int, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        port = listening.getsockname()[1]
        proxy.run(
            f"listen front\n retries 0\n bind {proxy.path()}\n"
            f" server a 192.0.2.55:8080 socks4 127.0.0.1:{port}\n"
        )
        sock = proxy.connect()
        sock.sendall(b"hello")
        asked = socks4.request(IPv4Address("192.0.2.55"), 8080)
        with listening.accept()[0] as behind:
            behind.settimeout(5)
            assert read(behind, len(asked)) == asked
            behind.sendall(bytes([0, code]) + bytes(6))
            if code == 90:
                assert read(behind, 5) == b"hello"
                behind.sendall(b"welcome")
        assert read(sock, 100) == answer
