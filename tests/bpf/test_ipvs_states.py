# SPDX-License-Identifier: Apache-2.0
"""TCP and SCTP as IPVS follows them: every state, every segment, and how long each state lasts."""

from __future__ import annotations

from itertools import product

import bpf_ipvs_invariants
import pytest
from bpf_cases import FAMILIES, HOOKS
from bpf_director import PORT, REAL_PORT, Director, masq, route, virtual
from bpf_lab import CLIENTS, REALS, VIP, XDP_PASS, Hook, Lab, Result, ticks
from bpf_packets import tcp, udp
from bpf_sctp import (
    ABORT,
    COOKIE_ACK,
    COOKIE_ECHO,
    CWR,
    DATA,
    ECNE,
    ERROR,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    SACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    chunk,
    sctp,
)
from bpf_states import SCTP_STATES, TCP_ACTIVE, TCP_STATES, put_state, state

pytestmark = pytest.mark.root

# Rows: SYN, FIN, ACK, RST; columns as TCP_STATES.
TCP_TABLE = {
    "client": """
        SR ES ES SR SR SR SR SR SR SR SR
        CL CW SS TW TW TW CL CW LA LI TW
        ES ES SS ES FW TW CL CW CL LI ES
        CL CL CL SR CL CL CL CL LA LI SR""",
    "real": """
        SS ES SS SR SS SS SS SS SS LI SR
        TW FW SS TW FW TW CL TW LA LI TW
        ES ES SS ES FW TW CL CW LA ES ES
        CL CL SS CL CL TW CL CL CL CL CL""",
    "one-way": """
        SR ES ES SR SR SR SR SR SR SR SR
        CL FW SS TW FW TW CL CW LA LI TW
        ES ES SS ES FW TW CL CW CL LI ES
        CL CL CL SR CL CL CL CL LA LI CL""",
}
TCP_SECONDS = dict(zip(TCP_STATES, (2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120), strict=True))
FLAGS = ["".join(some) for some in product(("", "S"), ("", "F"), ("", "A"), ("", "R"))]

# Rows: DATA, INIT, INIT ACK, COOKIE ECHO, COOKIE ACK, SHUTDOWN, SHUTDOWN ACK, SHUTDOWN COMPLETE,
# ERROR, ABORT; columns as SCTP_STATES.
SCTP_TABLE = {
    "client": """
        ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
        I1 IN IN CS CR CW CO CE ES SS SR SA IN IN
        CW CW CW CS CR CO CO CE ES SS SR SA RJ CL
        CR IN IN CR CR CW CO CE ES SS SR SA RJ CL
        ES I1 IN CS CR CW CO ES ES SS SR SA RJ CL
        SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
        CL IN IN CS CR CW CO CE ES CL SR CL RJ CL
        CL CL CL CS CR CW CO CE ES SS SR CL RJ CL
        CL I1 IN CS CR CW CO CL ES SS SR SA RJ CL
        CL CL CL CL CL RJ CL CL CL CL CL CL CL CL""",
    "real": """
        ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
        CW CW CW CW CW CW CW CW ES CW CW CW CW CW
        CS CS CS CS CR CW CO CE ES SS SR SA RJ CL
        CE CE CE CE CE CE CE CE ES SS SR SA RJ CL
        ES ES ES ES ES ES ES ES ES SS SR SA RJ CL
        SS SS SS SS SS SS SS SS SS SS SR SA RJ CL
        SA SA SA SA SA CW CO CE ES SA SA SA RJ CL
        CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
        CL CL CL CL CL CW CO CE ES SS SR SA RJ CL
        CL RJ CL CL CL CL CL CL CL CL CL CL CL CL""",
    "one-way": """
        ES I1 IN CS CR ES CO CE ES SS SR SA RJ CL
        I1 IN IN IN IN IN CO CE ES SS SR SA IN IN
        CE CE CE CE CE CE CO CE ES SS SR SA RJ CL
        ES ES ES ES ES ES CO CE ES SS SR SA RJ CL
        ES I1 IN ES ES CW ES ES ES SS SR SA RJ CL
        SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
        CL IN IN CS CR CW CO CE CL CL SR CL RJ CL
        CL CL CL CL CL CW CO CE ES SS CL CL RJ CL
        CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
        CL CL CL CL CL RJ CL CL CL CL CL CL CL CL""",
}
SCTP_EVENTS = {
    DATA: 0,
    SACK: 0,
    HEARTBEAT: 0,
    HEARTBEAT_ACK: 0,
    ECNE: 0,
    CWR: 0,
    99: 0,
    INIT: 1,
    INIT_ACK: 2,
    COOKIE_ECHO: 3,
    COOKIE_ACK: 4,
    SHUTDOWN: 5,
    SHUTDOWN_ACK: 6,
    SHUTDOWN_COMPLETE: 7,
    ERROR: 8,
    ABORT: 9,
}
SCTP_SECONDS = dict.fromkeys(SCTP_STATES, 61) | {"NO": 2, "I1": 4, "ES": 900, "RJ": 4}

VIEWS = pytest.mark.parametrize("view", ["client", "real", "one-way"])
CLIENT_PORT = 40000


def table_row(tables: dict[str, str], view: str, row: int) -> dict[str, str]:
    """From each state to the next one."""
    after = tables[view].split()
    before = SCTP_STATES if tables is SCTP_TABLE else TCP_STATES
    return dict(zip(before, after[row * len(before) : (row + 1) * len(before)], strict=True))


def opened(lab: Lab, family: int, view: str, proto: str) -> Director:
    """A connection that has seen packets both ways, if it can; nothing reschedules it."""
    director = Director(lab)
    one_way = view == "one-way"
    dest = route(0, family) if one_way else masq(0, family)
    key = director.put(virtual(family, proto), [dest])
    director.set(conn_reuse_mode=0)
    client, vip = (CLIENTS[family][0], CLIENT_PORT), (VIP[family], PORT)
    make = {"tcp": lambda *ends: tcp(*ends, "S"), "sctp": lambda *ends: sctp(*ends, chunk(INIT))}
    assert lab.send(make[proto](client, vip)).forwarded
    if not one_way:
        for at, back in (("back", True), ("front", False), ("back", True)):
            ends = ((REALS[family][0], REAL_PORT), client) if back else (client, vip)
            sent = tcp(*ends, "A", at=at) if proto == "tcp" else sctp(*ends, chunk(DATA), at=at)
            assert lab.send(sent, at=at).forwarded
    assert director.counters(key)[""].conns == 1
    return director


def ends_of(family: int, view: str) -> tuple[tuple[str, int], tuple[str, int], str]:
    client = CLIENTS[family][0], CLIENT_PORT
    if view == "real":
        return (REALS[family][0], REAL_PORT), client, "back"
    return client, (VIP[family], PORT), "front"


def delivered(lab: Lab, packet: bytes, hook: Hook, at: str) -> Result:
    """By XDP where it knows the packet, else by TC."""
    if hook == "xdp":
        got = lab.send(packet, "xdp", at=at)
        if got.verdict != XDP_PASS:
            return got
        assert got.frame == packet
    return lab.send(packet, at=at)


@FAMILIES
@VIEWS
@HOOKS
def test_tcp_from_every_state_by_every_segment(
    lab: Lab, family: int, view: str, hook: Hook
) -> None:
    opened(lab, family, view, "tcp")
    source, target, at = ends_of(family, view)
    for before, flags in product(TCP_STATES, FLAGS):
        put_state(lab, lab.only_flow(), before)
        assert delivered(lab, tcp(source, target, flags, at=at), hook, at).forwarded
        row = next((n for n, flag in ((3, "R"), (0, "S"), (1, "F"), (2, "A")) if flag in flags), -1)
        expected = table_row(TCP_TABLE, view, row)[before] if row >= 0 else "CL"
        assert state(lab.only_flow()) == expected, f"{flags or 'nothing'} in {before}"
        bpf_ipvs_invariants.check(lab, lab.live())


@VIEWS
def test_sctp_from_every_state_by_every_chunk(lab: Lab, view: str) -> None:
    opened(lab, 4, view, "sctp")
    source, target, at = ends_of(4, view)
    for before, (kind, row) in product(SCTP_STATES, SCTP_EVENTS.items()):
        put_state(lab, lab.only_flow(), before)
        assert lab.send(sctp(source, target, chunk(kind), at=at), at=at).forwarded
        expected = table_row(SCTP_TABLE, view, row)[before]
        assert state(lab.only_flow()) == expected, f"chunk {kind} in {before}"
        bpf_ipvs_invariants.check(lab, lab.live())


@pytest.mark.parametrize("cookie", [COOKIE_ECHO, COOKIE_ACK])
@pytest.mark.parametrize("size", [0, 1, 100])
def test_an_abort_behind_a_cookie_counts(lab: Lab, cookie: int, size: int) -> None:
    opened(lab, 4, "client", "sctp")
    source, target, at = ends_of(4, "client")
    put_state(lab, lab.only_flow(), "ES")
    for follows, expected in ((DATA, "ES"), (ABORT, "CL")):
        chunks = chunk(cookie, bytes(size)) + chunk(follows)
        assert lab.send(sctp(source, target, chunks, at=at)).forwarded
        assert state(lab.only_flow()) == expected


@FAMILIES
@pytest.mark.parametrize("proto", ["tcp", "sctp"])
@pytest.mark.parametrize("view", ["client", "one-way"])
def test_how_long_each_state_lasts(lab: Lab, family: int, proto: str, view: str) -> None:
    seconds = TCP_SECONDS if proto == "tcp" else SCTP_SECONDS
    for name, lasts in seconds.items():
        lab.reset()
        opened(lab, family, view, proto)
        put_state(lab, lab.only_flow(), name)
        lab.age(ticks(lasts) - 32)
        assert lab.sweep() == 0, f"{name} ended before {lasts} s"
        lab.age(40)
        assert lab.sweep() == 1, f"{name} lasted longer than {lasts} s"
        assert not lab.live()
        bpf_ipvs_invariants.check(lab, lab.live())


def test_timeouts_that_may_be_set_are_three(lab: Lab) -> None:
    """``--set``: TCP ESTABLISHED, TCP FIN_WAIT, UDP; SYN_RECV keeps its minute."""
    for name, lasts in (("ES", 7), ("FW", 8), ("TW", 120), ("SR", 60)):
        lab.reset()
        director = opened(lab, 4, "client", "tcp")
        director.engine.set_timeouts(7, 8, 9)
        put_state(lab, lab.only_flow(), name)
        lab.age(ticks(lasts) - 32)
        assert lab.sweep() == 0, name
        lab.age(40)
        assert lab.sweep() == 1, name


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        *(("synsent", "SS"), ("synrecv", "SR"), ("timewait", "TW"), ("close", "CL")),
        *(("closewait", "CW"), ("lastack", "LA"), ("synack", "SA")),
    ],
)
def test_and_our_own_settings_for_the_others(lab: Lab, setting: str, name: str) -> None:
    director = opened(lab, 4, "client", "tcp")
    director.set(**{f"timeout_{setting}": 33})
    put_state(lab, lab.only_flow(), name)
    lab.age(ticks(33) - 32)
    assert lab.sweep() == 0
    lab.age(40)
    assert lab.sweep() == 1


@FAMILIES
@pytest.mark.parametrize("answered", [True, False])
def test_udp_lasts_from_the_last_datagram_of_either_side(
    lab: Lab, family: int, *, answered: bool
) -> None:
    director = Director(lab)
    key = director.put(virtual(family, "udp"), [masq(0, family)])
    client, real = (CLIENTS[family][0], CLIENT_PORT), (REALS[family][0], REAL_PORT)
    assert lab.send(udp(client, (VIP[family], PORT))).forwarded
    lab.age(ticks(200))
    if answered:
        assert lab.send(udp(real, client, at="back"), at="back").forwarded
    assert director.loads(key)[real[0]] == (0, 1)
    lab.age(ticks(150))
    assert lab.sweep() == (0 if answered else 1)
    lab.age(ticks(151))
    assert lab.sweep() == (1 if answered else 0)
    assert director.loads(key)[real[0]] == (0, 0)


@FAMILIES
@HOOKS
@pytest.mark.parametrize("one_way", [True, False])
def test_a_whole_connection_moves_the_counts(
    lab: Lab, family: int, hook: Hook, *, one_way: bool
) -> None:
    director = Director(lab)
    dest = route(0, family) if one_way else masq(0, family)
    key = director.put(virtual(family), [dest])
    seen = []
    script = [("client", "S"), ("real", "SA"), ("client", "A"), ("client", "PA")]
    script += [("client", "FA"), ("real", "FA"), ("client", "A"), ("client", "R")]
    for side, flags in script:
        if side == "real" and one_way:
            continue
        source, target, at = ends_of(family, side)
        assert delivered(lab, tcp(source, target, flags, at=at), hook, at).forwarded
        seen.append((state(lab.only_flow()), *director.loads(key)[REALS[family][0]]))
        assert (seen[-1][1] == 1) == (seen[-1][0] in TCP_ACTIVE)
    if one_way:
        expected = ["SR", "ES", "ES", "FW", "FW", "CL"]
    else:
        expected = ["SR", "SR", "ES", "ES", "CW", "TW", "TW", "CL"]
    assert [one for one, _, _ in seen] == expected


@FAMILIES
def test_an_answer_ends_what_is_only_heard_of_one_side(lab: Lab, family: int) -> None:
    """A masqueraded connection is followed by both tables; only -g and -i by the third."""
    opened(lab, family, "client", "tcp")
    assert not lab.only_flow().common.integer("word") & 0x10
    lab.reset()
    opened(lab, family, "one-way", "tcp")
    assert lab.only_flow().common.integer("word") & 0x10
