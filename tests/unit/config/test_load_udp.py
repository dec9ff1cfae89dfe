# SPDX-License-Identifier: Apache-2.0
"""Sections of mode udp, which are penstock's own."""

from __future__ import annotations

import pytest
from reading import configure, errors, read

from penstock.model import (
    CheckKind,
    Protocol,
)


def test_udp_services_and_their_checks() -> None:
    configuration = configure(
        r"""
frontend dns
    mode udp
    bind :53
    default_backend resolvers1
backend resolvers1
    mode udp
    balance maglev
    udp-check send-binary 00010203
    udp-check expect string "ok"
    server a 10.0.0.1:53 check inter 1s
"""
    )
    assert configuration.services[0].protocol is Protocol.UDP
    check = configuration.pools[0].reals[0].check
    assert check is not None
    assert (check.kind, check.send, check.expect) == (CheckKind.UDP, b"\0\1\2\3", b"ok")


def test_udp_needs_no_connect_timeout() -> None:
    head = "defaults\n mode udp\n timeout client 1s\n timeout server 1s\n"
    result = read("listen x\n bind :53\n server s 1.1.1.1:53\n", head)
    assert result.warnings == ()


def test_a_tcp_frontend_cannot_use_a_udp_backend() -> None:
    (message,) = errors(
        "frontend f\n bind :80\n default_backend b\nbackend b\n mode udp\n server s 1.1.1.1:1\n"
    )
    assert message.startswith("tcp frontend 'f' (f.cfg:7) tries to use incompatible udp backend")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("udp-check", "'udp-check' expects 'send', 'send-binary' or 'expect' (got '')"),
        ("udp-check send", "'udp-check send' expects a string as argument."),
        ("udp-check send-binary 0", "'udp-check send-binary' : '0' is not an even number of hex"),
        ("udp-check expect foo x", "'udp-check expect' expects 'string' or 'binary' (got 'foo')"),
    ],
)
def test_wrong_udp_checks(line: str, message: str) -> None:
    (error,) = errors(f"backend b\n mode udp\n {line}\n")
    assert error.startswith(message)
