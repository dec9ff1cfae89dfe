# SPDX-License-Identifier: Apache-2.0
"""Requests become rules, images in the engine and records in the journal, or none of them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest

from penstock.api.wire import DirectorInfo, GetDirector, GetRules, Rules, RulesDone, RuleTable
from penstock.checks.codes import CheckCode
from penstock.director import Director
from penstock.engine.api import DestCounters
from penstock.engine.fake import FakeRules
from penstock.errors import ConfigError, DatapathError, PenstockError
from penstock.health.status import Change
from penstock.ipvs.journal import Journal
from penstock.ipvs.model import (
    AddDest,
    AddService,
    CheckSpec,
    Command,
    DeleteDest,
    DeleteService,
    Destination,
    EditDest,
    EditService,
    Flush,
    Method,
    ServiceKey,
    SetSysctl,
    SetTimeouts,
    StartSync,
    StopSync,
    SyncDaemon,
    VirtualService,
    Zero,
)
from penstock.model import Bind, Configuration, Origin, PortRange, Protocol, Service

_ADDRESS = IPv4Address("203.0.113.1")
WEB = ServiceKey(6, "203.0.113.1", 80)
DNS = ServiceKey(17, "203.0.113.1", 53)


def dest(last: int, weight: int = 1) -> Destination:
    return Destination(f"10.0.1.{last}", 80, Method.MASQ, weight)


class Desk:
    """A director on an engine in memory and a journal in *directory*."""

    def __init__(
        self, directory: Path, engine: FakeRules | None = None, **more: Callable[..., None]
    ) -> None:
        self.engine = engine or FakeRules()
        self.path = directory / "rules.jsonl"
        self.journal = Journal(self.path, adopt=engine is not None)
        mtu = {"eth0": 1500, "big": 9000}.get
        self.director = Director(self.engine, self.journal, mtu=mtu, **more)
        self.director.start()

    def run(self, *commands: Command) -> tuple[int, ...]:
        reply = self.director.handle(Rules(commands))
        assert isinstance(reply, RulesDone)
        return reply.results

    def rows(self, key: ServiceKey | None = None) -> RuleTable:
        reply = self.director.handle(GetRules(key))
        assert isinstance(reply, RuleTable)
        return reply

    def info(self) -> DirectorInfo:
        reply = self.director.handle(GetDirector())
        assert isinstance(reply, DirectorInfo)
        return reply


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_request_reaches_the_engine_once(desk: Desk) -> None:
    results = desk.run(
        AddService(VirtualService(WEB, "rr")),
        AddDest(WEB, dest(1)),
        AddDest(WEB, dest(2, 0)),
        AddDest(WEB, dest(1)),
    )
    assert results == (0, 0, 0, errno.EEXIST)
    assert desk.engine.puts == 1
    image = desk.engine.images[WEB]
    assert image.dests == (dest(2, 0), dest(1))
    assert image.fresh
    assert image.changed
    assert image.table == ()


def test_an_edit_is_told_as_what_it_is(desk: Desk) -> None:
    desk.run(AddService(VirtualService(WEB, "rr")), AddDest(WEB, dest(1)))
    desk.run(EditService(VirtualService(WEB, "rr", persistent=60)))
    image = desk.engine.images[WEB]
    assert (image.fresh, image.changed, image.service.persistent) == (False, False, 60)
    desk.run(EditDest(WEB, dest(1, 5)))
    assert (desk.engine.images[WEB].fresh, desk.engine.images[WEB].changed) == (False, True)
    desk.run(EditService(VirtualService(WEB, "sh")))
    image = desk.engine.images[WEB]
    assert (image.fresh, image.changed, len(image.table)) == (True, False, 256)


def test_what_is_deleted_leaves_the_engine(desk: Desk) -> None:
    desk.run(AddService(VirtualService(WEB)), AddService(VirtualService(DNS)))
    assert desk.run(DeleteService(WEB), DeleteService(WEB)) == (0, errno.ESRCH)
    assert list(desk.engine.images) == [DNS]
    desk.run(Flush())
    assert not desk.engine.images
    assert desk.rows().services == ()


def test_what_the_engine_refuses_has_not_happened(desk: Desk) -> None:
    desk.run(AddService(VirtualService(WEB, "rr")), AddDest(WEB, dest(1)))
    before = desk.rows(), desk.path.read_bytes()
    desk.engine.refuse = DNS
    with pytest.raises(DatapathError, match="is refused"):
        desk.run(AddDest(WEB, dest(2)), SetTimeouts(1, 2, 3), AddService(VirtualService(DNS)))
    assert (desk.rows(), desk.path.read_bytes()) == before
    assert desk.engine.images[WEB].dests == (dest(1),)
    assert desk.engine.seconds == (900, 120, 300)
    desk.engine.refuse = None
    assert desk.run(AddService(VirtualService(DNS)), AddDest(WEB, dest(2))) == (0, 0)


def test_statistics_count_from_the_last_zero(desk: Desk) -> None:
    desk.run(AddService(VirtualService(WEB)), AddDest(WEB, dest(1)))
    desk.engine.counted[WEB, None] = DestCounters(5, 50, 500, 40, 400)
    desk.engine.counted[WEB, ("10.0.1.1", 80)] = DestCounters(5, 50, 500, 40, 400, active=2)
    (row,) = desk.rows().services
    assert (row.stats.conns, row.stats.in_packets, row.stats.in_bytes) == (5, 50, 500)
    assert (row.stats.out_packets, row.stats.out_bytes) == (40, 400)
    assert desk.run(Zero(WEB), Zero(DNS)) == (0, errno.ESRCH)
    desk.engine.counted[WEB, None] = DestCounters(6, 51, 501, 41, 401)
    (row,) = desk.rows().services
    assert (row.stats.conns, row.stats.in_packets, row.stats.out_bytes) == (1, 1, 1)
    assert (row.dests[0].stats.conns, row.dests[0].active) == (0, 2)


def test_a_destination_that_comes_back_soon_goes_on_counting(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    one = ("10.0.1.1", 80)
    desk.run(AddService(VirtualService(WEB)), AddDest(WEB, dest(1)), AddDest(WEB, dest(2)))
    desk.engine.counted[WEB, one] = DestCounters(5, 50, 500, 40, 400)
    desk.run(Zero())
    desk.engine.counted[WEB, one] = DestCounters(7, 70, 700, 60, 600)
    desk.run(DeleteDest(WEB, *one))
    desk.engine.counted[WEB, one] = DestCounters()  # the datapath's object is a new one
    desk.run(AddDest(WEB, dest(1)))
    desk.engine.counted[WEB, one] = DestCounters(1, 2, 3, 4, 5)
    stats = desk.rows().services[0].dests[0].stats
    assert (stats.conns, stats.in_packets, stats.out_bytes) == (3, 22, 205)
    assert Desk(tmp_path, desk.engine).rows().services[0].dests[0].stats.conns == 3
    desk.run(DeleteDest(WEB, *one))
    desk.engine.counted[WEB, one] = DestCounters()
    for period in range(100):
        desk.director.tick(2.0 * period)
    desk.run(AddDest(WEB, dest(1)))
    assert desk.rows().services[0].dests[0].stats.conns == 0
    desk.engine.counted[WEB, one] = DestCounters(conns=9)
    desk.run(DeleteDest(WEB, *one))
    desk.run(DeleteService(WEB))
    desk.engine.counted.clear()
    desk.run(AddService(VirtualService(WEB)), AddDest(WEB, dest(1)))
    assert desk.rows().services[0].dests[0].stats.conns == 0


def test_one_that_comes_back_to_its_old_object_stays_zeroed(desk: Desk) -> None:
    one = ("10.0.1.1", 80)
    desk.run(AddService(VirtualService(WEB)), AddDest(WEB, dest(1)))
    desk.engine.counted[WEB, one] = DestCounters(5, 50, 500, 40, 400)
    desk.run(Zero())
    desk.run(DeleteDest(WEB, *one))
    desk.run(AddDest(WEB, dest(1)))  # it had connections: the datapath has kept it
    assert desk.rows().services[0].dests[0].stats.conns == 0


def test_rates_follow_the_traffic(desk: Desk) -> None:
    desk.run(AddService(VirtualService(WEB)))
    desk.director.tick(100.0)
    for period in range(1, 40):
        desk.engine.counted[WEB, None] = DestCounters(conns=20 * period)
        desk.director.tick(100.0 + 2 * period)
    assert desk.rows().services[0].stats.cps == 10
    desk.run(Zero())
    assert desk.rows().services[0].stats.cps == 0


def test_a_killed_daemon_is_followed_by_one_that_knows_the_rules(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    first.run(
        AddService(VirtualService(WEB, "mh")),
        AddDest(WEB, dest(1, 3)),
        AddDest(WEB, dest(2)),
        EditDest(WEB, dest(1, 0)),
        SetTimeouts(100, 0, 0),
        SetSysctl("sloppy_tcp", 1),
        StartSync(SyncDaemon(master=True)),
    )
    first.engine.counted[WEB, None] = DestCounters(conns=7)
    first.run(Zero())
    table = first.engine.images[WEB].table
    second = Desk(tmp_path, first.engine)
    assert second.rows() == first.rows()
    assert second.info() == first.info()
    assert second.engine.images[WEB].table == table
    assert not second.engine.images[WEB].fresh
    assert second.rows().services[0].stats.conns == 0


def test_a_long_journal_is_written_anew_and_means_the_same(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    first.run(AddService(VirtualService(WEB, "mh")), AddDest(WEB, dest(1, 9)))
    for weight in range(1500):
        first.run(EditDest(WEB, dest(1, weight % 7)))
    first.run(EditDest(WEB, dest(1, 4)), EditDest(WEB, dest(1, 0)))
    assert len(first.path.read_bytes().splitlines()) < 600
    second = Desk(tmp_path, first.engine)
    assert second.rows() == first.rows()
    second.run(EditDest(WEB, dest(1, 0)))
    assert second.engine.images[WEB].table == first.engine.images[WEB].table != ()


def test_timeouts_of_zero_stay(desk: Desk) -> None:
    assert desk.run(SetTimeouts(0, 60, 0), SetTimeouts(-1, 0, 0)) == (0, errno.EINVAL)
    info = desk.info()
    assert (info.tcp_timeout, info.tcp_fin_timeout, info.udp_timeout) == (900, 60, 300)
    assert desk.engine.seconds == (900, 60, 300)


def test_sysctls_are_known_ones_within_bounds(desk: Desk) -> None:
    results = desk.run(
        SetSysctl("conn_reuse_mode", 0), SetSysctl("no_such", 1), SetSysctl("sync_version", 2)
    )
    assert results == (0, errno.ENOENT, errno.EINVAL)
    assert desk.engine.sysctls == {"conn_reuse_mode": 0}
    assert desk.info().sysctls["conn_reuse_mode"] == 0
    assert desk.info().sysctls["sync_threshold"] == 3


def test_sync_daemons_are_kept_as_records(desk: Desk) -> None:
    master = SyncDaemon(master=True, syncid=7)
    backup = SyncDaemon(master=False, syncid=8, maxlen=1000)
    assert desk.run(
        StartSync(backup),
        StartSync(master),
        StartSync(master),
        StartSync(SyncDaemon(master=True, interface="nope")),
        StartSync(SyncDaemon(master=True, group="10.0.0.1")),
    ) == (0, 0, errno.EEXIST, errno.ENODEV, errno.EINVAL)
    assert [(one.master, one.maxlen) for one in desk.info().sync] == [(True, 1472), (False, 1024)]
    stop = StopSync(master=True)
    assert desk.run(stop, stop) == (0, errno.ESRCH)
    assert [one.master for one in desk.info().sync] == [False]


def test_sync_daemons_are_run_and_refused_with_the_reason(tmp_path: Path) -> None:
    ran: list[tuple[SyncDaemon, ...]] = []

    def synchronise(daemons: tuple[SyncDaemon, ...], sysctls: Mapping[str, int]) -> None:
        if any(one.interface == "big" for one in daemons):
            raise OSError(errno.ENETDOWN, "Network is down")
        ran.append(daemons)

    desk = Desk(tmp_path, synchronise=synchronise)
    master, other = SyncDaemon(master=True), SyncDaemon(master=False, interface="big")
    assert desk.run(StartSync(master), StartSync(other)) == (0, errno.ENETDOWN)
    assert desk.info().sync == ran[-1]
    assert ran[-1] == (msgspec.structs.replace(master, maxlen=1472),)
    assert desk.run(SetSysctl("sync_threshold", 5)) == (0,)
    assert ran[-1] == ran[-2] == desk.info().sync
    assert desk.run(StopSync(master=True)) == (0,)
    assert ran[-1] == ()


def test_of_sync_daemons_in_the_journal_the_last_are_run(tmp_path: Path) -> None:
    ran: list[tuple[SyncDaemon, ...]] = []

    def synchronise(daemons: tuple[SyncDaemon, ...], sysctls: Mapping[str, int]) -> None:
        ran.append(daemons)

    first = Desk(tmp_path)
    first.run(StartSync(SyncDaemon(master=True, syncid=1)), SetSysctl("sync_period", 9))
    first.run(StopSync(master=True), StartSync(SyncDaemon(master=True, syncid=2)))
    second = Desk(tmp_path, first.engine, synchronise=synchronise)
    assert ran == [second.info().sync]
    assert [one.syncid for one in ran[0]] == [2]


def test_sync_daemons_that_cannot_be_run_again_are_gone(tmp_path: Path) -> None:
    def synchronise(daemons: tuple[SyncDaemon, ...], sysctls: Mapping[str, int]) -> None:
        raise OSError(errno.ENETDOWN, "Network is down")

    first = Desk(tmp_path)
    first.run(StartSync(SyncDaemon(master=True)), AddService(VirtualService(WEB)))
    second = Desk(tmp_path, first.engine, synchronise=synchronise)
    assert second.info().sync == ()
    assert list(second.engine.images) == [WEB]


def test_sync_daemons_and_mixed_families_exclude_each_other(desk: Desk) -> None:
    tunnelled = Destination("2001:db8::1", 80, Method.TUNNEL)
    daemon = StartSync(SyncDaemon(master=True))
    desk.run(AddService(VirtualService(WEB)))
    assert desk.run(AddDest(WEB, tunnelled), daemon) == (0, errno.EINVAL)
    gone = DeleteDest(WEB, "2001:db8::1", 80)
    assert desk.run(gone, daemon, AddDest(WEB, tunnelled)) == (0, 0, errno.EINVAL)


def test_an_address_of_the_configuration_is_not_to_be_had(desk: Desk) -> None:
    bind = Bind(_ADDRESS, PortRange.single(80), origin=Origin("haproxy.cfg", 12))
    service = Service("web", Protocol.TCP, (bind,), None)
    configuration = Configuration(services=(service,))
    desk.director.reserve(configuration)
    other = ServiceKey(6, "203.0.113.1", 81)
    assert desk.run(
        AddService(VirtualService(WEB)),
        AddService(VirtualService(DNS)),
        AddService(VirtualService(other)),
    ) == (errno.EEXIST, 0, 0)
    desk.director.reserve(Configuration())
    desk.run(AddService(VirtualService(WEB)))
    with pytest.raises(ConfigError, match=r"haproxy.cfg:12.*203.0.113.1:80.*ipvsadm -D -t"):
        desk.director.refuse_conflicts(configuration)


CHECKED = VirtualService(WEB, "sh", check=CheckSpec(inter=500))


def test_a_failing_check_quiesces_a_destination(desk: Desk) -> None:
    desk.run(AddService(CHECKED), AddDest(WEB, dest(1, 3)), AddDest(WEB, dest(2)))
    assert desk.director.take_rechecks()
    targets = {target.key.name: target for target in desk.director.targets()}
    assert sorted(targets) == ["10.0.1.1:80", "10.0.1.2:80"]
    assert targets["10.0.1.1:80"].destination == ("10.0.1.1", 80)
    assert targets["10.0.1.1:80"].patience == 500
    key = targets["10.0.1.1:80"].key
    assert str(key) == "ipvs/tcp/203.0.113.1:80/10.0.1.1:80"
    desk.director.on_health(Change(key, False, CheckCode.L4TOUT, "", 500))
    assert desk.engine.images[WEB].dests == (dest(2), dest(1, 0))
    row = desk.rows().services[0].dests[1]
    assert (row.up, row.dest.weight, row.weight) == (False, 0, 3)
    desk.run(EditDest(WEB, dest(1, 4)))
    assert not desk.director.take_rechecks()
    assert desk.engine.images[WEB].dests[1].weight == 0
    desk.director.on_health(Change(key, True, CheckCode.L4OK, "", 1))
    assert desk.engine.images[WEB].dests[1].weight == 4


def test_a_service_that_is_not_checked_any_more_has_its_weights_back(desk: Desk) -> None:
    desk.run(AddService(CHECKED), AddDest(WEB, dest(1, 3)))
    (target,) = desk.director.targets()
    desk.director.on_health(Change(target.key, False, CheckCode.L4TOUT, "", 500))
    desk.run(EditService(VirtualService(WEB, "sh")))
    image = desk.engine.images[WEB]
    assert (image.dests, image.changed) == ((dest(1, 3),), True)
    assert desk.director.targets() == []


def test_what_the_engine_did_not_take_from_a_check_it_is_given_again(desk: Desk) -> None:
    desk.run(AddService(CHECKED), AddDest(WEB, dest(1, 3)))
    (target,) = desk.director.targets()
    desk.engine.refuse = WEB
    desk.director.on_health(Change(target.key, False, CheckCode.L4TOUT, "", 500))
    desk.engine.refuse = None
    desk.director.tick(1.0)
    assert desk.engine.images[WEB].dests == (dest(1, 0),)


def test_a_daemon_killed_between_journal_and_datapath_is_caught_up_with(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    first.run(AddService(VirtualService(WEB)), AddService(VirtualService(DNS)))
    first.journal.append([DeleteService(WEB), AddDest(DNS, dest(1))])
    second = Desk(tmp_path, first.engine)
    assert list(second.engine.images) == [DNS]
    assert second.engine.images[DNS].dests == (dest(1),)


def test_what_cannot_be_written_down_has_not_happened(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "nowhere")
    with pytest.raises(PenstockError, match="cannot write"):
        desk.run(AddService(VirtualService(WEB)), SetSysctl("sloppy_tcp", 1))
    assert not desk.engine.images
    assert desk.rows().services == ()
    assert desk.info().sysctls["sloppy_tcp"] == 0
    (tmp_path / "nowhere").mkdir()
    assert desk.run(AddService(VirtualService(WEB))) == (0,)
