# SPDX-License-Identifier: Apache-2.0
"""Which packets open an IPVS connection, for which service, and what becomes of the others."""

from __future__ import annotations

import pytest
from bpf_cases import FAMILIES, HOOKS, PROTOCOLS, assert_answered, assert_dropped, assert_passed
from bpf_director import PORT, REAL_PORT, Director, marked, masq, route, tunnel, virtual
from bpf_errors import PORT_UNREACHABLE, assert_error
from bpf_lab import CLIENTS, REALS, TC_NEXT, VIP, Hook, Lab, Result, ticks
from bpf_packets import UDP, Raw, decode, frame, ip, tcp, udp
from bpf_states import put_state, state
from scapy.layers.inet import fragment

pytestmark = pytest.mark.root

NEW = {"EVENT_FORWARDED_TC": 1, "EVENT_FLOW_NEW": 1}


def client(family: int = 4, port: int = 40000, number: int = 0) -> tuple[str, int]:
    return CLIENTS[family][number], port


def service(family: int = 4, port: int = PORT) -> tuple[str, int]:
    return VIP[family], port


def packet_of(proto: str, source: tuple[str, int], target: tuple[str, int]) -> bytes:
    return tcp(source, target, "S") if proto == "tcp" else udp(source, target, b"new")


def real_of(got: Result) -> str:
    """The real server that a masqueraded packet went to."""
    assert got.forwarded, got.reasons
    return decode(got.frame).target[0]


# -- TCP segments -------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("flags", ["", "A", "F", "FA", "PA", "R", "RA", "SR", "SAR", "SFR"])
def test_only_a_syn_opens(lab: Lab, family: int, flags: str) -> None:
    Director(lab).put(virtual(family), [masq(0, family)])
    packet = tcp(client(family), service(family), flags)
    assert_passed(lab.send(packet), packet, "PASS_NO_FLOW")
    assert not lab.live()


@pytest.mark.parametrize("flags", ["S", "SA", "SF", "SP", "SFA"])
def test_any_syn_without_reset_does(lab: Lab, flags: str) -> None:
    Director(lab).put(virtual(), [masq(0)])
    assert lab.send(tcp(client(), service(), flags)).reasons == NEW


@pytest.mark.parametrize(("flags", "opens"), [("A", True), ("FA", True), ("", True), ("R", False)])
def test_sloppy_tcp_opens_with_all_but_resets(lab: Lab, flags: str, *, opens: bool) -> None:
    director = Director(lab)
    director.put(virtual(), [masq(0)])
    director.set(sloppy_tcp=1)
    packet = tcp(client(), service(), flags)
    got = lab.send(packet)
    if opens:
        assert got.reasons == NEW | {"EVENT_FLOW_TAKEN_OVER": 1}
        assert state(lab.only_flow()) == {"A": "ES", "FA": "CL", "": "CL"}[flags]
    else:
        assert_passed(got, packet, "PASS_NO_FLOW")


@pytest.mark.parametrize("scheduler", ["mh", "sh", "dh", "rr", "wlc"])
@pytest.mark.parametrize("asked", [None, True, False])
def test_hashing_takes_over_what_began_elsewhere(
    lab: Lab, scheduler: str, *, asked: bool | None
) -> None:
    """mh unasked, sh and dh when asked, nobody else: only they choose the same everywhere."""
    director = Director(lab)
    director.put(virtual(scheduler=scheduler, takeover=asked), [masq(0), masq(1)])
    takes = scheduler in ("mh", "sh", "dh") and (asked or (asked is None and scheduler == "mh"))
    packet = tcp(client(), service(), "A", b"mid-stream")
    got = lab.send(packet)
    if takes:
        assert got.reasons == NEW | {"EVENT_FLOW_TAKEN_OVER": 1}
        assert state(lab.only_flow()) == "ES"
        reset = tcp(client(port=40001), service(), "R")
        assert_passed(lab.send(reset), reset, "PASS_NO_FLOW")
    else:
        assert_passed(got, packet, "PASS_NO_FLOW")


@PROTOCOLS
@pytest.mark.parametrize("persistent", [0, 300])
def test_source_port_20_never_opens(lab: Lab, proto: str, persistent: int) -> None:
    """It is an active FTP server's."""
    director = Director(lab)
    director.put(virtual(4, proto, persistent=persistent), [masq(0)])
    director.set(sloppy_tcp=1)
    packet = packet_of(proto, client(port=20), service())
    assert_passed(lab.send(packet), packet, "PASS_NO_FLOW")


# -- services -----------------------------------------------------------------------------


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("dests", ["none", "weight 0", "overloaded", "scheduler none"])
def test_nobody_to_send_to_is_port_unreachable_for_tcp_too(
    lab: Lab, family: int, proto: str, dests: str
) -> None:
    director = Director(lab)
    if dests == "overloaded":
        key = director.put(virtual(family, proto), [masq(0, family, upper=1)])
        assert lab.send(packet_of(proto, client(family, 39999), service(family))).forwarded
    elif dests == "scheduler none":
        key = director.put(virtual(family, proto, scheduler="none"), [masq(0, family)])
    else:
        some = [masq(0, family, weight=0)] if dests == "weight 0" else []
        key = director.put(virtual(family, proto), some)
    before = director.counters(key)[""]
    packet = packet_of(proto, client(family), service(family))
    got = lab.send(packet)
    assert_answered(got, "DROP_NO_DESTINATION")
    assert_error(got, packet, PORT_UNREACHABLE)
    assert director.counters(key)[""] == before  # not counted


@FAMILIES
@PROTOCOLS
def test_a_persistent_service_of_port_0_takes_every_port(lab: Lab, family: int, proto: str) -> None:
    director = Director(lab)
    director.put(
        virtual(family, proto, 0, persistent=300),
        [masq(0, family, port=0), masq(1, family, port=0)],
    )
    director.put(virtual(family, proto, 443), [masq(2, family, port=8443)])
    reals = set()
    for port in (80, 22, 65535):
        got = lab.send(packet_of(proto, client(family, 40000 + port % 97), service(family, port)))
        assert decode(got.frame).target[1] == port
        reals.add(real_of(got))
    assert len(reals) == 1
    got = lab.send(packet_of(proto, client(family, 41000), service(family, 443)))
    assert decode(got.frame).target == (REALS[family][2], 8443)


def test_a_service_of_port_0_is_not_met_once_it_has_gone(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(port=0, persistent=300), [masq(0, port=0)])
    assert lab.send(tcp(client(), service(), "S")).forwarded
    director.remove(key)
    packet = tcp(client(port=40001), service(), "S")
    assert_passed(lab.send(packet), packet, "PASS_NO_SERVICE")


def test_ports_of_ftp_belong_to_its_persistent_service(lab: Lab) -> None:
    """Passive data connections go where the control connection went."""
    director = Director(lab)
    director.put(virtual(port=21, persistent=300), [masq(0, port=21), masq(1, port=21)])
    control = real_of(lab.send(tcp(client(), service(port=21), "S")))
    for port in (20, 1024, 50000):
        got = lab.send(tcp(client(port=42000 + port % 97), service(port=port), "S"))
        assert decode(got.frame).target == (control, port)
    packet = tcp(client(port=43000), service(port=1023), "S")
    assert_passed(lab.send(packet), packet, "PASS_NO_SERVICE")
    packet = udp(client(port=43000), service(port=50000))
    assert_passed(lab.send(packet), packet, "PASS_NO_SERVICE")


@pytest.mark.parametrize("persistent", [0, 300])
def test_other_ports_of_an_ftp_service_that_cannot_serve_them_are_the_hosts(
    lab: Lab, persistent: int
) -> None:
    """``ip_vs_leave()``: it may be that the host itself has a service there."""
    director = Director(lab)
    weight = 1 if not persistent else 0
    director.put(virtual(port=21, persistent=persistent), [masq(0, port=21, weight=weight)])
    packet = tcp(client(), service(port=50000), "S")
    assert_passed(lab.send(packet), packet, "PASS_NO_SERVICE")
    if persistent:
        packet = tcp(client(), service(port=21), "S")
        assert_answered(lab.send(packet), "DROP_NO_DESTINATION")


@FAMILIES
@PROTOCOLS
def test_a_mark_comes_before_the_address(lab: Lab, family: int, proto: str) -> None:
    director = Director(lab)
    director.put(virtual(family, proto), [masq(0, family)])
    director.put(marked(7, family), [masq(1, family, port=0)])
    director.put(marked(8, 10 - family), [masq(2, 10 - family, port=0)])
    seen = []
    for port, mark in enumerate((0, 7, 8, 9), 40000):
        got = lab.send(packet_of(proto, client(family, port), service(family)), mark=mark)
        seen.append(decode(got.frame).target)
    plain = (REALS[family][0], REAL_PORT)
    assert seen == [plain, (REALS[family][1], PORT), plain, plain]


@PROTOCOLS
def test_a_mark_needs_no_address_or_port_of_ours(lab: Lab, proto: str) -> None:
    director = Director(lab)
    key = director.put(marked(7), [masq(0, port=0), masq(1, port=0)])
    for port in range(80, 84):
        got = lab.send(packet_of(proto, client(port=40000), ("198.51.100.9", port)), mark=7)
        assert decode(got.frame).target[1] == port
    assert [one.conns for one in director.counters(key).values()] == [4, 2, 2]
    # Later packets of a connection are known by their addresses, marked or not.
    assert lab.send(packet_of(proto, client(port=40000), ("198.51.100.9", 80))).forwarded
    packet = packet_of(proto, client(port=40001), ("198.51.100.9", 80))
    assert_passed(lab.send(packet), packet, "PASS_NO_SERVICE")


# -- what is there already ----------------------------------------------------------------


@pytest.mark.parametrize("one_way", [True, False])
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("was", ["NO", "ES", "SR", "SS", "FW", "TW", "CL", "CW", "LA", "LI", "SA"])
def test_a_new_connection_on_the_ports_of_an_old_one(
    lab: Lab, mode: int, was: str, *, one_way: bool
) -> None:
    """conn_reuse_mode: which states it takes the place of."""
    director = Director(lab)
    make = route if one_way else masq
    key = director.put(virtual(), [make(0), make(1)])
    director.set(conn_reuse_mode=mode)
    assert lab.send(tcp(client(), service(), "S")).reasons == NEW
    put_state(lab, lab.only_flow(), was)
    got = lab.send(tcp(client(), service(), "S"))
    again = mode and (was in ("TW", "CL") or (was == "FW" and mode & 2 and one_way))
    assert ("EVENT_FLOW_NEW" in got.reasons) == bool(again)
    assert director.counters(key)[""].conns == (2 if again else 1)
    assert len(lab.forward_flows()) == 1
    if again:
        assert state(lab.only_flow()) == "SR"
        assert lab.only_flow().common.integer("word") & 15 == 3


def test_a_controlled_connection_is_not_scheduled_anew(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(persistent=300), [masq(0), masq(1)])
    assert lab.send(tcp(client(), service(), "S")).forwarded
    put_state(lab, lab.only_flow(), "TW")
    got = lab.send(tcp(client(), service(), "S"))
    assert got.reasons == {"EVENT_FORWARDED_TC": 1}
    assert director.counters(key)[""].conns == 1


@PROTOCOLS
@pytest.mark.parametrize("expire", [0, 1])
def test_a_syn_meets_a_quiesced_destination(lab: Lab, proto: str, expire: int) -> None:
    """Weight 0: connections go on, but with expire_nodest_conn a new SYN goes elsewhere."""
    director = Director(lab)
    key = director.put(virtual(4, proto), [masq(0), masq(1)])
    director.set(expire_nodest_conn=expire)
    first = real_of(lab.send(packet_of(proto, client(), service())))
    director.edit(key, first, weight=0)
    if proto == "tcp":
        assert real_of(lab.send(tcp(client(), service(), "A"))) == first
    again = real_of(lab.send(packet_of(proto, client(), service())))
    assert (again != first) == bool(expire and proto == "tcp")


@HOOKS
@pytest.mark.parametrize("expire", [0, 1])
@pytest.mark.parametrize("method", ["masq", "route", "tunnel"])
def test_datagrams_leave_a_quiesced_destination_when_asked_to(
    lab: Lab, hook: Hook, expire: int, method: str
) -> None:
    """expire_quiescent_udp: the same client's next one goes to another."""
    make = {"masq": masq, "route": route, "tunnel": tunnel}[method]
    director = Director(lab)
    key = director.put(virtual(4, "udp"), [make(0), make(1)])
    director.set(expire_quiescent_udp=expire)
    packet = udp(client(), service(), b"again")
    for _ in range(2):
        assert lab.send(packet).forwarded
    director.edit(key, REALS[4][0], weight=0)
    if hook == "xdp":
        assert lab.send(packet, "xdp").forwarded == (not expire)
    assert lab.send(packet).forwarded
    moved = {REALS[4][0]: (0, 0), REALS[4][1]: (0, 1)}
    assert (director.loads(key) == moved) == bool(expire)


@FAMILIES
@PROTOCOLS
@HOOKS
@pytest.mark.parametrize("method", ["masq", "route", "tunnel"])
def test_packets_to_a_deleted_destination_are_dropped(
    lab: Lab, family: int, proto: str, hook: Hook, method: str
) -> None:
    director = Director(lab)
    make = {"masq": masq, "route": route, "tunnel": tunnel}[method]
    key = director.put(virtual(family, proto), [make(0, family), make(1, family)])
    for _ in range(2):
        assert lab.send(packet_of(proto, client(family), service(family))).forwarded
    packet = (tcp if proto == "tcp" else udp)(client(family), service(family), payload=b"later")
    assert lab.send(packet, hook).forwarded
    director.dests(key, make(1, family))
    if hook == "xdp":
        assert_passed(lab.send(packet, "xdp"), packet, "", "xdp")
    assert_dropped(lab.send(packet), "DROP_DESTINATION_GONE")
    assert len(lab.forward_flows()) == 1
    if method == "masq":  # what the real still says reaches the client
        back = (tcp if proto == "tcp" else udp)(
            (REALS[family][0], REAL_PORT), client(family), payload=b"late", at="back"
        )
        assert lab.send(back, at="back").forwarded
    director.dests(key, make(0, family), make(1, family))  # and it comes back
    assert lab.send(packet, hook).forwarded
    director.remove(key)
    assert_dropped(lab.send(packet), "DROP_DESTINATION_GONE")


def gone(lab: Lab, proto: str, *, at_once: bool) -> bytes:
    """A destination with a connection goes; *at_once*: expire_nodest_conn is set by then."""
    director = Director(lab)
    key = director.put(virtual(4, proto), [masq(0), masq(1)])
    assert real_of(lab.send(packet_of(proto, client(), service()))) == REALS[4][0]
    director.set(expire_nodest_conn=int(at_once))
    director.dests(key, masq(1))
    assert len(lab.forward_flows()) == int(not at_once)
    director.set(expire_nodest_conn=1)
    return packet_of(proto, client(), service())


AT_ONCE = pytest.mark.parametrize("at_once", [True, False])


@PROTOCOLS
@AT_ONCE
def test_expire_nodest_conn_schedules_anew(lab: Lab, proto: str, *, at_once: bool) -> None:
    packet = gone(lab, proto, at_once=at_once)
    assert real_of(lab.send(packet)) == REALS[4][1]
    assert len(lab.forward_flows()) == 1


@AT_ONCE
def test_expire_nodest_conn_leaves_a_segment_that_opens_nothing_to_the_host(
    lab: Lab, *, at_once: bool
) -> None:
    gone(lab, "tcp", at_once=at_once)
    packet = tcp(client(), service(), "A", b"data")
    assert_passed(lab.send(packet), packet, "PASS_NO_FLOW")
    assert not lab.live()


# -- one packet scheduling, load ----------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("method", ["masq", "route", "tunnel"])
def test_one_packet_scheduling_leaves_no_flow(lab: Lab, family: int, method: str) -> None:
    make = {"masq": masq, "route": route, "tunnel": tunnel}[method]
    director = Director(lab)
    key = director.put(virtual(family, "udp", ops=True), [make(n, family) for n in range(3)])
    for _ in range(6):
        packet = udp(client(family), service(family), b"question")
        assert lab.send(packet).reasons == NEW
        assert not lab.live()
    found = director.counters(key)
    assert [one.conns for one in found.values()] == [6, 2, 2, 2]
    assert [one.packets_in for one in found.values()] == [6, 2, 2, 2]
    assert set(director.loads(key).values()) == {(0, 0)}


def test_answers_of_one_packet_services_are_not_ours(lab: Lab) -> None:
    director = Director(lab)
    director.put(virtual(4, "udp", ops=True), [masq(0)])
    got = lab.send(udp(client(), service(), b"question"))
    assert decode(got.frame).target == (REALS[4][0], REAL_PORT)
    answer = udp((REALS[4][0], REAL_PORT), client(), b"answer", at="back")
    got = lab.send(answer, at="back")
    assert (got.verdict, got.frame) == (TC_NEXT, answer)


def test_one_packet_scheduling_is_for_udp_only(lab: Lab) -> None:
    director = Director(lab)
    director.put(marked(7, ops=True), [masq(0, port=0)])
    assert lab.send(udp(client(), service(), b"question"), mark=7).forwarded
    assert not lab.live()
    assert lab.send(tcp(client(), service(), "S"), mark=7).forwarded
    assert len(lab.forward_flows()) == 1


def test_a_dropped_datagram_leaves_its_private_slot(lab: Lab) -> None:
    Director(lab).put(virtual(4, "udp", ops=True), [masq(0)])
    got = lab.send(udp(client(), service(), b"question", ttl=1))
    assert_answered_new(got, "DROP_TTL")
    assert not lab.live()
    parts = fragment(ip(client()[0], VIP[4], id=9) / UDP(sport=1, dport=PORT) / Raw(bytes(2000)))
    for part in parts:
        lab.send(frame(part))
    assert not lab.live()


def assert_answered_new(got: Result, reason: str) -> None:
    assert got.reasons == {reason: 1, "EVENT_ANSWERED_ICMP": 1, "EVENT_FLOW_NEW": 1}


@PROTOCOLS
@pytest.mark.parametrize("rate", [1, 2, 4, 7])
def test_one_new_connection_in_so_many_is_dropped(lab: Lab, proto: str, rate: int) -> None:
    """drop_packet 3: established connections are not touched, and the count goes over services."""
    director = Director(lab)
    director.put(virtual(4, proto, 80), [masq(0)])
    director.put(virtual(4, proto, 81), [masq(1)])
    old = packet_of(proto, client(port=39000), service())
    assert lab.send(old).forwarded
    director.set(am_droprate=rate, drop_packet=3)
    dropped = []
    for n in range(20):
        assert lab.send(old).reasons == {"EVENT_FORWARDED_TC": 1}
        got = lab.send(packet_of(proto, client(port=40000 + n), service(port=80 + n % 2)))
        if "DROP_LOAD" in got.reasons:
            assert_dropped(got, "DROP_LOAD")
            dropped.append(n)
    assert dropped == list(range(0, 20, rate))
    director.set(drop_packet=0)
    assert lab.send(packet_of(proto, client(port=41000), service())).forwarded


# -- room in the table --------------------------------------------------------------------


@pytest.mark.parametrize("one_way", [True, False])
def test_a_full_table_never_costs_an_established_connection(lab: Lab, *, one_way: bool) -> None:
    """Not even after hours of silence; finished ones and unanswered SYNs make room."""
    director = Director(lab)
    key = director.put(virtual(), [route(0) if one_way else masq(0)])
    ports = ((f"10.1.0.{2 + n % 3}", 1024 + n // 3) for n in range(2 * lab.slots[4]))
    for source in ports:
        lab.keep_fresh()
        got = lab.send(tcp(source, service(), "S"))
        if not got.forwarded:
            break
    assert_dropped(got, "DROP_TABLE_FULL")
    opened = len(lab.forward_flows())
    assert opened > lab.slots[4] // 4
    for flow in lab.forward_flows():
        put_state(lab, flow, "ES")
    lab.age(ticks(800))
    assert_dropped(lab.send(tcp(source, service(), "S")), "DROP_TABLE_FULL")
    assert director.loads(key)[REALS[4][0]] == (opened, 0)
    for flow in lab.forward_flows():
        put_state(lab, flow, "TW")
    got = lab.send(tcp(source, service(), "S"))
    assert got.reasons["EVENT_FLOW_EVICTED"] >= 1
    assert got.forwarded
