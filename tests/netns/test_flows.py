# SPDX-License-Identifier: Apache-2.0
"""Single connections through the kernel engine: those that are cut, and those that fail."""

from __future__ import annotations

import contextlib
import errno
import shutil
import socket
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from penstock.engine.api import (
    PoolState,
    PutPool,
    PutReal,
    PutService,
    RealKey,
    RealState,
    Selection,
    ServiceState,
    Timeouts,
)
from penstock.engine.figures import Figure
from penstock.engine.kernel import KernelEngine, flow_listing
from penstock.engine.sessions import SessionView
from penstock.kernel.bpffs import BPFFS, mount
from penstock.lab.network import Network, until
from penstock.lab.topology import Host, Site, two_armed
from penstock.model import Bind, Hook, PortMode, PortRange, Protocol, RealPort, Settings

PORT = 8080
Pair = tuple[socket.socket, socket.socket]


class Cut:
    """An engine in the balancer's namespace, and connections through it."""

    def __init__(self, site: Site, engine: KernelEngine) -> None:
        self.site = site
        self.engine = engine
        self._open = contextlib.ExitStack()
        self.vip = ""
        self.listening: list[socket.socket] = []

    def serve(self, client_family: int = 4, real_family: int = 4) -> list[RealKey]:
        """One service whose pool is a server on each real, in turn."""
        self.vip = self.site.balancer.address(client_family)
        self.listening = [self.listen(host, real_family) for host in self.site.reals]
        port = RealPort(PortMode.FIXED, PORT)
        keys = [
            RealKey("web", f"r{number}", ip_address(host.address(real_family)), port)
            for number, host in enumerate(self.site.reals, 1)
        ]
        bind = Bind(ip_address(self.vip), PortRange.single(PORT))
        times = Timeouts(connect=1000, client=60_000, server=60_000)
        for key in keys:
            self.engine.apply(PutReal(RealState(key, Protocol.TCP, 1, available=True)))
        turns = tuple(range(len(keys)))
        self.engine.apply(PutPool(PoolState("web", Selection.ROTATE, tuple(keys), turns)))
        front = ServiceState("front", Protocol.TCP, (bind,), "web", timeouts=times)
        self.engine.apply(PutService(front))
        return keys

    def listen(self, host: Host, family: int) -> socket.socket:
        address = host.address(family)
        with host.namespace.entered():
            kind = socket.AF_INET if family == 4 else socket.AF_INET6
            made = socket.create_server((address, PORT), family=kind)
        made.settimeout(3)
        return self._open.enter_context(made)

    def connect(self, real: int) -> Pair:
        """A connection, which must go to that real: the client's end and the server's."""
        with self.site.client.namespace.entered():
            client = self._open.enter_context(socket.create_connection((self.vip, PORT), timeout=3))
        behind, _ = self.listening[real].accept()
        behind.settimeout(3)
        return client, self._open.enter_context(behind)

    def tick_until(self, what: str, condition: Callable[[], bool]) -> None:
        def ticked() -> bool:
            self.engine.tick()
            return condition()

        until(what, ticked)

    def close(self) -> None:
        self._open.close()
        self.engine.close(keep=False)


@pytest.fixture
def cut(network: Network, tmp_path: Path, hook: str) -> Iterator[Cut]:
    site = two_armed(network)
    if hook == "xdp":
        site.for_xdp()
    mount(BPFFS)
    pins = BPFFS / f"penstock-cut-{site.balancer.namespace.name}"
    with site.balancer.namespace.entered():
        settings = Settings(max_flows=4096, hook=Hook.TC if hook == "tc" else Hook.XDP)
        made = Cut(site, KernelEngine.open(settings, pins=pins, state=tmp_path))
        try:
            yield made
        finally:
            made.close()
            shutil.rmtree(pins, ignore_errors=True)


def is_reset(one: socket.socket) -> bool:
    """Whether it has been told so; without sending anything."""
    number = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return number in (errno.ECONNRESET, errno.EPIPE)  # the latter where the other end had finished


def talk(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"


FAMILIES = [(4, 4), (6, 6), (4, 6), (6, 4)]


@pytest.mark.parametrize(("client_family", "real_family"), FAMILIES)
def test_both_ends_of_a_silent_connection_are_reset(
    cut: Cut, client_family: int, real_family: int
) -> None:
    first, second = cut.serve(client_family, real_family)
    pairs = [cut.connect(0), cut.connect(1), cut.connect(0), cut.connect(1)]
    for pair in pairs[1:]:  # the first one has never said a word
        talk(pair)
    assert cut.engine.cut(first) == 2
    assert cut.engine.live(first) == 0
    for pair in (pairs[0], pairs[2]):
        for end in pair:
            until("an end is reset", partial(is_reset, end))
    for pair in (pairs[1], pairs[3]):
        talk(pair)
    assert cut.engine.live(second) == 2


def test_data_on_its_way_does_not_hinder(cut: Cut) -> None:
    """Each end is reset with its own numbers, not with what the other one has sent."""
    first, _ = cut.serve()
    client, server = cut.connect(0)
    for one in (client, server):
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                one.send(bytes(65536))
    assert cut.engine.cut(first) == 1
    for one in (client, server):
        cut.tick_until("an end is reset", partial(is_reset, one))


def test_half_closed_connections_are_reset_too(cut: Cut) -> None:
    first, _ = cut.serve()
    client, server = cut.connect(0)
    talk((client, server))
    client.shutdown(socket.SHUT_WR)
    assert server.recv(100) == b""
    assert cut.engine.cut(first) == 1
    for one in (client, server):
        cut.tick_until("an end is reset", partial(is_reset, one))


def test_a_client_may_come_again_from_the_same_port(cut: Cut) -> None:
    first, _ = cut.serve()
    client, server = cut.connect(0)
    where = client.getsockname()
    cut.engine.cut(first)
    for end in (client, server):
        until("an end is reset", partial(is_reset, end))
        end.close()
    with cut.site.client.namespace.entered():
        again = socket.socket()
    with again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.settimeout(3)
        again.bind(where)
        again.connect((cut.vip, PORT))
        behind, _ = cut.listening[1].accept()
        with behind:
            behind.settimeout(3)
            talk((again, behind))


@pytest.mark.parametrize(("client_family", "real_family"), FAMILIES)
def test_connections_that_are_refused_count_until_one_is_not(
    cut: Cut, client_family: int, real_family: int
) -> None:
    first, second = cut.serve(client_family, real_family)
    cut.listening[0].close()
    for count in (1, 2, 3):
        with pytest.raises(ConnectionRefusedError):
            cut.connect(0)
        assert cut.engine.errors_in_a_row(first) == count
        cut.connect(1)
    assert cut.engine.errors_in_a_row(second) == 0
    cut.listening[0] = cut.listen(cut.site.reals[0], real_family)
    talk(cut.connect(0))
    assert cut.engine.errors_in_a_row(first) == 0
    readings = cut.engine.readings({Figure.ERRORS})
    assert [readings.reals.of(key, Figure.ERRORS) for key in (first, second)] == [3, 0]
    assert readings.pools.of("web", Figure.ERRORS) == 3


def test_connections_that_are_not_answered_count_too(cut: Cut) -> None:
    first, _ = cut.serve()
    cut.site.reals[0].namespace.ip("link", "set", "eth0", "down")
    with cut.site.client.namespace.entered():
        client = socket.socket()
    with client:
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.connect((cut.vip, PORT))
    cut.tick_until("it has failed", lambda: cut.engine.errors_in_a_row(first) == 1)


FIREWALL = """
table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
        tcp dport 8080 accept
    }
}
"""


@pytest.mark.needs("nft")
@pytest.mark.parametrize(("client_family", "real_family"), FAMILIES)
def test_a_firewall_that_knows_nothing_of_them_does_not_hinder(
    cut: Cut, client_family: int, real_family: int
) -> None:
    """Packets that we forward never meet it: what real servers answer is strange to it."""
    cut.site.balancer.namespace.run("nft", FIREWALL)
    first, _ = cut.serve(client_family, real_family)
    pair = cut.connect(0)
    talk(pair)
    assert cut.engine.cut(first) == 1
    for end in pair:
        until("an end is reset", partial(is_reset, end))
    reasons = {one.name: one.count for one in cut.engine.counters().reasons}
    assert reasons["parted"] >= 2


def listed(engine: KernelEngine) -> dict[str, SessionView]:
    """All that the engine lists, by the client's address and port."""
    return {one.source: one for page in engine.sessions() for one in page}


def source_of(client: socket.socket) -> str:
    return "{}:{}".format(*client.getsockname()[:2])


@pytest.mark.parametrize(("client_family", "real_family"), FAMILIES)
def test_one_connection_is_reset_and_the_others_go_on(
    cut: Cut, client_family: int, real_family: int
) -> None:
    first, second = cut.serve(client_family, real_family)
    pairs = [cut.connect(0), cut.connect(1), cut.connect(0), cut.connect(1)]
    for pair in pairs:
        talk(pair)
    before = listed(cut.engine)
    assert before.keys() == {source_of(client) for client, _ in pairs}
    chosen = before[source_of(pairs[2][0])]
    assert (chosen.service, chosen.pool, chosen.server) == ("front", "web", "r1")
    assert chosen.age is not None
    assert chosen.left is not None
    assert 0 <= chosen.age < chosen.left <= 61  # rounded up to ticks
    assert cut.engine.end_session(chosen.id)
    for end in pairs[2]:
        until("an end is reset", partial(is_reset, end))
    for pair in (pairs[0], pairs[1], pairs[3]):
        talk(pair)
    assert (cut.engine.live(first), cut.engine.live(second)) == (1, 2)
    assert not cut.engine.end_session(chosen.id)
    assert cut.engine.session(chosen.id) is None
    after = listed(cut.engine)
    assert after.keys() == before.keys() - {chosen.source}
    assert all(after[source].id == before[source].id for source in after)


def test_a_number_names_one_connection_only(cut: Cut) -> None:
    """The same client's next one, from the same port, has the same slot and another number."""
    cut.serve()
    client, behind = cut.connect(0)
    source = client.getsockname()
    was = listed(cut.engine)[source_of(client)].id
    assert cut.engine.end_session(was)
    for end in (client, behind):
        until("an end is reset", partial(is_reset, end))
        end.close()
    with cut.site.client.namespace.entered():
        again = socket.create_connection((cut.vip, PORT), timeout=3, source_address=source)
    with again:
        known = listed(cut.engine)[source_of(again)]
        assert known.id != was
        assert not cut.engine.end_session(was)
        assert cut.engine.session(was) is None
        assert cut.engine.session(known.id) is not None
    assert not cut.engine.end_session(0)
    assert not cut.engine.end_session(known.id | 1 << 48)


def test_pages_are_bounded_by_what_is_looked_at(cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_listing, "_LOOKED_AT", 3)
    cut.serve()
    pairs = [cut.connect(0), cut.connect(1), cut.connect(0)]
    pages = list(cut.engine.sessions())
    assert sum(map(len, pages)) == 3
    assert max(map(len, pages)) <= 3
    assert len(pages) >= 3  # six slots, of both directions
    for client, _ in pairs:
        client.close()
