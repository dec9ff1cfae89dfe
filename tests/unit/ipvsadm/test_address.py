# SPDX-License-Identifier: Apache-2.0
"""All the forms of an address on a command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_ipvsadm import NamesOf

from penstock.ipvsadm.address import Place, netmask, place, words
from penstock.ipvsadm.names import Numeric


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("192.0.2.9:80", ("192.0.2.9", 4, 80)),
        ("192.0.2.9", ("192.0.2.9", 4, None)),
        ("192.0.2.9: 80", ("192.0.2.9", 4, 80)),
        ("192.0.2.9:+080", ("192.0.2.9", 4, 80)),
        ("192.0.2.9:0", ("192.0.2.9", 4, 0)),
        ("192.0.2.9:https", ("192.0.2.9", 4, 443)),
        ("192.9:80", ("192.0.0.9", 4, 80)),
        ("0xc0.0.010.9:80", ("192.0.8.9", 4, 80)),
        ("3221225985:80", ("192.0.2.1", 4, 80)),
        ("web.test:https", ("198.51.100.7", 4, 443)),
        ("web.test", ("198.51.100.7", 4, None)),
        ("[2001:db8:0:0::9]:80", ("2001:db8::9", 6, 80)),
        ("2001:db8::9", ("2001:db8::9", 6, None)),
        ("2001:db8::9:80", ("2001:db8::9:80", 6, None)),
        ("::ffff:192.0.2.9", ("::ffff:192.0.2.9", 6, None)),
        # Brackets around IPv4 are taken off, and the port with them.
        ("[192.0.2.9]:80", ("192.0.2.9", 4, None)),
        ("[192.0.2.9:81]:80", ("192.0.2.9", 4, 81)),
    ],
)
def test_an_address(text: str, found: Place) -> None:
    assert place(text, 6, NamesOf()) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", "80", ":80", "192.0.2.256:80", "192.0.2.9:65536", "192.0.2.9:-1", "192.0.2.9:"),
        *(
            "192.0.2.9:nothing",
            "nowhere.test:80",
            "[2001:db8::9]",
            "[2001:db8::9",
            "[2001:db8::9]80",
        ),
        *("[2001:db8::9]:", "[2001:db8::g]:80", "2001:db8:::9", "[]:80", "a\ud8ff:80"),
    ],
)
def test_no_address(text: str) -> None:
    assert place(text, 6, NamesOf()) is None


def test_names_of_ports_are_those_of_the_protocol() -> None:
    assert place("192.0.2.9:domain", 17, NamesOf()) == ("192.0.2.9", 4, 53)
    assert place("192.0.2.9:https", 17, NamesOf()) is None
    assert place("192.0.2.9:https", 0, NamesOf()) is None


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("255.255.255.0", 0xFFFFFF00),
        ("24", 24),
        ("255.0.255.0", 0xFF00FF00),
        ("web.test", 0xC6336407),
        ("255.255.255.256", None),
        ("nowhere.test", None),
    ],
)
def test_a_netmask(text: str, mask: int | None) -> None:
    assert netmask(text, NamesOf()) == mask


@given(st.ip_addresses(v=4).map(str), st.integers(0, 65535))
def test_dotted_addresses_stay_what_they_are(address: str, port: int) -> None:
    assert place(f"{address}:{port}", 6, Numeric()) == (address, 4, port)


@given(st.ip_addresses(v=6), st.integers(0, 65535))
def test_ipv6_addresses_come_in_their_shortest_form(address: object, port: int) -> None:
    found = place(f"[{address}]:{port}", 6, Numeric())
    assert found is not None
    assert found == place(f"[{found[0]}]:{port}", 6, Numeric())
    assert sum(n << (96 - 32 * i) for i, n in enumerate(words(found[0]))) == int(address)  # type: ignore[call-overload]


@given(st.text(max_size=12))
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = place(text, 6, Numeric())
    assert found is None or found[1] in (4, 6)
