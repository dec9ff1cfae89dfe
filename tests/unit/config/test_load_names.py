# SPDX-License-Identifier: Apache-2.0
"""Servers and name servers that are given by name."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from reading import NAMES, configure, errors, only_real, read

from penstock.errors import ConfigError
from penstock.model import (
    AdminState,
    NameLookup,
)


def test_server_names_resolve() -> None:
    real = only_real("server s edge:80")
    assert (real.address, real.hostname) == (NAMES["edge"], "edge")
    assert isinstance(only_real("server s six:80").address, IPv6Address)


def test_a_name_that_does_not_resolve_is_an_error() -> None:
    assert errors("backend b\n server s nowhere:80\n server t nope:80\n") == [
        "'server b/s' : could not resolve address 'nowhere'.",
        "'server b/t' : could not resolve address 'nope'.",
    ]


def test_init_addr_none_starts_without_an_address() -> None:
    result = read("backend b\n server s nowhere:80 init-addr libc,none\n")
    (real,) = result.configuration.pools[0].reals
    assert (real.address, real.hostname, real.admin) == (None, "nowhere", AdminState.READY)
    assert [w.message for w in result.warnings] == [
        "'server b/s' : could not resolve address 'nowhere', disabling server."
    ]
    quiet = read("backend b\n server s nowhere:80 init-addr none\n")
    assert quiet.warnings == ()


def test_init_addr_falls_back_on_an_address() -> None:
    real = only_real("server s nowhere:80 init-addr last,libc,192.0.2.1")
    assert real.address == IPv4Address("192.0.2.1")


def test_resolvers_are_handed_on() -> None:
    result = read(
        """
resolvers dns
    nameserver a 127.0.0.1:53
    nameserver b [::1]:5353
    timeout retry 2s
    hold valid 5s
    resolve_retries 4
backend b
    server s nowhere:80 resolvers dns resolve-prefer ipv4
"""
    )
    (section,) = result.resolvers
    assert section.nameservers == ((IPv4Address("127.0.0.1"), 53), (IPv6Address("::1"), 5353))
    assert (section.timeout_retry, section.timeout_resolve) == (2000, 1000)
    assert (section.hold["valid"], section.hold["nx"], section.resolve_retries) == (5000, 30_000, 4)
    (real,) = result.configuration.pools[0].reals
    assert (real.lookup, real.address) == (NameLookup("dns", ipv4_first=True), None)


def test_the_default_resolvers_need_no_section() -> None:
    result = read("backend b\n server s nowhere:80 resolvers default\n")
    (section,) = result.resolvers
    assert (section.name, section.parse_resolv_conf, section.nameservers) == ("default", True, ())
    assert read("backend b\n server s 1.1.1.1:80\n").resolvers == ()


def test_what_is_asked_of_names_at_run_time() -> None:
    named = "resolvers d\n    nameserver n 192.0.2.1:53\nbackend b\n    server s 1.1.1.1:80 {}\n"
    asked = named.format(
        "resolvers d resolve-prefer ipv4 resolve-opts allow-dup-ip,ignore-weight"
        " resolve-net 10.0.0.0/8,fd00::/8"
    )
    networks = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    (real,) = configure(asked).pools[0].reals
    assert real.lookup == NameLookup(
        "d", ipv4_first=True, may_share=True, ignore_weight=True, networks=networks
    )
    plain = named.format("resolvers d resolve-opts allow-dup-ip,prevent-dup-ip")
    assert configure(plain).pools[0].reals[0].lookup == NameLookup("d")
    assert only_real("server s 1.1.1.1:80 resolve-prefer ipv4").lookup is None


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("resolve-net", "'resolve-net' expects a list of networks."),
        ("resolve-net foo", "'resolve-net' invalid network 'foo'."),
        ("resolve-net 10.0.0.0/99", "'resolve-net' invalid network '10.0.0.0/99'."),
        ("resolve-opts foo", "unknown resolve-opts option 'foo'"),
    ],
)
def test_bad_words_about_names(option: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        only_real(f"server s 1.1.1.1:80 {option}")
    assert message in str(caught.value)
