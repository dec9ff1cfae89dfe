# SPDX-License-Identifier: Apache-2.0
"""Texts of a haproxy.cfg, read without files and DNS."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from penstock.config.haproxy import AddressFamilyPreference, LoadResult, loads
from penstock.errors import ConfigError
from penstock.model import (
    Address,
    Configuration,
    RealServer,
    Service,
)

HEAD = """
defaults
    mode tcp
    timeout client 30s
    timeout server 1m
    timeout connect 5s
"""


NAMES: dict[str, Address] = {
    "edge": ip_address("10.9.9.9"),
    "localhost": ip_address("127.0.0.1"),
    "six": ip_address("2001:db8::6"),
}


def resolve(name: str, family: AddressFamilyPreference) -> Address | None:
    return NAMES.get(name)


def read(text: str, head: str = HEAD) -> LoadResult:
    return loads(head + text, name="f.cfg", environ={}, resolve=resolve)


def configure(text: str) -> Configuration:
    return read(text).configuration


def only_service(text: str) -> Service:
    (service,) = configure(text).services
    return service


def only_real(text: str) -> RealServer:
    (pool,) = configure(f"backend b\n{text}\n").pools
    (real,) = pool.reals
    return real


def errors(text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, head)
    return [diagnostic.message for diagnostic in caught.value.diagnostics]
