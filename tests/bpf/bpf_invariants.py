# SPDX-License-Identifier: Apache-2.0
"""What must hold for the whole flow table after every packet and every sweep."""

from __future__ import annotations

import itertools
from collections import Counter

import bpf_ipvs_invariants
from bpf_lab import COUNTED, CROSS, HOP_RANGE, LIVE, NO_SLOT, ONEWAY, PARTED, REVERSE, Flow, Lab
from bpf_model import flow_home


def check(lab: Lab) -> None:
    """Raises AssertionError for the first thing that is not as it must be."""
    flows = {(flow.family, flow.slot): flow for flow in lab.live()}
    for family in (4, 6):
        _check_reachability(lab, family, [f for f in flows.values() if f.family == family])
        _check_occupied(lab, family)
    keys = Counter(_key(flow) for flow in flows.values())
    assert all(count == 1 for count in keys.values()), f"two slots of one key: {keys}"
    for flow in flows.values():
        if flow.ctl & ONEWAY:
            assert flow.common.integer("peer") == NO_SLOT, f"slot {flow.slot} is one-way"
        elif not flow.ctl & PARTED:
            _check_peer(flow, flows)
    _check_counts(lab, list(flows.values()))
    bpf_ipvs_invariants.check(lab, list(flows.values()))


def _key(flow: Flow) -> tuple[object, ...]:
    ends = (str(flow.address(n)) for n in ("saddr", "daddr"))
    return (*ends, flow.port("sport"), flow.port("dport"), flow.proto)


def _check_reachability(lab: Lab, family: int, flows: list[Flow]) -> None:
    """Every live slot is found from its home, and nothing else is pointed at."""
    hops: Counter[int] = Counter()
    for flow in flows:
        dist = flow.common.integer("dist") & 0x1F  # above: whether it is logged
        assert dist < HOP_RANGE, f"slot {flow.slot} is {dist} from its home"
        home = flow_home(
            (str(flow.address("saddr")), flow.port("sport")),
            (str(flow.address("daddr")), flow.port("dport")),
            flow.proto,
            lab.hash_seed,
            lab.slots[family],
        )
        assert flow.slot - dist == home, f"slot {flow.slot} has its home at {home}, dist {dist}"
        hops[home] |= 1 << dist
    stride = lab.flows[family].stride // 4
    hop_at = lab.layouts[family].field("f").nested
    assert hop_at is not None
    bitmaps = lab.flows[family].words[hop_at.offset("hop") // 4 :: stride].tolist()
    pointing = dict(
        zip(itertools.compress(itertools.count(), bitmaps), filter(None, bitmaps), strict=True)
    )
    for slot in pointing.keys() | hops.keys():
        bits = pointing.get(slot, 0)
        assert bits == hops[slot], f"home {slot} points at {bits:#x}, not {hops[slot]:#x}"


def _check_occupied(lab: Lab, family: int) -> None:
    stride = lab.flows[family].stride // 4
    ctls = lab.flows[family].words[0::stride].tolist()
    used: Counter[int] = Counter()  # bits, by word
    for slot in itertools.compress(itertools.count(), ctls):
        assert ctls[slot] & 3 in (0, LIVE), f"slot {slot} was left busy"
        used[slot >> 6] |= (ctls[slot] & 3 != 0) << (slot & 63)
    quads = lab.occupied[family].quads.tolist()
    for word in used.keys() | set(itertools.compress(itertools.count(), quads)):
        assert quads[word] == used[word], f"slots from {word << 6} on: {quads[word]:#x} is set"


def _check_peer(flow: Flow, flows: dict[tuple[int, int], Flow]) -> None:
    peer = flows.get((flow.peer_family, flow.common.integer("peer")))
    assert peer is not None, f"slot {flow.slot} of v{flow.family} has no peer"
    assert peer.common.integer("peer") == flow.slot
    assert (peer.ctl ^ flow.ctl) & REVERSE
    assert not (peer.ctl ^ flow.ctl) & CROSS
    assert peer.common.integer("real") == flow.common.integer("real")
    assert peer.common.integer("service") == flow.common.integer("service")


def _check_counts(lab: Lab, flows: list[Flow]) -> None:
    counted = [flow for flow in flows if flow.ctl & COUNTED]
    assert not [flow for flow in counted if flow.ctl & REVERSE]
    services = Counter(flow.common.integer("service") for flow in counted)
    reals = Counter(flow.common.integer("real") for flow in counted)
    for number in lab.ids:
        assert lab.service_conns(number) == services[number], f"service {number}"
        assert lab.real_conns(number) == reals[number], f"real {number}"
    assert lab.control("conns") == len(counted)
    heads = [flow for flow in flows if not flow.ctl & REVERSE or _is_alone(flow, flows)]
    assert lab.control("flows") == len(heads)


def _is_alone(flow: Flow, flows: list[Flow]) -> bool:
    """The client of a reverse slot went on, which then counts as the flow."""
    peer = flow.common.integer("peer")
    return bool(flow.ctl & PARTED) and not any(
        other.slot == peer
        and other.family == flow.peer_family
        and other.common.integer("peer") == flow.slot
        and not other.ctl & REVERSE
        for other in flows
    )
