# SPDX-License-Identifier: Apache-2.0
"""Names of services say all that their keys say."""

from __future__ import annotations

import pytest

from penstock.ipvs.model import Proto, ServiceKey
from penstock.ipvs.names import key_of_name, place, service_name


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (ServiceKey(Proto.TCP, "203.0.113.1", 80), "ipvs/tcp/203.0.113.1:80"),
        (ServiceKey(Proto.UDP, "2001:db8::1", 0, family=6), "ipvs/udp/[2001:db8::1]:0"),
        (ServiceKey(Proto.SCTP, "203.0.113.1", 9899), "ipvs/sctp/203.0.113.1:9899"),
        (ServiceKey(fwmark=4294967295), "ipvs/fwm/4294967295"),
        (ServiceKey(fwmark=5, family=6), "ipvs/fwm6/5"),
    ],
)
def test_there_and_back(key: ServiceKey, name: str) -> None:
    assert service_name(key) == name
    assert key_of_name(name) == key


@pytest.mark.parametrize("name", ["ipvs/icmp/10.0.0.1:1", "ipvs/fwm/x", "web"])
def test_other_names_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=name.rpartition("/")[2][-1]):
        key_of_name(name)


def test_place() -> None:
    assert place("10.0.1.1", 80) == "10.0.1.1:80"
    assert place("fd00::1", 80) == "[fd00::1]:80"
