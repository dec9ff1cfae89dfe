# SPDX-License-Identifier: Apache-2.0
"""What must hold for IPVS's connections, templates and counts after every packet and sweep."""

from __future__ import annotations

from collections import Counter

from bpf_lab import COUNTED, HOP_RANGE, INACTIVE, IPVS, REVERSE, Flow, Lab

from penstock.kernel.btf import Record

CONTROLLED = 0x20  # in a flow's word
_PERSISTENT = 2  # in a service's flags
_FTP = 21
# TCP: ESTABLISHED SYN_SENT SYN_RECV SYNACK; SCTP: ESTABLISHED; UDP: never.
_ACTIVE_STATES = {6: {1, 2, 3, 10}, 132: {8}, 17: set()}

Key = tuple[bytes, bytes, int, int, int]  # client, vip, port, protocol, family


def check(lab: Lab, flows: list[Flow]) -> None:
    """Raises AssertionError for the first thing that is not as it must be."""
    heads = [flow for flow in flows if flow.ctl & IPVS and not flow.ctl & REVERSE]
    _check_private(lab)
    _check_active(lab, heads)
    _check_words(flows)
    _check_templates(lab, heads)


def _check_private(lab: Lab) -> None:
    """The slots for single datagrams, one a CPU behind all others, are free between packets."""
    for family in (4, 6):
        stride = lab.flows[family].stride // 4
        first = (lab.slots[family] + HOP_RANGE) * stride
        ctls = lab.flows[family].words[first::stride].tolist()
        assert ctls
        assert not any(ctls), f"private slots of v{family}: {ctls}"


def _check_active(lab: Lab, heads: list[Flow]) -> None:
    for flow in heads:
        assert flow.ctl & COUNTED
        active = flow.common.integer("word") & 15 in _ACTIVE_STATES[flow.proto]
        assert active != bool(flow.ctl & INACTIVE), f"slot {flow.slot}: {flow.ctl:#x}"
    active_of = Counter(flow.common.integer("real") for flow in heads if not flow.ctl & INACTIVE)
    at = lab.codec.real_live.offset("active")
    for number in lab.ids:
        assert lab.maps.real_lives.load32(number, at) == active_of[number], f"real {number}"


def _check_words(flows: list[Flow]) -> None:
    """Both directions know the protocol's state."""
    slots = {(flow.family, flow.slot): flow for flow in flows}
    for flow in flows:
        if flow.ctl & IPVS and flow.ctl & REVERSE:
            peer = slots[flow.family, flow.common.integer("peer")]
            assert flow.common.integer("word") == peer.common.integer("word") & 15


def _check_templates(lab: Lab, heads: list[Flow]) -> None:
    templates = {
        _key_of(lab.codec.template_key.unpack(raw)): lab.codec.template.unpack(value)
        for raw, value in lab.maps.templates.items()
    }
    controlled: Counter[Key] = Counter()
    for flow in heads:
        if flow.common.integer("word") & CONTROLLED:
            controlled[_template_of(lab, flow)] += 1
    for key, template in templates.items():
        assert template.integer("controls") == controlled[key], f"template {key}"
    assert not set(controlled) - set(templates), "a template ended before its connections"
    persist_of = Counter(template.integer("real") for template in templates.values())
    at = lab.codec.real_live.offset("persist")
    for number in lab.ids:
        assert lab.maps.real_lives.load32(number, at) == persist_of[number], f"real {number}"


def _key_of(fields: Record) -> Key:
    return (
        fields.raw("client"),
        fields.raw("vip"),
        fields.integer("port"),
        fields.integer("proto"),
        fields.integer("af"),
    )


def _template_of(lab: Lab, flow: Flow) -> Key:
    """The key of the template that a connection of a persistent service hangs on."""
    raw = lab.maps.services.get(flow.common.integer("service").to_bytes(4, "little"))
    assert raw is not None
    service = lab.codec.service.unpack(raw)
    assert service.integer("flags") & _PERSISTENT
    size = 4 if flow.family == 4 else 16
    mask = service.raw("mask")[:size]
    client = bytes(a & b for a, b in zip(flow.record.raw("saddr"), mask, strict=True))
    mark, port = service.integer("fwmark"), service.integer("port")
    if mark:
        return client.ljust(16, b"\0"), mark.to_bytes(16, "little"), 0, 0, flow.family
    tied = port if flow.port("dport") == port != _FTP else 0
    vip = flow.record.raw("daddr").ljust(16, b"\0")
    return client.ljust(16, b"\0"), vip, tied, flow.proto, flow.family
