# SPDX-License-Identifier: Apache-2.0
"""Services whose reals answer past the balancer, and packets on their way to such a real."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from bpf_director import PORT, Director, route, tunnel, virtual
from bpf_errors import network
from bpf_lab import (
    CLIENTS,
    REALS,
    SNAT,
    TC_REDIRECT,
    VIP,
    XDP_PASS,
    XDP_REDIRECT,
    Hook,
    Lab,
    Result,
)
from bpf_packets import IP, TCP, UDP, IPv6, Raw, frame
from bpf_tunnel import Received, decapsulate

from penstock.ipvs.model import TunFlag, TunType

GUE_PORT = 6080


@dataclass(frozen=True)
class Form:
    """One kind of tunnel, and what it adds after the outer IP header."""

    kind: TunType
    flags: TunFlag
    protocol: int  # 0: 4 or 41, by what is inside
    size: int


FORMS = {
    "ipip": Form(TunType.IPIP, TunFlag.NONE, 0, 0),
    "gre": Form(TunType.GRE, TunFlag.NONE, 47, 4),
    "gre+csum": Form(TunType.GRE, TunFlag.CSUM, 47, 8),
    "gue": Form(TunType.GUE, TunFlag.NONE, 17, 12),
    "gue+csum": Form(TunType.GUE, TunFlag.CSUM, 17, 12),
    "gue+remcsum": Form(TunType.GUE, TunFlag.REMCSUM, 17, 20),
}
TUNNELS = pytest.mark.parametrize("form", FORMS)
NESTINGS = pytest.mark.parametrize(("family", "outer"), [(4, 4), (6, 6), (4, 6), (6, 4)])


def overhead(form: str, outer: int) -> int:
    return (20 if outer == 4 else 40) + FORMS[form].size


def sent_by_client(
    family: int,
    proto: str = "tcp",
    flags: str = "A",
    payload: bytes = b"",
    *,
    checksum: int | None = None,
    port: int = 40000,
    df: bool = False,
    **head: object,
) -> bytes:
    """A frame to the service; *df*: not to be cut (IPv4); *head*: fields of the IP header."""
    kind = IP if family == 4 else IPv6
    if df:
        head["flags"] = "DF"
    transport = (
        UDP(sport=port, dport=PORT, chksum=checksum)
        if proto == "udp"
        else TCP(sport=port, dport=PORT, flags=flags, seq=1, ack=1)
    )
    return frame(kind(src=CLIENTS[family][0], dst=VIP[family], **head) / transport / Raw(payload))


def tunnelled(lab: Lab, family: int, outer: int, form: str, proto: str = "tcp") -> Director:
    """A service with one destination behind such a tunnel."""
    how = FORMS[form]
    director = Director(lab)
    real = tunnel(
        0,
        outer,
        tun_type=how.kind,
        tun_flags=how.flags,
        tun_port=GUE_PORT if how.kind == TunType.GUE else 0,
    )
    director.put(virtual(family, proto), [real])
    return director


def routed(lab: Lab, family: int, proto: str = "tcp") -> Director:
    director = Director(lab)
    director.put(virtual(family, proto), [route(0, family)])
    return director


def opened(lab: Lab, family: int, proto: str = "tcp") -> None:
    """The client's first packet: from here on the next hop is known."""
    got = lab.send(sent_by_client(family, proto, "S"))
    assert got.verdict == TC_REDIRECT, got.reasons
    assert got.reasons == {"EVENT_FORWARDED_TC": 1, "EVENT_FLOW_NEW": 1}


def sent(lab: Lab, packet: bytes, hook: Hook, *, only_tc: bool = False) -> Result:
    """A packet that must leave by *hook*; *only_tc*: XDP is not to know how."""
    if hook == "xdp" and only_tc:
        got = lab.send(packet, "xdp")
        assert (got.verdict, got.frame) == (XDP_PASS, packet)
        hook = "tc"
    got = lab.send(packet, hook)
    if hook == "tc":
        assert (got.verdict, got.reasons) == (TC_REDIRECT, {"EVENT_FORWARDED_TC": 1})
    else:
        assert (got.verdict, got.reasons) == (XDP_REDIRECT, {"EVENT_FORWARDED_XDP": 1})
    return got


def received(got: Result, form: str, outer: int) -> Received:
    """What the tunnel's other end makes of it: the right headers around whatever is inside."""
    found = decapsulate(got.frame)
    how = FORMS[form]
    assert (found.source, found.target) == (SNAT[outer], REALS[outer][0])
    assert found.protocol == (how.protocol or (4 if found.inner[0] >> 4 == 4 else 41))
    if how.kind == TunType.GUE:
        assert found.ports[1] == GUE_PORT
        assert 32768 <= found.ports[0] < 61000
    return found


__all__ = [
    "FORMS",
    "NESTINGS",
    "TUNNELS",
    "network",
    "opened",
    "overhead",
    "received",
    "routed",
    "sent",
    "sent_by_client",
    "tunnelled",
]
