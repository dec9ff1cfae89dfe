# SPDX-License-Identifier: Apache-2.0
"""The protocol state of an IPVS connection, read, and put as if packets had led there."""

from __future__ import annotations

from bpf_lab import INACTIVE, NO_SLOT, Flow, Lab

TCP_STATES = ("NO", "ES", "SS", "SR", "FW", "TW", "CL", "CW", "LA", "LI", "SA")
TCP_ACTIVE = {"ES", "SS", "SR", "SA"}
SCTP_STATES = (
    *("NO", "I1", "IN", "CS", "CR", "CW", "CO"),
    *("CE", "ES", "SS", "SR", "SA", "RJ", "CL"),
)
SCTP_ACTIVE = {"ES"}


def names(flow: Flow) -> tuple[str, ...]:
    return SCTP_STATES if flow.proto == 132 else TCP_STATES


def state(flow: Flow) -> str:
    return names(flow)[flow.common.integer("word") & 15]


def put_state(lab: Lab, flow: Flow, name: str) -> None:
    """Both directions in that state, and the connection counted as active or not by it."""
    common = lab.layouts[flow.family].field("f").nested
    assert common is not None
    table = lab.flows[flow.family]
    peer = flow.common.integer("peer")
    for slot in (flow.slot, *([peer] if peer != NO_SLOT else [])):
        word = table.load32(slot, common.offset("word"))
        table.store32(slot, common.offset("word"), word & ~15 | names(flow).index(name))
    active = name in (SCTP_ACTIVE if flow.proto == 132 else TCP_ACTIVE)
    ctl = table.load32(flow.slot, common.offset("ctl"))
    now = ctl & ~INACTIVE if active else ctl | INACTIVE
    table.store32(flow.slot, common.offset("ctl"), now)
    at = lab.codec.real_live.offset("active")
    real = flow.common.integer("real")
    before = lab.maps.real_lives.load32(real, at)
    change = int(active) - int(not ctl & INACTIVE)
    lab.maps.real_lives.store32(real, at, before + change)
