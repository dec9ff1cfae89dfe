# SPDX-License-Identifier: Apache-2.0
"""Parameters and set-ups that the tests of the datapath share."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from bpf_lab import (
    CLIENTS,
    REALS,
    TC_NEXT,
    TC_REDIRECT,
    TC_SHOT,
    VIP,
    XDP_DROP,
    XDP_PASS,
    Hook,
    Lab,
    Result,
)
from bpf_talk import Talk

from penstock.model import Protocol

HOOKS = pytest.mark.parametrize("hook", ["tc", "xdp"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])
PROTOCOLS = pytest.mark.parametrize("proto", ["tcp", "udp"])
CROSSINGS = pytest.mark.parametrize(("family", "real_family"), [(4, 6), (6, 4)])

NEW = "EVENT_FLOW_NEW"
EXPIRED = "EVENT_FLOW_EXPIRED"
ANSWERED = "EVENT_ANSWERED_ICMP"
FORWARDED = "EVENT_FORWARDED_TC"

PROTOCOL = {"tcp": Protocol.TCP, "udp": Protocol.UDP}
PORT = 80
REAL_PORT = 8080


def talk_to(
    lab: Lab,
    family: int,
    proto: str = "tcp",
    *,
    real_family: int | None = None,
    reals: int = 1,
    client_port: int = 40000,
    **timeouts: int,
) -> Talk:
    """A client and a new service with *reals* real servers; timeouts in ticks."""
    protocol = PROTOCOL[proto]
    addresses = REALS[real_family or family][:reals]
    pool = lab.pool([lab.real(address, REAL_PORT, protocol=protocol) for address in addresses])
    lab.service(VIP[family], PORT, pool, protocol=protocol, **timeouts)
    return Talk(lab, (CLIENTS[family][0], client_port), (VIP[family], PORT), proto)


def opened(lab: Lab, family: int, proto: str, real_family: int | None = None) -> Talk:
    """The same with a flow that has seen packets both ways and knows its next hops."""
    talk = talk_to(lab, family, proto, real_family=real_family)
    return talk.handshake() if proto == "tcp" else talk.exchange()


def assert_passed(got: Result, frame: bytes, reason: str, hook: Hook = "tc") -> None:
    """The host gets it as it came."""
    verdict, why = (TC_NEXT, reason) if hook == "tc" else (XDP_PASS, "PASS_TO_TC")
    assert (got.verdict, got.reasons) == (verdict, {why: 1})
    assert got.frame == frame


def assert_dropped(got: Result, reason: str, hook: Hook = "tc") -> None:
    assert (got.verdict, got.reasons) == (TC_SHOT if hook == "tc" else XDP_DROP, {reason: 1})


def assert_answered(got: Result, reason: str) -> None:
    """Dropped, and an ICMP error goes back."""
    assert (got.verdict, got.reasons) == (TC_REDIRECT, {reason: 1, ANSWERED: 1})


def one_outcome(reasons: Mapping[str, int]) -> str:
    """The one reason that says what became of a packet; the others only say what happened."""
    outcomes = [name for name in reasons if name.startswith(("PASS_", "DROP_", "EVENT_FORWARDED_"))]
    assert len(outcomes) == 1, reasons
    assert set(reasons.values()) == {1}, reasons
    return outcomes[0]
