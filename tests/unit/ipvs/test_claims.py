# SPDX-License-Identifier: Apache-2.0
"""Which virtual services a configuration's binds keep off."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from penstock.errors import ConfigError
from penstock.ipvs.claims import Claims
from penstock.ipvs.model import Proto, ServiceKey
from penstock.model import Bind, Configuration, Origin, PortRange, Protocol, Service


def claims(where: str, ports: tuple[int, int] = (80, 89), **more: bool) -> Claims:
    disabled = more.pop("disabled", False)
    bind = Bind(ip_address(where), PortRange(*ports), origin=Origin("h.cfg", 7), **more)
    service = Service("web", Protocol.TCP, (bind,), None, disabled=disabled)
    return Claims(Configuration((service,)))


def key(address: str, port: int, proto: int = Proto.TCP) -> ServiceKey:
    return ServiceKey(proto, address, port, family=6 if ":" in address else 4)


@pytest.mark.parametrize(
    ("held", "one", "taken"),
    [
        (claims("192.0.2.1"), key("192.0.2.1", 80), True),
        (claims("192.0.2.1"), key("192.0.2.1", 89), True),
        (claims("192.0.2.1"), key("192.0.2.1", 90), False),
        (claims("192.0.2.1"), key("192.0.2.2", 80), False),
        (claims("192.0.2.1"), key("192.0.2.1", 80, Proto.UDP), False),
        (claims("192.0.2.1"), key("192.0.2.1", 80, Proto.SCTP), False),
        # All ports that nobody else has: each connection is the nearer service's.
        (claims("192.0.2.1"), key("192.0.2.1", 0), False),
        (claims("192.0.2.1"), ServiceKey(fwmark=80), False),
        (claims("192.0.2.1", disabled=True), key("192.0.2.1", 80), False),
        (claims("0.0.0.0"), key("192.0.2.1", 80), True),
        (claims("0.0.0.0"), key("2001:db8::1", 80), False),
        (claims("::"), key("2001:db8::1", 80), True),
        (claims("::"), key("192.0.2.1", 80), False),
        (claims("::", v4v6=True), key("192.0.2.1", 80), True),
        (Claims(), key("192.0.2.1", 80), False),
    ],
)
def test_holder(held: Claims, one: ServiceKey, taken: bool) -> None:
    assert (held.holder(one) is not None) == taken


def test_a_conflict_is_one_sentence_with_its_place_and_a_way_out() -> None:
    held = claims("2001:db8::1")
    held.refuse_conflicts([key("2001:db8::1", 79)])
    with pytest.raises(ConfigError) as refused:
        held.refuse_conflicts([key("2001:db8::1", 79), key("2001:db8::1", 80)])
    assert str(refused.value) == (
        "[h.cfg:7] : [2001:db8::1]:80 is a virtual service of ipvsadm's. "
        "'ipvsadm -D -t [2001:db8::1]:80' gives it up."
    )
