# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from haproxy_headers import SENT
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.proxy_protocol import (
    SIGNATURE,
    Header,
    ProxyProtocolError,
    encode_v1,
    encode_v2,
    parse,
)
from penstock.wire.tlv import SslTlv, Tlv, TlvType, as_haproxy

RECORDED = [(kind, options, text) for kind, sent in SENT.items() for options, text in sent]
V4 = (IPv4Address("192.0.2.1"), 4711), (IPv4Address("198.51.100.2"), 443)
V6 = (IPv6Address("2001:db8::1"), 4711), (IPv6Address("2001:db8::2"), 443)


def recorded(text: str) -> bytes:
    return text.encode() if text.startswith("PROXY") else bytes.fromhex(text)


def asked(options: str) -> set[str]:
    """The proxy-v2-options that a server line's words amount to."""
    words = options.split()
    chosen = set(words[2].split(",")) if "proxy-v2-options" in words else set()
    if words[0].startswith("send-proxy-v2-ssl"):
        chosen.add("ssl")
    if words[0] == "send-proxy-v2-ssl-cn":
        chosen.add("cert-cn")
    return chosen


def known(kind: str) -> SslTlv | None:
    if not kind.startswith("tls"):
        return None
    old, certificate = kind.startswith("tls1.2"), kind.endswith("certificate")
    return SslTlv(
        7 if certificate else 1,
        version="TLSv1.2" if old else "TLSv1.3",
        common_name="a client" if certificate else None,
        cipher="ECDHE-ECDSA-AES256-GCM-SHA384" if old else "TLS_AES_256_GCM_SHA384",
        signature_algorithm="ecdsa-with-SHA256",
        key_algorithm="EC256",
    )


@pytest.mark.parametrize(("kind", "options", "text"), RECORDED)
def test_what_is_sent_is_what_haproxy_sends(kind: str, options: str, text: str) -> None:
    data = recorded(text)
    header = parse(data)
    assert header is not None
    assert header.length == len(data)
    source, destination = header.source, header.destination
    if kind == "source ipv6" and destination is not None:
        destination = (IPv4Address("127.0.0.1"), destination[1])
    if options == "send-proxy":
        assert encode_v1(source, destination) == data
        return
    chosen = asked(options)
    port = 0 if header.destination is None else header.destination[1]
    tls = kind.startswith("tls")
    tlvs = as_haproxy(
        chosen,
        alpn="mqtt" if tls else None,
        authority="localhost" if tls else None,
        unique_id=f"id-127.0.0.1-{port}" if port else "id--",
        ssl=known(kind),
    )
    assert encode_v2(source, destination, tlvs, checksum="crc32c" in chosen) == data


@pytest.mark.parametrize(("kind", "options", "text"), RECORDED)
def test_every_beginning_asks_for_more(kind: str, options: str, text: str) -> None:
    data = recorded(text)
    assert all(parse(data[:length]) is None for length in range(len(data)))
    assert parse(data + b"GET /") == parse(data)


def test_the_tlvs_are_read() -> None:
    header = parse(recorded(dict(SENT["tls certificate"])["send-proxy-v2-ssl-cn"]))
    assert header is not None
    assert header.tlvs.alpn == "mqtt"
    assert header.tlvs.authority is None
    assert header.tlvs.ssl == SslTlv(7, 0, version="TLSv1.3", common_name="a client")


@pytest.mark.parametrize("value", [b"a", b"\1\0\0\0\0\x21\0"])
def test_a_malformed_ssl_tlv_passes_unread(value: bytes) -> None:
    header = parse(encode_v2(*V4, [Tlv(TlvType.SSL, value)]))
    assert header is not None
    assert header.source == V4[0]
    assert header.tlvs.ssl is None


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        ("TCP4 192.0.2.1 198.51.100.2 4711 443", *V4),
        ("TCP6 2001:db8::1 2001:db8::2 4711 443", *V6),
        ("UNKNOWN", None, None),
        ("UNKNOWN ffff::1 whatever", None, None),
    ],
)
def test_lines(line: str, source: object, destination: object) -> None:
    data = f"PROXY {line}\r\n".encode()
    assert parse(data) == Header(1, len(data), source, destination)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 2001:db8::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        b"PROXY UNKNOWN " + b"x" * 100,
        SIGNATURE + b"\x11",
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE + b"\x21\x21\x00\x23" + bytes(35),
        SIGNATURE + b"\x21\x11\x00\x0e" + bytes(14),
        SIGNATURE + b"\x21\x11\x00\x0f" + bytes(12) + b"\x01\x00\x01",
        SIGNATURE + b"\x21\x11\x00\x11" + bytes(12) + b"\x03\x00\x02ab",
        SIGNATURE + b"\x21\x11\x00\x13" + bytes(12) + b"\x03\x00\x04abcd",
        encode_v2(*V4, [Tlv(TlvType.AUTHORITY, bytes(256))]),
        encode_v2(*V4, [Tlv(TlvType.UNIQUE_ID, bytes(129))]),
    ],
)
def test_what_is_none_or_malformed(data: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        parse(data)


def test_unix_paths_and_what_else_keeps_its_addresses() -> None:
    paths = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")
    unix = parse(SIGNATURE + b"\x21\x31\x00\xd8" + paths)
    assert unix == Header(2, 232, paths=(b"/run/a", b"/run/b"))
    udp = parse(SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12))
    assert udp == Header(2, 28)


@given(st.binary(max_size=300))
def test_no_input_raises_anything_else(data: bytes) -> None:
    for start in (b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00"):
        try:
            header = parse(start + data)
        except ProxyProtocolError:
            continue
        assert header is None or header.length <= len(start + data)


@given(
    st.sampled_from([V4, V6, (V4[0], V6[1]), (V6[0], V4[1])]),
    st.lists(st.builds(Tlv, st.sampled_from([1, 2, 4, 5, 0x30, 0xEE]), st.binary(max_size=40))).map(
        tuple
    ),
    st.booleans(),
)
def test_what_is_written_is_read(
    ends: tuple[tuple[IPv4Address, int], tuple[IPv4Address, int]],
    tlvs: tuple[Tlv, ...],
    checksum: bool,
) -> None:
    header = parse(encode_v2(*ends, tlvs, checksum=checksum))
    assert header is not None
    assert header.source is not None
    assert header.source[1] == 4711
    kept = tuple(tlv for tlv in header.tlvs.items if tlv.type != TlvType.CRC32C)
    assert kept == tlvs
    assert len(header.tlvs.items) == len(tlvs) + checksum


@given(st.integers(0, 2**128 - 1), st.sampled_from([0, 80, 96, 112]))
def test_lines_show_ipv6_as_the_c_library_does(value: int, drop: int) -> None:
    for number in (value >> drop, value >> 96 | 0xFFFF << 32):
        address = IPv6Address(number)
        line = encode_v1((address, 1), (address, 2)).split(b" ")
        assert line[2].decode() == socket.inet_ntop(socket.AF_INET6, address.packed)
