# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.tls_hello import CLIENT_HELLO, Hello, NotTls, parse

V2_HELLO = bytes([0x80, 28, 1, 0, 2, 0, 3, 0, 0, 0, 16]) + b"\1\0\2" + bytes(16)
SERVER_HELLO = bytes.fromhex("160303002a020000260303") + bytes(32) + bytes.fromhex("00130100")


def client_hello(
    name: str | None = "one.example",
    alpn: tuple[str, ...] = (),
    highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> bytes:
    """What Python's ssl says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = highest
    if alpn:
        context.set_alpn_protocols(list(alpn))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def in_records(hello: bytes, size: int) -> bytes:
    """The same handshake message in records of at most *size* bytes."""
    body = hello[5:]
    return b"".join(
        hello[:3] + len(part).to_bytes(2, "big") + part
        for part in (body[at : at + size] for at in range(0, len(body), size))
    )


def test_a_client_of_tls_1_3() -> None:
    hello = parse(client_hello(alpn=("h2", "http/1.1")))
    assert hello is not None
    assert hello.handshake == CLIENT_HELLO
    assert hello.version == 3 << 16 | 3  # as HAProxy's req.ssl_ver says, too
    assert hello.supported_versions == (3 << 16 | 4, 3 << 16 | 3)
    assert hello.sni == "one.example"
    assert hello.alpn == ("h2", "http/1.1")
    assert hello.has_ec_extension
    assert hello.session_ticket == 0


def test_a_client_of_tls_1_2_without_a_name() -> None:
    hello = parse(client_hello(None, highest=ssl.TLSVersion.TLSv1_2))
    assert hello is not None
    assert (hello.version, hello.supported_versions) == (3 << 16 | 3, ())
    assert (hello.sni, hello.alpn) == (None, ())


@pytest.mark.parametrize("size", [1, 3, 50, 16384])
def test_a_hello_in_many_records(size: int) -> None:
    hello = client_hello()
    assert parse(in_records(hello, size)) == parse(hello)


@pytest.mark.parametrize("hello", [client_hello(alpn=("mqtt",)), V2_HELLO, SERVER_HELLO])
def test_every_beginning_asks_for_more(hello: bytes) -> None:
    assert all(parse(hello[:length]) is None for length in range(len(hello)))
    assert parse(hello + b"more") == parse(hello)


def test_other_hellos() -> None:
    assert parse(SERVER_HELLO) == Hello(2, 3 << 16 | 3)
    assert parse(V2_HELLO) == Hello(0, 2)
    assert parse(V2_HELLO[:3] + b"\3\1" + V2_HELLO[5:]) == Hello(0, 3 << 16 | 1)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        bytes.fromhex("15030300020228"),  # an alert
        bytes.fromhex("160203"),  # below SSL 3
        bytes.fromhex("1603010000"),  # an empty record
        bytes.fromhex("160301ffff"),  # a record that is too long
        client_hello()[:5] + b"\1\0\0\1\3",
        V2_HELLO[:6] + b"\4" + V2_HELLO[7:],
    ],
)
def test_what_is_no_hello(data: bytes) -> None:
    with pytest.raises(NotTls):
        parse(data)


def test_a_broken_extension_hides_only_what_follows() -> None:
    hello = client_hello()
    cut = hello[:5] + b"\1" + (len(hello) - 9 - 4).to_bytes(3, "big") + hello[9:-4]
    assert parse(cut) == Hello(CLIENT_HELLO, 3 << 16 | 3)  # the extensions' length is wrong


@given(st.binary(max_size=400), st.integers(0, 300))
def test_no_input_raises_anything_else(data: bytes, at: int) -> None:
    hello = client_hello(alpn=("h2",))
    for changed in (data, b"\x16\3\1" + data, hello[:at] + data, data[:1] + hello[1:]):
        try:
            parse(changed)
        except NotTls:
            continue


@given(st.integers(0, 600), st.integers(0, 255))
def test_one_wrong_byte(at: int, byte: int) -> None:
    hello = bytearray(client_hello(alpn=("h2", "mqtt")))
    hello[at % len(hello)] = byte
    try:
        parse(bytes(hello))
    except NotTls:
        return
