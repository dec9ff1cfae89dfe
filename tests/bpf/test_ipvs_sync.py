# SPDX-License-Identifier: Apache-2.0
"""What the datapath tells as a master, and what it makes of that as a backup."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import bpf_invariants
import pytest
from bpf_cases import FAMILIES, HOOKS, PROTOCOLS, assert_passed
from bpf_director import PORT, REAL_PORT, Director, marked, masq, route, virtual
from bpf_lab import CLIENTS, REALS, VIP, Hook, Lab, ticks
from bpf_packets import decode, tcp, udp
from bpf_talk import Talk

from penstock.engine.kernel.connections import Listing
from penstock.engine.kernel.synchronise import KernelSync
from penstock.ipvs.model import Connection, ServiceKey
from penstock.ipvs.sync_pace import Pace
from penstock.ipvs.sync_wire import INACTIVE, NO_OUTPUT, TEMPLATE, SyncedConnection

pytestmark = pytest.mark.root

ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE, CLOSE_WAIT = 1, 4, 5, 6, 7
ROUTE = 3
MANY = 1 << 20
NUMBER = {"tcp": 6, "udp": 17}


class Synced:
    """A director whose datapath tells, and is told."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.director = Director(lab)
        self.sync = KernelSync(lab.datapath, self.director.engine)
        self.listing = Listing(lab.datapath)

    def master(self, threshold: int = 3, refresh: int = 0, *, persist: bool = False) -> None:
        self.sync.set_pace(Pace(threshold, refresh, persist))

    def told(self) -> list[SyncedConnection]:
        return list(self.sync.told(MANY))

    def states(self) -> list[int]:
        return [one.state for one in self.told()]

    def take(self, *some: SyncedConnection) -> int:
        taken = self.sync.take(some)
        bpf_invariants.check(self.lab)
        return taken

    def connections(self, *keys: ServiceKey) -> list[Connection]:
        reals = self.director.engine.connections()
        return sorted(reals, key=lambda one: one.client_port)


@pytest.fixture
def synced(lab: Lab) -> Iterator[Synced]:
    made = Synced(lab)
    yield made
    made.sync.set_pace(None)
    made.told()


def talk(lab: Lab, family: int = 4, proto: str = "tcp", port: int = 40000) -> Talk:
    return Talk(lab, (CLIENTS[family][0], port), (VIP[family], PORT), proto)


def told_of(
    family: int = 4,
    proto: str = "tcp",
    real: int = 0,
    state: int = ESTABLISHED,
    *,
    port: int = 40000,
    flags: int = 0,
    timeout: int = 900,
    dest_port: int = REAL_PORT,
) -> SyncedConnection:
    return SyncedConnection(
        NUMBER[proto],
        flags,
        state,
        ip_address(CLIENTS[family][0]).packed,
        port,
        ip_address(VIP[family]).packed,
        PORT,
        ip_address(REALS[family][real]).packed,
        dest_port,
        0,
        timeout,
    )


# -- telling -----------------------------------------------------------------------------------


def test_without_a_master_nothing_is_told(lab: Lab, synced: Synced) -> None:
    synced.director.put(virtual(), [masq(0)])
    talk(lab).handshake().to_real("PA", b"x")
    lab.sweep()
    assert synced.told() == []


@FAMILIES
@HOOKS
def test_an_established_connection_is_told_at_the_third_packet(
    lab: Lab, synced: Synced, family: int, hook: Hook
) -> None:
    synced.master()
    synced.director.put(virtual(family), [masq(0, family)])
    one = talk(lab, family).handshake()
    assert synced.told() == []
    one.to_client("A")
    assert synced.told() == []
    one.to_real("PA", b"x", hook)
    assert synced.told() == [told_of(family)]
    for _ in range(60):
        one.to_real("A", hook=hook)
    assert synced.told() == []


def test_the_end_is_told_step_by_step(lab: Lab, synced: Synced) -> None:
    """As the kernel does: with the client's next packet, whoever has changed the state."""
    synced.master()
    synced.director.put(virtual(), [masq(0)])
    one = talk(lab).handshake()
    one.to_real("PA", b"x")
    synced.told()
    one.to_real("FA")
    assert synced.told() == [told_of(state=CLOSE_WAIT, flags=INACTIVE, timeout=60)]
    one.to_client("FA")
    assert synced.told() == []
    one.to_real("A")
    assert synced.told() == [told_of(state=TIME_WAIT, flags=INACTIVE, timeout=120)]
    one.to_real("A")
    assert synced.told() == []


def test_a_reset_before_the_third_packet_is_told_alone(lab: Lab, synced: Synced) -> None:
    synced.master()
    synced.director.put(virtual(), [masq(0)])
    talk(lab).handshake().to_real("R")
    assert synced.told() == [told_of(state=CLOSE, flags=INACTIVE, timeout=10)]


@pytest.mark.parametrize("threshold", [1, 2, 5, 127])
@HOOKS
def test_the_threshold_counts_the_clients_packets(
    lab: Lab, synced: Synced, threshold: int, hook: Hook
) -> None:
    synced.master(threshold)
    synced.director.put(virtual(proto="udp"), [masq(0)])
    one = talk(lab, proto="udp")
    one.to_real(payload=b"1", also="EVENT_FLOW_NEW")
    for _ in range(threshold - 1):
        assert synced.told() == []
        lab.keep_fresh()
        one.to_client(payload=b"answer")
        one.to_real(payload=b"n", hook=hook)
    assert synced.told() == [told_of(proto="udp", state=0, flags=INACTIVE, timeout=300)]
    one.to_real(payload=b"n", hook=hook)
    assert synced.told() == []


@FAMILIES
def test_where_answers_pass_by_the_flags_say_so(lab: Lab, synced: Synced, family: int) -> None:
    synced.master()
    synced.director.put(virtual(family), [route(0, family)])
    one = talk(lab, family)
    for flags in ("S", "A", "PA"):
        one.client_sends(flags)
    (found,) = synced.told()
    assert (found.flags, found.state, found.dest_port) == (NO_OUTPUT | ROUTE, ESTABLISHED, PORT)


def test_one_packet_services_are_not_told(lab: Lab, synced: Synced) -> None:
    synced.master(1)
    synced.director.put(virtual(proto="udp", ops=True), [masq(0)])
    talk(lab, proto="udp").client_sends(payload=b"x")
    assert synced.told() == []


@FAMILIES
@pytest.mark.parametrize("persist", [False, True])
def test_a_template_is_told_with_its_connections(
    lab: Lab, synced: Synced, family: int, persist: bool
) -> None:
    synced.master(persist=persist)
    synced.director.put(virtual(family, persistent=300), [masq(0, family)])
    one = talk(lab, family)
    one.to_real("S", also="EVENT_FLOW_NEW EVENT_TEMPLATE_NEW")
    (template,) = synced.told()
    assert template == told_of(
        family, flags=TEMPLATE, state=0, port=0, timeout=300, dest_port=REAL_PORT
    )
    one.to_client("SA")
    one.to_real("A")
    one.to_real("PA", b"x")
    *connections, template = synced.told()
    assert connections == ([] if persist else [told_of(family)])
    assert template.state == 1


@FAMILIES
def test_the_template_of_a_mark_has_it_for_an_address(
    lab: Lab, synced: Synced, family: int
) -> None:
    synced.master()
    synced.director.put(marked(7, family, persistent=300), [masq(0, family)])
    lab.send(tcp((CLIENTS[family][0], 40000), (VIP[family], PORT), "S"), mark=7)
    (template,) = synced.told()
    assert template.proto == 0
    assert template.fwmark == 7
    assert template.virtual == bytes([0, 0, 0, 7]).ljust(4 if family == 4 else 16, b"\0")


def test_the_sweep_tells_again_what_is_in_use(lab: Lab, synced: Synced) -> None:
    synced.master(refresh=5)
    synced.director.put(virtual(), [masq(0)])
    one = talk(lab).handshake()
    one.to_real("PA", b"x")
    other = talk(lab, port=40001).handshake()
    other.to_real("PA", b"x")
    talk(lab, port=40002).handshake()  # still counted, and so not told of again
    synced.told()
    lab.age(
        ticks(60),
        *(flow for flow in lab.live() if 40001 in (flow.port("sport"), flow.port("dport"))),
    )
    for _ in range(10):
        lab.sweep()
    assert synced.told() == [told_of()] * 2


def test_a_full_ring_loses_and_counts(lab: Lab, synced: Synced) -> None:
    synced.master(1)
    synced.director.put(virtual(proto="udp"), [masq(0)])
    one = talk(lab, proto="udp")
    one.to_real(payload=b"x", also="EVENT_FLOW_NEW")
    ring = lab.maps.sync_ring
    assert ring.waiting() == 88
    frame = udp((CLIENTS[4][0], 40001), (VIP[4], PORT), b"x")
    read = ring._consumed[0]
    # As full as a daemon that does not come leaves it.
    ring._consumed[0] = (read + 88 - ring.info.max_entries) % (1 << 64)
    got = lab.send(frame)
    ring._consumed[0] = read
    assert got.forwarded
    assert got.reasons["EVENT_SYNC_LOST"] == 1
    assert len(synced.told()) == 1


# -- being told --------------------------------------------------------------------------------


@FAMILIES
@PROTOCOLS
@HOOKS
def test_packets_of_a_synced_connection_go_on(
    lab: Lab, synced: Synced, family: int, proto: str, hook: Hook
) -> None:
    key = synced.director.put(virtual(family, proto), [masq(1, family), masq(0, family)])
    state, flags = (ESTABLISHED, 0) if proto == "tcp" else (0, INACTIVE)
    assert synced.take(told_of(family, proto, 0, state, flags=flags)) == 1
    loads = synced.director.loads(key)
    assert loads == {
        REALS[family][0]: (1, 0) if proto == "tcp" else (0, 1),
        REALS[family][1]: (0, 0),
    }
    assert synced.director.counters(key)[""].conns == 0
    one = talk(lab, family, proto)
    one.to_real("PA", b"first")
    assert one.real == (REALS[family][0], REAL_PORT)
    one.to_client("PA", b"second")
    one.to_real("PA", b"third", hook)
    one.to_client("PA", b"fourth", hook)
    bpf_invariants.check(lab)


def test_without_it_they_do_not(lab: Lab, synced: Synced) -> None:
    synced.director.put(virtual(), [masq(0)])
    sent = tcp((CLIENTS[4][0], 40000), (VIP[4], PORT), "PA", b"x")
    assert_passed(lab.send(sent), sent, "PASS_NO_FLOW")


def test_it_is_listed_as_another_directors(lab: Lab, synced: Synced) -> None:
    synced.director.put(virtual(), [masq(0)])
    synced.take(told_of(timeout=500))
    talk(lab, port=40001).handshake()
    first, second = synced.connections()
    assert (first.client_port, first.state, first.synced) == (40000, "ESTABLISHED", True)
    assert first.expires in (499, 500)
    assert not second.synced


def test_a_change_is_taken_over(lab: Lab, synced: Synced) -> None:
    key = synced.director.put(virtual(), [masq(0)])
    synced.take(told_of())
    assert synced.director.loads(key) == {REALS[4][0]: (1, 0)}
    assert synced.take(told_of(state=TIME_WAIT, flags=INACTIVE, timeout=120)) == 1
    assert synced.director.loads(key) == {REALS[4][0]: (0, 1)}
    (one,) = synced.connections()
    assert one.state == "TIME_WAIT"
    assert one.expires in (119, 120)
    synced.take(told_of())
    assert synced.director.loads(key) == {REALS[4][0]: (1, 0)}


@pytest.mark.parametrize("timeout", [10, 5000])
def test_it_ends_when_the_master_says(lab: Lab, synced: Synced, timeout: int) -> None:
    key = synced.director.put(virtual(), [masq(0)])
    synced.take(told_of(timeout=timeout))
    heads = [flow for flow in lab.live() if not flow.ctl & 4]
    both = lab.live()
    lab.age(ticks(timeout - 2), *both)
    assert lab.sweep() == 0
    lab.age(ticks(4), *both)
    assert lab.sweep() == len(heads) == 1
    assert synced.director.loads(key) == {REALS[4][0]: (0, 0)}
    bpf_invariants.check(lab)


def test_a_new_destination_replaces_the_old_one_unless_it_has_ended(
    lab: Lab, synced: Synced
) -> None:
    key = synced.director.put(virtual(), [masq(1), masq(0)])
    synced.take(told_of(real=0))
    assert synced.take(told_of(real=1, state=TIME_WAIT, flags=INACTIVE)) == 0
    assert synced.director.loads(key) == {REALS[4][0]: (1, 0), REALS[4][1]: (0, 0)}
    assert synced.take(told_of(real=1)) == 1
    assert synced.director.loads(key) == {REALS[4][0]: (0, 0), REALS[4][1]: (1, 0)}


@pytest.mark.parametrize(
    "unknown",
    [
        told_of(real=2),
        told_of(dest_port=REAL_PORT + 1),
        told_of()._replace(virtual_port=PORT + 1),
        told_of(proto="udp", state=0),
    ],
)
def test_one_without_a_destination_here_is_left_out(
    lab: Lab, synced: Synced, unknown: SyncedConnection
) -> None:
    synced.director.put(virtual(), [masq(1), masq(0)])
    assert synced.take(unknown) == 0
    assert lab.live() == []


def test_a_connection_of_its_own_is_told_about_too(lab: Lab, synced: Synced) -> None:
    """Both directors see packets of it, as while a route moves."""
    key = synced.director.put(virtual(), [masq(0)])
    talk(lab).handshake()
    assert synced.take(told_of(state=CLOSE_WAIT, flags=INACTIVE)) == 1
    assert synced.director.loads(key) == {REALS[4][0]: (0, 1)}
    assert len(synced.connections()) == 1


def test_many_at_once(lab: Lab, synced: Synced) -> None:
    key = synced.director.put(virtual(), [masq(0)])
    some = [told_of(port=1000 + n) for n in range(200)]
    assert synced.take(*some) == 200
    assert synced.director.loads(key) == {REALS[4][0]: (200, 0)}
    assert {one.client_port for one in synced.connections()} == set(range(1000, 1200))


@FAMILIES
def test_a_synced_template_ties_the_client(lab: Lab, synced: Synced, family: int) -> None:
    key = synced.director.put(virtual(family, persistent=300), [masq(n, family) for n in (2, 1, 0)])
    template = told_of(family, real=2, flags=TEMPLATE, state=1, port=0, timeout=300)
    assert synced.take(template) == 1
    assert synced.take(template) == 1
    assert synced.director.counters(key)[REALS[family][2]].persistent == 1
    (listed,) = synced.connections()
    assert (listed.state, listed.client_port, listed.synced) == ("ASSURED", 0, True)
    for port in range(40000, 40004):
        got = lab.send(tcp((CLIENTS[family][0], port), (VIP[family], PORT), "S"))
        assert decode(got.frame).target[0] == REALS[family][2]
    assert synced.take(template._replace(dest=ip_address(REALS[family][1]).packed)) == 1
    found = synced.director.counters(key)
    assert [found[REALS[family][n]].persistent for n in (0, 1, 2)] == [0, 1, 0]


@FAMILIES
def test_a_mark_ties_too(lab: Lab, synced: Synced, family: int) -> None:
    synced.master()
    key = synced.director.put(marked(7, family, persistent=300), [masq(n, family) for n in (1, 0)])
    frame = tcp((CLIENTS[family][0], 40000), (VIP[family], PORT), "S")
    first = decode(lab.send(frame, mark=7).frame).target[0]
    (template,) = synced.told()
    for flow in lab.live():
        lab.age(ticks(3600), flow)
    lab.sweep()
    at = lab.codec.template.offset("ticks")
    for key_, raw in list(lab.maps.templates.items()):
        long_ago = raw[: at - 4] + bytes(4) + bytes(4) + raw[at + 4 :]  # seen and ticks
        lab.maps.templates.put(key_, long_ago)
    lab.sweep()
    assert synced.director.counters(key)[first].persistent == 0
    assert synced.take(template) == 1
    assert synced.director.counters(key)[first].persistent == 1
    again = tcp((CLIENTS[family][0], 40001), (VIP[family], PORT), "S")
    assert decode(lab.send(again, mark=7).frame).target[0] == first


def test_what_it_is_told_as_a_backup_it_tells_as_a_master(lab: Lab, synced: Synced) -> None:
    """After it has taken over: changes from then on, not what it was told itself."""
    synced.director.put(virtual(), [masq(0)])
    synced.take(told_of())
    synced.master()
    one = talk(lab)
    one.to_real("PA", b"x")
    assert synced.told() == []
    one.to_real("FA")
    assert synced.told() == [told_of(state=CLOSE_WAIT, flags=INACTIVE, timeout=60)]


def test_datagrams_meet_a_synced_flow(lab: Lab, synced: Synced) -> None:
    synced.director.put(virtual(proto="udp"), [masq(1), masq(0)])
    synced.take(told_of(proto="udp", real=1, state=0, flags=INACTIVE))
    got = lab.send(udp((CLIENTS[4][0], 40000), (VIP[4], PORT), b"x"))
    assert decode(got.frame).target == (REALS[4][1], REAL_PORT)
