# SPDX-License-Identifier: Apache-2.0
"""The way to IPVS's real servers: looked up, remembered, looked up again, or not there."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, assert_dropped, assert_passed
from bpf_director import Director, masq, route, tunnel, virtual
from bpf_lab import MAC_BACK, REALS, TC_NEXT, TC_SHOT, Lab, mac_of
from bpf_oneway import sent, sent_by_client
from bpf_packets import Ether

from penstock.ipvs.model import Destination, Method

pytestmark = pytest.mark.root

METHODS = pytest.mark.parametrize("method", ["masq", "route", "tunnel"])
MAKE = {"masq": masq, "route": route, "tunnel": tunnel}
KIND = {"masq": Method.MASQ, "route": Method.ROUTE, "tunnel": Method.TUNNEL}
NOWHERE = {4: "10.77.0.1", 6: "fd77::1"}


@FAMILIES
@METHODS
def test_no_way_to_the_real(lab: Lab, family: int, method: str) -> None:
    """What is masqueraded is the host's to refuse; of the others it would know no more than we."""
    Director(lab).put(virtual(family), [Destination(NOWHERE[family], 80, KIND[method])])
    for n in range(2):
        got = lab.send(sent_by_client(family, flags="S"))
        outcome = "EVENT_FORWARDED_TC" if method == "masq" else "DROP_NO_ROUTE"
        assert got.reasons == {outcome: 1} | ({} if n else {"EVENT_FLOW_NEW": 1})
        assert got.verdict == (TC_NEXT if method == "masq" else TC_SHOT)
    assert len(lab.forward_flows()) == 1


@FAMILIES
@METHODS
def test_an_interface_that_is_not_ours(lab: Lab, family: int, method: str) -> None:
    Director(lab).put(virtual(family), [MAKE[method](0, family)])
    lab.maps.port_of_ifindex.delete(lab.ifindex["back"].to_bytes(4, "little"))
    got = lab.send(sent_by_client(family, flags="S"))
    assert got.reasons == {"DROP_NO_EGRESS": 1, "EVENT_FLOW_NEW": 1}


@FAMILIES
@METHODS
def test_a_change_of_routes_is_looked_at(lab: Lab, family: int, method: str) -> None:
    """By TC, with the next packet; XDP waits for it."""
    Director(lab).put(virtual(family), [MAKE[method](0, family)])
    lab.send(sent_by_client(family, flags="S"))
    packet = sent_by_client(family)
    sent(lab, packet, "xdp")
    lab.forget_hops()
    assert_passed(lab.send(packet, "xdp"), packet, "", "xdp")
    sent(lab, packet, "tc")
    got = sent(lab, packet, "xdp")
    layers = Ether(got.frame)
    assert (layers.src, layers.dst) == (MAC_BACK, mac_of(REALS[family][0]))


@pytest.mark.parametrize(("family", "outer"), [(4, 6), (6, 4)])
def test_masquerading_does_not_lead_to_the_other_family(lab: Lab, family: int, outer: int) -> None:
    """The rule table refuses such rules as the kernel does; the datapath would not know how."""
    Director(lab).put(virtual(family), [masq(0, outer)])
    assert_dropped(lab.send(sent_by_client(family, flags="S")), "DROP_CROSS_FAMILY")
    assert not lab.live()
