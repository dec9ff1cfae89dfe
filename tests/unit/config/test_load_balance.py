# SPDX-License-Identifier: Apache-2.0
"""Who gets a connection, and where it comes from: balance, hash-type, source, nat, dispatch."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from reading import configure, only_real

from penstock.model import (
    Algorithm,
    ForwardingMethod,
    HashFunction,
    HashType,
)


@pytest.mark.parametrize(
    ("words", "algorithm"),
    [
        ("roundrobin", Algorithm.ROUNDROBIN),
        ("", Algorithm.ROUNDROBIN),
        ("static-rr", Algorithm.STATIC_RR),
        ("leastconn", Algorithm.LEASTCONN),
        ("first", Algorithm.FIRST),
        ("source", Algorithm.SOURCE),
        ("hash src", Algorithm.SOURCE),
        ("random", Algorithm.RANDOM),
        ("maglev", Algorithm.MAGLEV),
        ("uri", Algorithm.ROUNDROBIN),
    ],
)
def test_balance(words: str, algorithm: Algorithm) -> None:
    (pool,) = configure(f"backend b\n balance {words}\n server s 1.1.1.1:1\n").pools
    assert pool.scheduler.algorithm is algorithm


def test_random_draws_and_hash_types() -> None:
    (pool,) = configure("backend b\n balance random(5)\n hash-type consistent\n").pools
    assert pool.scheduler.draws == 5
    assert (pool.scheduler.hash_type, pool.scheduler.avalanche) == (HashType.CONSISTENT, True)
    (pool,) = configure("backend b\n hash-type map-based crc32 avalanche\n").pools
    assert (pool.scheduler.hash_function, pool.scheduler.avalanche) == (HashFunction.CRC32, True)


def test_source() -> None:
    real = only_real("server s 1.1.1.1:80 source 192.0.2.7:1024-2048")
    assert real.source is not None
    assert (str(real.source.address), str(real.source.ports)) == ("192.0.2.7", "1024-2048")
    assert only_real("source 192.0.2.8\n server s 1.1.1.1:80").source is not None
    assert only_real("source 0.0.0.0\n server s 1.1.1.1:80").source is None


@pytest.mark.parametrize(
    "text",
    [
        "option nat\n server s 1.1.1.1:80",
        "server s 1.1.1.1:80 nat",
        "default-server nat\n server s 1.1.1.1:80",
        "source 0.0.0.0 usesrc clientip\n server s 1.1.1.1:80",
        "server s 1.1.1.1:80 source 0.0.0.0 usesrc client",
    ],
)
def test_nat(text: str) -> None:
    assert only_real(text).forwarding is ForwardingMethod.NAT


def test_full_nat_is_the_default() -> None:
    assert only_real("server s 1.1.1.1:80").forwarding is ForwardingMethod.FULLNAT
    assert only_real("server s 1.1.1.1:80 nat no-nat").forwarding is ForwardingMethod.FULLNAT


def test_dispatch() -> None:
    real = only_real("dispatch 1.2.3.4:80")
    assert (real.address, real.port.value) == (IPv4Address("1.2.3.4"), 80)


@pytest.mark.parametrize(
    ("head", "said", "fullconn"),
    [
        ("", "fullconn 30", 30),
        ("", "", 0),
        ("maxconn 95", "", 10),
        ("maxconn 95", "fullconn 30", 30),
    ],
)
def test_fullconn_is_a_tenth_unless_said(head: str, said: str, fullconn: int) -> None:
    front = f"frontend f\n bind :80\n {head}\n default_backend b\n"
    text = f"{front}backend b\n {said}\n server s 1.1.1.1:80\n"
    assert configure(text).pools[0].fullconn == fullconn


def test_hash_balance_factor() -> None:
    pool = configure("backend b\n hash-balance-factor 150\n server s 1.1.1.1:80\n").pools[0]
    assert pool.scheduler.balance_factor == 150
