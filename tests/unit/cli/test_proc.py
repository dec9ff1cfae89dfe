# SPDX-License-Identifier: Apache-2.0
"""``penstock proc``: the daemon's tables as the kernel's files."""

from __future__ import annotations

from collections.abc import Callable

from penstock.api.wire import Connections, GetConnections, GetRules, Reply, Request, RuleTable
from penstock.ipvs.model import (
    Connection,
    Destination,
    DestRow,
    Method,
    Proto,
    ServiceKey,
    ServiceRow,
    VirtualService,
)

SERVICE = VirtualService(ServiceKey(Proto.TCP, "192.0.2.1", 80), "rr")
DEST = Destination("10.0.0.5", 8080, Method.MASQ)
ENTRY = Connection(
    Proto.TCP, 899, "ESTABLISHED", "198.51.100.7", 40000, "192.0.2.1", 80, "10.0.0.5", 8080
)


def handle(request: Request) -> Reply:
    if isinstance(request, GetRules):
        return RuleTable((ServiceRow(SERVICE, (DestRow(DEST),)),))
    assert isinstance(request, GetConnections)
    return Connections((ENTRY,))


def test_rules(penstock: Callable, answer: Callable) -> None:
    answer(handle)
    shown = penstock("proc", "ip_vs")
    assert (shown.status, shown.err) == (0, "")
    service, dest = shown.out.splitlines()[-2:]
    assert service.split() == ["TCP", "C0000201:0050", "rr"]
    assert dest.split()[:3] == ["->", "0A000005:1F90", "Masq"]


def test_connections(penstock: Callable, answer: Callable) -> None:
    answer(handle)
    entry = penstock("proc", "ip_vs_conn").out.splitlines()[-1].split()
    assert entry[:4] == ["TCP", "C6336407", "9C40", "C0000201"]
    assert entry[-2:] == ["ESTABLISHED", "899"]
