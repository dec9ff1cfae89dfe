# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from penstock.wire.socks4 import Socks4Error, answer, request


def test_the_request_is_haproxys() -> None:
    assert request(IPv4Address("192.0.2.5"), 8080) == b"\4\1\x1f\x90\xc0\0\2\5HAProxy\0"


def test_the_answer() -> None:
    granted = b"\0\x5a" + bytes(6)
    assert answer(granted + b"data") == 8
    assert all(answer(granted[:length]) is None for length in range(8))


@pytest.mark.parametrize("code", [91, 92, 93, 0])
def test_a_refusal(code: int) -> None:
    with pytest.raises(Socks4Error, match="SOCKS4 proxy"):
        answer(bytes([0, code]) + bytes(6))
