# SPDX-License-Identifier: Apache-2.0
"""What rules ask of the host, read from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.instance import surroundings

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.9.0.0/24 2 0 2
        |-- 10.9.0.0
           /24 link UNICAST
        |-- 10.9.0.1
           /32 host LOCAL
        |-- 10.9.0.255
           /32 link BROADCAST
     |-- 203.0.113.1
        /32 host LOCAL
"""
IF_INET6 = """\
fe8000000000000000fc00fffe000001 02 40 20 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
"""


def test_broadcast_and_own_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("_ROUTES", FIB_TRIE), ("_ADDRESSES6", IF_INET6)):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(surroundings, name, tmp_path / name)
    found = surroundings.surroundings()
    assert found.broadcast == {"10.9.0.255"}
    assert found.local6 == {"fe80::fc:ff:fe00:1", "::1"}


def test_a_kernel_without_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_ADDRESSES6", tmp_path / "none")
    assert surroundings.surroundings().local6 == frozenset()


def test_mtu_of_an_interface_or_none() -> None:
    assert (surroundings.mtu("lo") or 0) >= 1280
    assert surroundings.mtu("no-such-one") is None
