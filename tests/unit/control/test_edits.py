# SPDX-License-Identifier: Apache-2.0
"""What operators change makes another configuration; what of it outlives a reload."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from unit_building import configuration, pool, real, reals, service

from penstock.control.desired import Override
from penstock.control.edits import (
    NO_EDITS,
    Added,
    Edits,
    FrontEdit,
    FrontState,
    carried,
    edited,
    with_front,
    with_override_of,
    with_server,
    without_server,
)
from penstock.model import AdminState, EngineKind, HealthCheck, PortMode, RealPort
from penstock.proxied import Link, ServerTls, TlsSettings

NEW = Added("web", ("s9", "10.0.0.9:80"), real("s9", "10.0.0.9", dynamic=True))


def test_nothing_changed_is_the_same_configuration() -> None:
    one = configuration(pool(reals(2)))
    assert edited(one, NO_EDITS) is one


def test_a_server_is_described_otherwise() -> None:
    one = configuration(pool(reals(2, check=HealthCheck())))
    override = Override(
        address=ip_address("10.9.9.9"),
        port=RealPort(PortMode.FIXED, 99),
        maxconn=7,
        check_port=88,
    )
    made = edited(one, with_override_of(NO_EDITS, ("web", "s2"), override)).pool("web")
    first, second = made.reals
    assert first == one.pool("web").reals[0]
    assert (str(second.address), second.port.value, second.maxconn) == ("10.9.9.9", 99, 7)
    assert second.check is not None
    assert second.check.port == 88


def test_tls_is_left_out_and_comes_back() -> None:
    one = configuration(pool([real("s1", link=Link(tls=ServerTls(TlsSettings())))]))
    for said, speaks in ((False, False), (True, True)):
        made = edited(one, with_override_of(NO_EDITS, ("web", "s1"), Override(tls=said)))
        assert (made.pool("web").reals[0].link.tls is not None) is speaks


def test_servers_come_and_go() -> None:
    one = configuration(pool(reals(2)))
    edits = without_server(with_server(NO_EDITS, NEW), ("web", "s1"))
    assert [r.name for r in edited(one, edits).pool("web").reals] == ["s2", "s9"]
    edits = without_server(edits, ("web", "s9"))
    assert [r.name for r in edited(one, edits).pool("web").reals] == ["s2"]
    again = replace(NEW, real=real("s1", "10.0.0.77"))
    made = edited(one, with_server(edits, again)).pool("web").reals
    assert [(r.name, str(r.address)) for r in made] == [("s2", "10.0.0.2"), ("s1", "10.0.0.77")]


def test_one_that_comes_again_has_nothing_of_the_one_before() -> None:
    edits = with_override_of(with_server(NO_EDITS, NEW), ("web", "s9"), Override(weight=5))
    edits = with_server(without_server(edits, ("web", "s9")), NEW)
    assert edits.servers == {}


def test_a_server_that_packets_cannot_serve_takes_its_services_to_the_proxy() -> None:
    one = configuration(pool(reals(1)), pool(reals(1), "other"))
    edits = with_server(NO_EDITS, replace(NEW, proxied="'ssl': TLS is spoken to the server"))
    engines = {s.name: s.engine for s in edited(one, edits).services}
    assert set(engines.values()) == {EngineKind.KERNEL, EngineKind.PROXY}
    moved = [s for s in edited(one, edits).services if s.engine is EngineKind.PROXY]
    assert [(s.pool, s.engine_reason) for s in moved] == [
        ("web", "'ssl': TLS is spoken to the server")
    ]


def test_frontends_are_paused_and_limited_with_all_their_sockets() -> None:
    one = configuration(pool(reals(1)))
    parts = tuple(replace(one.services[0], name=f"fe:{number}", section="fe") for number in (1, 2))
    one = replace(one, services=parts)
    edits = with_front(NO_EDITS, "fe", FrontEdit(FrontState.PAUSED, maxconn=3))
    assert [(s.disabled, s.maxconn) for s in edited(one, edits).services] == [(True, 3)] * 2


def test_a_reload_keeps_weights_and_states_and_nothing_else() -> None:
    edits = Edits(
        servers={
            ("web", "s1"): Override(weight=3, address=ip_address("10.9.9.9")),
            ("web", "s2"): Override(maxconn=3),
            ("web", "s3"): Override(admin=AdminState.DRAIN, check=False),
            ("web", "s9"): Override(admin=AdminState.READY),
        },
        added=(NEW,),
        removed=frozenset({("web", "s4")}),
        fronts={"fe": FrontEdit(FrontState.STOPPED)},
        maxconn=5,
    )
    assert carried(edits) == Edits(
        servers={
            ("web", "s1"): Override(weight=3),
            ("web", "s3"): Override(admin=AdminState.DRAIN),
        }
    )


def test_services_are_named_after_their_section() -> None:
    assert service(name="fe:1", section="fe").proxy == "fe"
    assert service(name="fe").proxy == "fe"
