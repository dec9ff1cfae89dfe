# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.x509 import Certificate, NotACertificate, matches, parse

FILES = Path(__file__).parents[1] / "engine" / "certificates"


def der(name: str) -> bytes:
    text = (FILES / name).read_text()
    return ssl.PEM_cert_to_DER_cert(text[: text.index("-----END CERTIFICATE-----") + 26])


def test_names_and_algorithms() -> None:
    assert parse(der("default.pem")) == Certificate(
        common_name="default.example",
        dns_names=("default.example", "localhost"),
        addresses=(ip_address("127.0.0.1"),),
        key="EC256",
        signature="ecdsa-with-SHA256",
    )
    assert parse(der("client.pem")).common_name == "a client"
    assert parse(der("named.pem")).names == ("named.example",)
    assert parse(der("one.pem")).names == ("one.example", "also-one.example")


@pytest.mark.parametrize(
    ("pattern", "name", "holds"),
    [
        ("one.example", "ONE.example", True),
        ("one.example", "one.example.", False),
        ("one.example", "two.example", False),
        ("*.example", "one.example", True),
        ("*.example", "a.one.example", False),
        ("*.example", "example", False),
        ("*.example", ".example", False),
    ],
)
def test_which_names_a_pattern_holds_for(pattern: str, name: str, holds: bool) -> None:
    assert matches(pattern, name) is holds


@given(st.integers(0, 600), st.integers(0, 255))
def test_one_wrong_byte(at: int, byte: int) -> None:
    changed = bytearray(der("default.pem"))
    changed[at % len(changed)] = byte
    try:
        parse(bytes(changed))
    except NotACertificate:
        return


@given(st.binary(max_size=200))
def test_no_input_raises_anything_else(data: bytes) -> None:
    for changed in (data, b"\x30\x82" + data, der("one.pem")[:100] + data):
        with pytest.raises(NotACertificate):
            parse(changed)
