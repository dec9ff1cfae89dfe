# SPDX-License-Identifier: Apache-2.0
"""Random lives of IPVS connections among changing rules: counts and templates add up throughout."""

from __future__ import annotations

import bpf_invariants
import pytest
from bpf_cases import one_outcome
from bpf_director import REAL_PORT, Director, masq, route, tunnel, virtual
from bpf_lab import CLIENTS, REALS, VIP, Lab, Result, ticks
from bpf_packets import tcp, udp
from bpf_sctp import chunk, sctp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.ipvs.model import Destination, VirtualService

pytestmark = pytest.mark.root

METHODS = (masq, route, tunnel)
FLAGS = ("S", "SA", "A", "PA", "FA", "R", "")
HOOK = st.sampled_from(["tc", "xdp"])
PROTO = st.sampled_from(["tcp", "tcp", "udp", "sctp"])
PACKET = st.tuples(PROTO, st.integers(0, 1), st.integers(0, 2), st.sampled_from(FLAGS), HOOK)
STEP = st.one_of(
    st.tuples(st.just("client"), PACKET),
    st.tuples(st.just("client"), PACKET),
    st.tuples(st.just("real"), PACKET),
    st.tuples(st.just("age"), st.sampled_from([3, 11, 61, 121, 301, 901])),
    st.tuples(st.just("dest"), st.tuples(PROTO, st.integers(0, 2), st.integers(0, 3))),
    st.tuples(st.just("service"), st.tuples(PROTO, st.integers(0, 1))),
    st.tuples(st.just("setting"), st.tuples(st.integers(0, 4), st.integers(0, 3))),
    st.tuples(st.just("restart"), st.none()),
)
SETTINGS = (
    *("conn_reuse_mode", "expire_nodest_conn", "expire_quiescent_template"),
    *("sloppy_tcp", "drop_packet"),
)


class Life:
    """Three services of one pool's worth of destinations, and whatever befalls them."""

    def __init__(self, lab: Lab, family: int, methods: list[int], persistent: list[bool]) -> None:
        self.lab = lab
        self.family = family
        self.director = Director(lab)
        self.services: dict[str, VirtualService] = {}
        self.dests: dict[str, list[Destination]] = {}
        for proto, seconds in zip(("tcp", "udp", "sctp"), persistent, strict=True):
            self.services[proto] = virtual(family, proto, persistent=300 if seconds else 0)
            self.dests[proto] = [METHODS[m](n, family) for n, m in enumerate(methods)]
            self.director.put(self.services[proto], self.dests[proto])

    def step(self, kind: str, what: object) -> None:
        getattr(self, f"_{kind}")(what)
        bpf_invariants.check(self.lab)

    def _packet(
        self, proto: str, source: tuple[str, int], target: tuple[str, int], flags: str, at: str
    ) -> bytes:
        if proto == "tcp":
            return tcp(source, target, flags, at=at)
        if proto == "udp":
            return udp(source, target, b"x", at=at)
        kinds = (1, 2, 0, 10, 7, 6, 14)
        return sctp(source, target, chunk(kinds[FLAGS.index(flags)]), at=at)

    def _client(self, what: tuple[str, int, int, str, str]) -> None:
        proto, client, port, flags, hook = what
        source = CLIENTS[self.family][client], 40000 + port
        self._send(self._packet(proto, source, (VIP[self.family], 80), flags, "front"), hook)

    def _real(self, what: tuple[str, int, int, str, str]) -> None:
        proto, client, port, flags, hook = what
        target = CLIENTS[self.family][client], 40000 + port
        source = REALS[self.family][client], REAL_PORT
        self._send(self._packet(proto, source, target, flags, "back"), hook, "back")

    def _send(self, packet: bytes, hook: str, at: str = "front") -> Result:
        got = self.lab.send(packet, hook, at=at)  # type: ignore[arg-type]
        if hook == "xdp" and "PASS_TO_TC" in got.reasons:
            got = self.lab.send(packet, at=at)
        assert one_outcome({n: c for n, c in got.reasons.items() if n != "EVENT_FLOW_EVICTED"})
        return got

    def _age(self, seconds: int) -> None:
        self.lab.age(ticks(seconds))
        at = self.lab.codec.template.offset("seen")
        for key, raw in list(self.lab.maps.templates.items()):
            seen = int.from_bytes(raw[at : at + 4], "little") - ticks(seconds) & 0xFFFFFFFF
            changed = raw[:at] + seen.to_bytes(4, "little") + raw[at + 4 :]
            self.lab.maps.templates.put(key, changed)
        self.lab.sweep()
        self.director.engine.tick()

    def _dest(self, what: tuple[str, int, int]) -> None:
        """Weight 0 to 2, or with a threshold; or it goes, or is back."""
        proto, which, weight = what
        now = self.dests[proto]
        if weight == 3 and which < len(now):
            del now[which]
        elif weight == 3:
            have = {dest.address for dest in now}
            free = [n for n in range(3) if REALS[self.family][n] not in have]
            now.insert(0, METHODS[which](free[0], self.family, upper=2))
        elif which < len(now):
            old = now[which]
            now[which] = Destination(old.address, old.port, old.method, weight, upper=which)
        if self.services[proto].key in self.director.images:
            self.director.put(self.services[proto], now)

    def _service(self, what: tuple[str, int]) -> None:
        proto, there = what
        key = self.services[proto].key
        if there or key not in self.director.images:
            self.director.put(self.services[proto], self.dests[proto])
        else:
            self.director.remove(key)

    def _setting(self, what: tuple[int, int]) -> None:
        self.director.set(**{SETTINGS[what[0]]: what[1]})

    def _restart(self, _: None) -> None:
        self.director.restart()
        for image in list(self.director.images.values()):
            self.director.engine.put_rules([image])


@pytest.mark.parametrize("family", [4, 6])
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    methods=st.lists(st.integers(0, 2), min_size=3, max_size=3),
    persistent=st.lists(st.booleans(), min_size=3, max_size=3),
    steps=st.lists(STEP, min_size=10, max_size=40),
)
def test_everything_adds_up(
    lab: Lab,
    family: int,
    methods: list[int],
    persistent: list[bool],
    steps: list[tuple[str, object]],
) -> None:
    lab.reset()
    life = Life(lab, family, methods, persistent)
    for kind, what in steps:
        life.step(kind, what)
    for proto in ("tcp", "udp", "sctp"):
        if life.services[proto].key in life.director.images:
            life.director.remove(life.services[proto].key)
    for _ in range(3):  # connections, then the templates that they held
        life.step("age", 1000)
    assert not lab.live()
    assert not list(lab.maps.templates.items())
    maps = lab.maps
    for table in (maps.vips, maps.services, maps.pools, maps.reals):
        assert not list(table.items())
    assert (lab.control("conns"), lab.control("flows"), lab.control("gone")) == (0, 0, 0)
