# SPDX-License-Identifier: Apache-2.0
"""The table decides as ip_vs_ctl.c does, quickly, and can go back."""

from __future__ import annotations

import errno
import time

import pytest

from penstock.ipvs.model import (
    AddDest,
    AddService,
    DeleteDest,
    DeleteService,
    Destination,
    EditDest,
    EditService,
    Flush,
    Method,
    Proto,
    ServiceKey,
    TunType,
    VirtualService,
)
from penstock.ipvs.table import RuleTable, Surroundings, TableCommand

WEB = ServiceKey(Proto.TCP, "10.1.1.1", 80)
WEB6 = ServiceKey(Proto.TCP, "2001:db8::80", 80, family=6)
MARK = ServiceKey(fwmark=5)


@pytest.fixture
def table() -> RuleTable:
    near = Surroundings(frozenset({"10.9.0.255"}), frozenset({"fe80::7"}))
    table = RuleTable(lambda: near)
    apply(table, AddService(VirtualService(WEB)))
    apply(table, AddService(VirtualService(WEB6, netmask=128)))
    table.settle()
    return table


def apply(table: RuleTable, *commands: TableCommand) -> list[int]:
    return [table.apply(command) for command in commands]


def dest(address: str = "10.2.2.1", port: int = 80, **rest: int) -> Destination:
    return Destination(address, port, **{"method": Method.MASQ, **rest})


def names(table: RuleTable, key: ServiceKey = WEB) -> list[str]:
    rule = table.find(key)
    assert rule is not None
    return [one.address for one in rule.listed()]


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (AddService(VirtualService(WEB)), errno.EEXIST),
        (AddService(VirtualService(MARK, "nosuch")), errno.ENOENT),
        (AddService(VirtualService(MARK, "none")), 0),
        (AddService(VirtualService(MARK, "twos")), 0),
        (AddService(VirtualService(MARK, pe="sip")), 0),
        (AddService(VirtualService(MARK, pe="other")), errno.ENOENT),
        (AddService(VirtualService(ServiceKey(fwmark=5, family=6), netmask=0)), errno.EINVAL),
        (AddService(VirtualService(ServiceKey(fwmark=5, family=6), netmask=129)), errno.EINVAL),
        (EditService(VirtualService(MARK)), errno.ESRCH),
        (EditService(VirtualService(WEB, "nosuch")), errno.ENOENT),
        (DeleteService(MARK), errno.ESRCH),
        (Flush(), 0),
        (AddDest(MARK, dest()), errno.ESRCH),
        (EditDest(MARK, dest()), errno.ESRCH),
        (DeleteDest(MARK, "10.2.2.1", 80), errno.ESRCH),
        (EditDest(WEB, dest()), errno.ENOENT),
        (DeleteDest(WEB, "10.2.2.1", 80), errno.ENOENT),
        (AddDest(WEB, dest(lower=1)), errno.ERANGE),
        (AddDest(WEB, dest(upper=10, lower=11)), errno.ERANGE),
        (AddDest(WEB, dest(upper=10, lower=10)), 0),
        (AddDest(WEB, dest(weight=-1)), errno.ERANGE),
        (AddDest(WEB, dest(method=Method.TUNNEL, tun_type=TunType.GUE)), errno.EINVAL),
        (AddDest(WEB, dest("0.0.0.0")), errno.EINVAL),
        (AddDest(WEB, dest("0.0.0.1")), 0),
        (AddDest(WEB, dest("127.0.0.1")), 0),
        (AddDest(WEB, dest("223.255.255.255")), 0),
        (AddDest(WEB, dest("224.0.0.1")), errno.EINVAL),
        (AddDest(WEB, dest("239.255.255.255")), errno.EINVAL),
        (AddDest(WEB, dest("240.0.0.1")), 0),
        (AddDest(WEB, dest("255.255.255.255")), errno.EINVAL),
        (AddDest(WEB, dest("10.9.0.255")), errno.EINVAL),
        (AddDest(WEB6, dest("::")), errno.EINVAL),
        (AddDest(WEB6, dest("::1")), 0),
        (AddDest(WEB6, dest("ff02::1")), errno.EINVAL),
        (AddDest(WEB6, dest("ff::1")), 0),
        (AddDest(WEB6, dest("fe80::5")), errno.EINVAL),
        (AddDest(WEB6, dest("febf::5")), errno.EINVAL),
        (AddDest(WEB6, dest("fec0::5")), 0),
        (AddDest(WEB6, dest("fe80::7")), 0),
        (AddDest(WEB6, dest("::ffff:10.2.2.1")), errno.EINVAL),
        (AddDest(WEB6, dest("fd00::5")), 0),
        (AddDest(WEB6, dest("10.2.2.1")), errno.EINVAL),
        (AddDest(WEB6, dest("10.2.2.1", method=Method.TUNNEL)), 0),
        (AddDest(WEB, dest("fd00::5", method=Method.ROUTE)), errno.EINVAL),
    ],
)
def test_errno(table: RuleTable, command: TableCommand, number: int) -> None:
    assert table.apply(command) == number
    assert bool(table.changes().put or table.changes().removed) == (number == 0)


def test_destinations_are_listed_last_added_first(table: RuleTable) -> None:
    apply(table, *(AddDest(WEB, dest(f"10.2.2.{n}")) for n in (1, 2, 3)))
    apply(table, EditDest(WEB, dest("10.2.2.1", weight=9)))
    assert names(table) == ["10.2.2.3", "10.2.2.2", "10.2.2.1"]
    apply(table, DeleteDest(WEB, "10.2.2.2", 80), AddDest(WEB, dest("10.2.2.2")))
    assert names(table) == ["10.2.2.2", "10.2.2.3", "10.2.2.1"]
    assert table.records == 2 + 3


def test_services_are_listed_by_bucket_and_marks_last() -> None:
    table = RuleTable()
    ports = (5, 2, 3, 0, 9, 6)
    keys = [ServiceKey(fwmark=9), ServiceKey(fwmark=2, family=6)]
    keys += [ServiceKey(Proto.TCP, "10.1.1.1", port) for port in ports]
    keys += [ServiceKey(Proto.TCP, "10.1.1.2", 0), ServiceKey(Proto.TCP, "2001:db8::1", 80, 0, 6)]
    apply(table, *(AddService(VirtualService(key, netmask=128)) for key in keys))
    listed = [rule.service.key for rule in table.listed()]
    # 6 ^ 1 ^ port; 10.1.1.2:0 shares the bucket of 10.1.1.1:3 and came later.
    assert [key for key in listed if key.address.startswith("10.")] == [
        *(ServiceKey(Proto.TCP, "10.1.1.1", port) for port in (6, 5)),
        ServiceKey(Proto.TCP, "10.1.1.2", 0),
        *(ServiceKey(Proto.TCP, "10.1.1.1", port) for port in (3, 2, 0, 9)),
    ]
    assert [key.fwmark for key in listed[-2:]] == [2, 9]
    assert set(listed) == set(keys)


def test_a_destination_is_its_address_and_port(table: RuleTable) -> None:
    same = dest(port=81)
    assert apply(table, AddDest(WEB, dest()), AddDest(WEB, same), AddDest(WEB, same)) == [
        *(0, 0, errno.EEXIST)
    ]


def test_the_last_weight_that_was_not_zero_is_remembered(table: RuleTable) -> None:
    rule = table.find(WEB)
    assert rule is not None
    seen = []
    apply(table, AddDest(WEB, dest(weight=0)))
    for weight in (None, 0, 4, 0, 0, 2, 0):
        if weight is not None:
            apply(table, EditDest(WEB, dest(weight=weight)))
        seen.append(rule.last_weight(dest(weight=weight or 0)))
    assert seen == [0, 0, 4, 4, 4, 2, 2]
    apply(table, DeleteDest(WEB, "10.2.2.1", 80), AddDest(WEB, dest(weight=0)))
    assert rule.last_weight(dest(weight=0)) == 0


def test_changes_tell_what_is_new(table: RuleTable) -> None:
    apply(table, EditService(VirtualService(WEB, persistent=5)))
    (rule,) = table.changes().put
    assert (rule.fresh, rule.changed) == (False, False)
    table.settle()
    assert not table.changes().put
    apply(table, EditService(VirtualService(WEB, "rr")), EditService(VirtualService(WEB)))
    assert table.changes().put[0].fresh
    table.settle()
    apply(table, AddDest(WEB, dest()))
    assert table.changes().put[0].changed


def test_a_service_made_anew_is_removed_and_put(table: RuleTable) -> None:
    apply(table, DeleteService(WEB), AddService(VirtualService(WEB)))
    changes = table.changes()
    assert list(changes.removed) == [WEB]
    assert [(rule.service.key, rule.fresh) for rule in changes.put] == [(WEB, True)]


def test_what_came_and_went_is_no_change(table: RuleTable) -> None:
    apply(table, AddService(VirtualService(MARK)), DeleteService(MARK))
    assert not table.changes().put
    assert not table.changes().removed


def test_revert_goes_back_to_the_last_settled_state(table: RuleTable) -> None:
    apply(table, AddDest(WEB, dest(weight=7)), EditDest(WEB, dest(weight=0)))
    table.settle()
    before = [(rule.service, rule.listed()) for rule in table]
    apply(
        table,
        EditDest(WEB, dest(weight=3)),
        AddDest(WEB, dest("10.2.2.2")),
        AddService(VirtualService(MARK)),
        DeleteService(WEB),
        AddDest(WEB6, dest("10.2.2.1", method=Method.TUNNEL)),
        AddService(VirtualService(WEB, "rr")),
    )
    changes = table.revert()
    assert list(changes.removed) == [MARK]
    assert {rule.service.key: rule.fresh for rule in changes.put} == {WEB: True, WEB6: False}
    assert [(rule.service, rule.listed()) for rule in table] == before
    rule = table.find(WEB)
    assert rule is not None
    assert rule.last_weight(rule.listed()[0]) == 7
    assert table.records == 3
    assert not table.mixed
    assert not table.changes().put


def test_revert_without_a_removal(table: RuleTable) -> None:
    apply(table, AddService(VirtualService(MARK)), AddDest(WEB, dest()))
    table.revert()
    assert [rule.service.key for rule in table] == [WEB, WEB6]
    assert names(table) == []


def test_a_hundred_thousand_rules_take_no_time() -> None:
    table = RuleTable()
    commands: list[TableCommand] = []
    for number in range(10_000):
        key = ServiceKey(Proto.TCP, f"10.{number >> 8}.{number & 255}.1", 80)
        commands.append(AddService(VirtualService(key)))
        commands += [AddDest(key, dest(f"192.168.{last}.1")) for last in range(10)]
    began = time.process_time()
    assert not any(apply(table, *commands))
    assert time.process_time() - began < 1.5  # a third of it where the machine is idle
    assert table.records == 110_000
