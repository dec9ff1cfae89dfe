# SPDX-License-Identifier: Apache-2.0
"""KernelRules on real maps, with connections: edits, deletions, restarts, counters, listings."""

from __future__ import annotations

import msgspec
import pytest
from bpf_cases import FAMILIES
from bpf_director import (
    PORT,
    REAL_PORT,
    Director,
    marked,
    masq,
    route,
    tunnel,
    virtual,
)
from bpf_lab import CLIENTS, REALS, VIP, Lab, Result, ticks
from bpf_packets import decode, tcp, udp
from bpf_sctp import INIT, chunk, sctp
from bpf_states import put_state

from penstock.ipvs.model import Connection, Proto

pytestmark = pytest.mark.root


def connect(lab: Lab, port: int, *, family: int = 4, vport: int = PORT, mark: int = 0) -> Result:
    client = CLIENTS[family][0], port
    return lab.send(tcp(client, (VIP[family], vport), "S"), mark=mark)


def real_of(got: Result) -> str:
    assert got.forwarded, got.reasons
    return decode(got.frame).target[0]


def elements(lab: Lab) -> dict[str, int]:
    """How many of each kind of object there are in the maps."""
    maps = lab.maps
    tables = {"vips": maps.vips, "services": maps.services, "pools": maps.pools}
    return {name: len(list(one.items())) for name, one in (tables | {"reals": maps.reals}).items()}


def end_all(lab: Lab) -> None:
    lab.age(ticks(2000))
    lab.sweep()
    assert not lab.live()


# -- putting and taking away --------------------------------------------------------------


def test_put_again_is_nothing_new(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(), [masq(0), masq(1)])
    first = real_of(connect(lab, 40000))
    before = elements(lab)
    for _ in range(3):
        director.put(director.images[key].service, director.images[key].dests)
    assert elements(lab) == before == {"vips": 1, "services": 1, "pools": 1, "reals": 2}
    assert real_of(connect(lab, 40001)) != first  # the turn goes on
    assert director.loads(key) == {REALS[4][0]: (1, 0), REALS[4][1]: (1, 0)}


def test_nothing_is_left_when_everything_is_taken_away(lab: Lab) -> None:
    director = Director(lab)
    keys = [
        director.put(virtual(family, proto, port=port, scheduler=scheduler), [masq(0, family)])
        for family in (4, 6)
        for proto in ("tcp", "udp")
        for port, scheduler in ((80, "rr"), (81, "mh"))
    ]
    for key in keys:
        director.remove(key)
    assert not any(elements(lab).values())
    director.engine.remove_rules(keys)  # what is not there stays so


def test_a_service_with_connections_goes_with_the_last_of_them(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(), [masq(0), masq(1)])
    connect(lab, 40000)
    director.remove(key)
    director.engine.tick()
    assert elements(lab) == {"vips": 0, "services": 1, "pools": 1, "reals": 1}
    assert len(director.engine.connections()) == 1
    assert lab.control("gone") == 1
    end_all(lab)
    director.engine.tick()
    assert not any(elements(lab).values())
    assert lab.control("gone") == 0


def test_a_destination_with_connections_does_too(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(), [masq(0), masq(1)])
    assert real_of(connect(lab, 40000)) == REALS[4][0]
    director.dests(key, masq(1))
    director.engine.tick()
    assert elements(lab)["reals"] == 2
    assert lab.control("gone") == 1
    end_all(lab)
    director.engine.tick()
    assert elements(lab)["reals"] == 1
    assert lab.control("gone") == 0
    assert director.loads(key) == {REALS[4][1]: (0, 0)}


def test_a_destination_that_is_back_has_its_connections(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(), [masq(0), masq(1)])
    assert real_of(connect(lab, 40000)) == REALS[4][0]
    director.dests(key, masq(1))
    assert director.loads(key) == {REALS[4][1]: (0, 0)}
    director.dests(key, masq(0, weight=3), masq(1))
    assert director.loads(key) == {REALS[4][0]: (1, 0), REALS[4][1]: (0, 0)}
    assert lab.control("gone") == 0
    assert lab.send(tcp((CLIENTS[4][0], 40000), (VIP[4], PORT), "A")).forwarded


def test_so_has_a_service(lab: Lab) -> None:
    director = Director(lab)
    service, dests = virtual(), [masq(0), masq(1)]
    key = director.put(service, dests)
    assert real_of(connect(lab, 40000)) == REALS[4][0]
    director.remove(key)
    director.put(service, dests)
    assert director.loads(key) == {REALS[4][0]: (1, 0), REALS[4][1]: (0, 0)}
    assert lab.send(tcp((CLIENTS[4][0], 40000), (VIP[4], PORT), "A")).forwarded
    assert elements(lab) == {"vips": 1, "services": 1, "pools": 1, "reals": 2}


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "wlc", "sh", "dh", "mh", "lblc", "none"])
def test_another_scheduler_leaves_connections_alone(lab: Lab, scheduler: str) -> None:
    director = Director(lab)
    key = director.put(virtual(scheduler="mh"), [masq(0), masq(1)])
    first = real_of(connect(lab, 40000))
    image = director.images[key]
    director.put(msgspec.structs.replace(image.service, scheduler=scheduler), image.dests)
    got = lab.send(tcp((CLIENTS[4][0], 40000), (VIP[4], PORT), "A"))
    assert real_of(got) == first
    assert connect(lab, 40001).forwarded == (scheduler != "none")


def test_an_edited_method_is_for_new_connections(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(), [masq(0, port=PORT)])
    assert real_of(connect(lab, 40000)) == REALS[4][0]
    director.dests(key, route(0))
    assert real_of(connect(lab, 40001)) == VIP[4]
    assert real_of(lab.send(tcp((CLIENTS[4][0], 40000), (VIP[4], PORT), "A"))) == REALS[4][0]
    assert director.loads(key) == {REALS[4][0]: (2, 0)}


def test_ports_make_different_destinations(lab: Lab) -> None:
    director = Director(lab)
    director.put(virtual(), [masq(0, port=8081), masq(0, port=8082)])
    seen = [decode(connect(lab, 40000 + n).frame).target[1] for n in range(4)]
    assert seen == [8081, 8082, 8081, 8082]
    found = director.engine.rule_counters(list(director.images))[0].dests
    assert {key[1]: one.conns for key, one in found.items()} == {8081: 2, 8082: 2}


def test_many_services_in_one_go(lab: Lab) -> None:
    """More than are counted one by one."""
    director = Director(lab)
    for port in range(1, 101):
        director.put(virtual(port=port), [masq(port % 8, port=port)])
    for port in (1, 50, 100):
        for n in range(port % 3 + 1):
            assert connect(lab, 40000 + n, vport=port).forwarded
    keys = list(director.images)
    found = director.engine.rule_counters(keys)
    conns = {key.port: one.service.conns for key, one in zip(keys, found, strict=True)}
    assert {port: n for port, n in conns.items() if n} == {1: 2, 50: 3, 100: 2}
    for key, one in zip(keys, found, strict=True):
        (dest,) = one.dests.values()
        assert (dest.conns, dest.bytes_in) == (one.service.conns, one.service.bytes_in)
        assert director.engine.rule_counters([key])[0] == one


# -- a new daemon -------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("scheduler", ["rr", "sh", "mh"])
def test_a_new_daemon_finds_everything_again(lab: Lab, family: int, scheduler: str) -> None:
    director = Director(lab)
    key = director.put(
        virtual(family, scheduler=scheduler, persistent=300), [masq(0, family), masq(1, family)]
    )
    director.put(marked(77, family, "rr"), [masq(2, family, port=0)])
    connect(lab, 40000, family=family)
    connect(lab, 40000, family=family, vport=443, mark=77)
    before = director.counters(key), director.engine.connections(), elements(lab)
    director.restart()
    for image in list(director.images.values()):
        director.engine.put_rules([image])
    listed = {row[:1] + row[2:] for row in map(msgspec.structs.astuple, before[1])}
    again = {
        row[:1] + row[2:] for row in map(msgspec.structs.astuple, director.engine.connections())
    }
    assert (director.counters(key), again, elements(lab)) == (before[0], listed, before[2])
    packet = tcp((CLIENTS[family][0], 40000), (VIP[family], PORT), "A")
    assert lab.send(packet).forwarded


def test_it_takes_away_what_is_no_longer_wanted(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(), [masq(0), masq(1)])
    other = director.put(virtual(port=81), [masq(2)])
    assert real_of(connect(lab, 40000)) == REALS[4][0]
    director.restart()
    director.dests(key, masq(1))
    director.remove(other)
    assert lab.control("gone") == 1
    packet = tcp((CLIENTS[4][0], 40000), (VIP[4], PORT), "A")
    assert lab.send(packet).reasons == {"DROP_DESTINATION_GONE": 1}
    end_all(lab)
    director.engine.tick()
    assert elements(lab) == {"vips": 1, "services": 1, "pools": 1, "reals": 1}


def test_it_knows_what_was_leaving(lab: Lab) -> None:
    director = Director(lab)
    key = director.put(virtual(), [masq(0), masq(1)])
    going = director.put(virtual(port=81), [masq(2)])
    connect(lab, 40000)
    connect(lab, 40001, vport=81)
    director.dests(key, masq(1))
    director.remove(going)
    director.restart()
    director.dests(key, masq(1))
    assert lab.control("gone") == 2
    assert len(director.engine.connections()) == 2
    director.dests(key, masq(0), masq(1))
    assert lab.control("gone") == 1
    assert director.loads(key)[REALS[4][0]] == (1, 0)
    end_all(lab)
    director.engine.tick()
    assert elements(lab) == {"vips": 1, "services": 1, "pools": 1, "reals": 2}


# -- what is listed -----------------------------------------------------------------------


def rows(director: Director) -> set[tuple[object, ...]]:
    """Connections without the time they have left."""
    found = director.engine.connections()
    return {
        (*msgspec.structs.astuple(one)[:1], *msgspec.structs.astuple(one)[2:9]) for one in found
    }


@FAMILIES
@pytest.mark.parametrize("make", [masq, route, tunnel])
def test_connections_of_every_protocol(lab: Lab, family: int, make: object) -> None:
    director = Director(lab)
    client, vip, real = (CLIENTS[family][0], 40000), VIP[family], REALS[family][0]
    for proto in ("tcp", "udp", "sctp"):
        director.put(virtual(family, proto), [make(0, family)])  # type: ignore[operator]
    port = REAL_PORT if make is masq else PORT
    lab.send(tcp(client, (vip, PORT), "S"))
    lab.send(udp(client, (vip, PORT), b"x"))
    lab.send(sctp(client, (vip, PORT), chunk(INIT)))
    ends = (client[0], 40000, vip, PORT, real, port)
    assert rows(director) == {
        (Proto.TCP, "SYN_RECV", *ends),
        (Proto.UDP, "UDP", *ends),
        (Proto.SCTP, "INIT1", *ends),
    }
    left = {one.proto: one.expires for one in director.engine.connections()}
    for proto, seconds in ((Proto.TCP, 60), (Proto.UDP, 300), (Proto.SCTP, 4)):
        assert seconds - 2 <= left[proto] <= seconds


@pytest.mark.parametrize(("family", "outer"), [(4, 6), (6, 4)])
def test_a_tunnel_of_the_other_family_is_listed_by_its_end(
    lab: Lab, family: int, outer: int
) -> None:
    director = Director(lab)
    director.put(virtual(family), [tunnel(0, outer)])
    connect(lab, 40000, family=family)
    ((*_, dest, port),) = rows(director)
    assert (dest, port) == (REALS[outer][0], PORT)


STATES = {
    "NO": ("NONE", 2),
    "ES": ("ESTABLISHED", 900),
    "SS": ("SYN_SENT", 120),
    "SR": ("SYN_RECV", 60),
    "FW": ("FIN_WAIT", 120),
    "TW": ("TIME_WAIT", 120),
    "CL": ("CLOSE", 10),
    "CW": ("CLOSE_WAIT", 60),
    "LA": ("LAST_ACK", 30),
    "LI": ("LISTEN", 120),
    "SA": ("SYNACK", 120),
}


def test_the_state_and_the_time_it_has_left(lab: Lab) -> None:
    director = Director(lab)
    director.put(virtual(), [masq(0)])
    connect(lab, 40000)
    lab.age(ticks(1))
    for name, (shown, seconds) in STATES.items():
        put_state(lab, lab.only_flow(), name)
        (one,) = director.engine.connections()
        assert one.state == shown
        assert seconds - 3 <= one.expires <= seconds - 1
    put_state(lab, lab.only_flow(), "ES")
    director.engine.set_timeouts(100, 50, 20)
    (one,) = director.engine.connections()
    assert 97 <= one.expires <= 99


@FAMILIES
def test_templates_are_listed_too(lab: Lab, family: int) -> None:
    director = Director(lab)
    client = CLIENTS[family][0]
    director.put(virtual(family, persistent=300), [masq(0, family)])
    director.put(virtual(family, port=0, persistent=300), [masq(1, family, port=0)])
    director.put(marked(0x01020304, family, persistent=300), [masq(2, family, port=0)])
    connect(lab, 40000, family=family)
    connect(lab, 40001, family=family, vport=443)
    connect(lab, 40002, family=family, vport=444, mark=0x01020304)
    shown = "1.2.3.4" if family == 4 else "102:304::"
    ends = REALS[family]
    templates = {row for row in rows(director) if row[3] == 0}
    assert templates == {
        (Proto.TCP, "NONE", client, 0, VIP[family], PORT, ends[0], REAL_PORT),
        (Proto.TCP, "NONE", client, 0, VIP[family], 0, ends[1], 0),
        (Proto.ANY, "NONE", client, 0, shown, 0, ends[2], 0),
    }
    assert len(rows(director)) == 6
    lab.send(tcp((ends[0], REAL_PORT), (client, 40000), "SA", at="back"), at="back")
    lab.send(tcp((client, 40000), (VIP[family], PORT), "A"))
    assured = [one for one in director.engine.connections() if one.state == "ASSURED"]
    assert [(one.virtual_port, one.client_port) for one in assured] == [(PORT, 0)]


def test_others_flows_are_no_connections(lab: Lab) -> None:
    director = Director(lab)
    lab.service(VIP[4], 8000, lab.pool([lab.real(REALS[4][5])]))
    assert connect(lab, 40000, vport=8000).forwarded
    director.put(virtual(), [masq(0)])
    assert connect(lab, 40000).forwarded
    (one,) = director.engine.connections()
    assert isinstance(one, Connection)
    assert one.virtual_port == PORT


# -- settings -----------------------------------------------------------------------------


def test_the_settings_there_are(lab: Lab) -> None:
    director = Director(lab)
    assert director.setting("conn_reuse_mode") == 1
    assert director.setting("pmtu_disc") == 1
    names = ["conn_reuse_mode", "expire_nodest_conn", "expire_quiescent_template"]
    for name in (*names, "sloppy_tcp", "sloppy_sctp", "pmtu_disc"):
        for value in (1, 0, 3):
            director.set(**{name: value})
            assert director.setting(name) == value
    director.set(am_droprate=7)
    assert director.setting("drop_rate") == 0
    director.set(drop_packet=3)
    assert director.setting("drop_rate") == 7
    director.set(am_droprate=9)
    assert director.setting("drop_rate") == 9
    director.set(drop_packet=1)  # by memory, of which we need none that grows
    assert director.setting("drop_rate") == 0
    before = lab.maps.directors.read(0)
    director.set(no_such_setting=1)
    assert lab.maps.directors.read(0) == before
