# SPDX-License-Identifier: Apache-2.0
"""The kernel's own texts about IPVS."""

from __future__ import annotations

import pytest
from unit_ipvsadm import VIP

from penstock.ipvs.model import (
    Connection,
    Destination,
    DestRow,
    Method,
    ServiceKey,
    ServiceRow,
    Stats,
    VirtualService,
)
from penstock.ipvsadm.procfs import render

SIX = ServiceKey(6, "2001:db8::7", 443, 0, 6)
TABLE = (
    ServiceRow(
        VirtualService(VIP, "wlc", 60, 0xFFFFFF00),
        (DestRow(Destination("192.0.2.20", 8443, Method.MASQ, 3), 2, 1),),
        Stats(16, 32, 48, 64, 80, 1, 2, 3, 4, 5),
    ),
    ServiceRow(
        VirtualService(SIX, "sh", 1, 64),
        (DestRow(Destination("2001:db8::20", 443, Method.TUNNEL)),),
        Stats(1, 1, 1, 1, 1),
    ),
    ServiceRow(VirtualService(ServiceKey(17, "192.0.2.1", 53), "rr", ops=True)),
    ServiceRow(VirtualService(ServiceKey(fwmark=26), "rr", ops=True)),
)
ENTRIES = (
    Connection(6, 899, "ESTABLISHED", "192.0.2.9", 40000, VIP.address, 443, "192.0.2.20", 80),
    Connection(
        *(17, 5, "UDP", "2001:db8::9", 5060, "2001:db8::1", 5060, "2001:db8::20", 5060),
        *("sip", "call-1"),
    ),
)


def lines(name: str) -> list[str]:
    return render(name, TABLE, ENTRIES).split("\n")


def test_the_table_in_the_order_it_comes() -> None:
    assert lines("ip_vs") == [
        "IP Virtual Server version 1.2.1 (size=4096)",
        "Prot LocalAddress:Port Scheduler Flags",
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn",
        "TCP  C6336407:01BB wlc  persistent 15000 FFFFFF00",
        "  -> C0000214:20FB      Masq    3      2          1         ",
        "TCP  [2001:0db8:0000:0000:0000:0000:0000:0007]:01BB sh persistent 250 40000000",
        "  -> [2001:0db8:0000:0000:0000:0000:0000:0020]:01BB"
        "      Tunnel  1      0          0         ",
        "UDP  C0000201:0035 rr ops  ",
        "FWM  0000001A rr ops ",
        "",
    ]


def test_connections() -> None:
    six = "2001:0db8:0000:0000:0000:0000:0000:00"
    assert lines("ip_vs_conn") == [
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData",
        "TCP C0000209 9C40 C6336407 01BB C0000214 0050 ESTABLISHED     899",
        f"UDP {six}09 13C4 {six}01 13C4 {six}20 13C4 UDP               5 sip call-1",
        "",
    ]
    assert lines("ip_vs_conn_sync")[:2] == [
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires",
        "TCP C0000209 9C40 C6336407 01BB C0000214 0050 ESTABLISHED LOCAL      899",
    ]


def test_the_origin_of_a_connection_that_another_director_told_of() -> None:
    one = Connection(
        6, 120, "TIME_WAIT", "192.0.2.9", 1, "198.51.100.7", 443, "192.0.2.20", 80, synced=True
    )
    assert render("ip_vs_conn_sync", (), (one,)).splitlines()[1] == (
        "TCP C0000209 0001 C6336407 01BB C0000214 0050 TIME_WAIT   SYNC       120"
    )


def test_the_sums_of_all_services() -> None:
    assert lines("ip_vs_stats") == [
        "   Total Incoming Outgoing         Incoming         Outgoing",
        "   Conns  Packets  Packets            Bytes            Bytes",
        "      11       21       31               41               51",
        "",
        " Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s",
        "       1        2        3                4                5",
        "",
    ]


def test_another_name_is_none() -> None:
    with pytest.raises(KeyError):
        render("ip_vs_app", TABLE, ENTRIES)
