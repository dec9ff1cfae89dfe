# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 - one case a line
"""Listings of rules, blank by blank."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_ipvsadm import VIP, NamesOf, Shell

from penstock.ipvs.model import (
    CheckSpec,
    Destination,
    DestRow,
    Method,
    ServiceKey,
    ServiceRow,
    Stats,
    SyncDaemon,
    TunFlag,
    TunType,
    VirtualService,
)
from penstock.ipvsadm import listing
from penstock.ipvsadm.names import Numeric
from penstock.ipvsadm.request import View

STATS = Stats(7, 123_456_789, 20, 99_999_999_999, 100_000_000_000_000, 1, 2, 3, 400, 1_000_000_000)
DEST = DestRow(Destination("192.0.2.20", 8443, Method.MASQ, 5, 40, 30), 3, 2, 1, STATS, weight=5)
LONG = DestRow(Destination("2001:db8:1111:2222:3333:4444:5555:6666", 443, Method.TUNNEL), weight=1)
ROW = ServiceRow(VirtualService(VIP, "wrr", 300), (LONG, DEST), STATS)


def table(row: ServiceRow = ROW, columns: str = "", **view: bool) -> list[str]:
    text = listing.one_table([row], View(columns=columns, **view), Numeric())
    assert text.endswith("\n")
    return text.split("\n")[:-1]


def test_the_plain_table() -> None:
    assert table() == [
        "Prot LocalAddress:Port Scheduler Flags",
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
        "TCP  198.51.100.7:443 wrr persistent 300",
        "  -> 192.0.2.20:8443              Masq    5      3          2         ",
        "  -> [2001:db8:1111:2222:3333:4444:5555:6666]:443 Tunnel  1      0          0         ",
    ]


def test_the_whole_table_names_the_version() -> None:
    text = listing.whole_table([], View(), Numeric())
    assert text.split("\n")[0] == "IP Virtual Server version 1.2.1 (size=4096)"
    assert text.count("\n") == 3


def test_counters_and_their_units() -> None:
    assert table(columns="stats")[:4] == [
        "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes",
        "  -> RemoteAddress:Port",
        "TCP  198.51.100.7:443                    7  123456K       20   99999M     100T",
        "  -> 192.0.2.20:8443                     7  123456K       20   99999M     100T",
    ]
    assert table(columns="stats", exact=True)[2] == (
        "TCP  198.51.100.7:443                    7 123456789       20 99999999999 100000000000000"
    )


def test_rates() -> None:
    assert table(columns="rate")[:4] == [
        "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS",
        "  -> RemoteAddress:Port",
        "TCP  198.51.100.7:443                    1        2        3      400    1000M",
        "  -> 192.0.2.20:8443                     1        2        3      400    1000M",
    ]


def test_thresholds() -> None:
    assert table(columns="thresholds")[:4] == [
        "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn ",
        "  -> RemoteAddress:Port",
        "TCP  198.51.100.7:443 wrr persistent 300",
        "  -> 192.0.2.20:8443              40         30         3          2         ",
    ]


def test_persistent_connections() -> None:
    assert table(columns="persistent-conn")[:4] == [
        "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn ",
        "  -> RemoteAddress:Port",
        "TCP  198.51.100.7:443 wrr persistent 300",
        "  -> 192.0.2.20:8443              5         1           3          2         ",
    ]


@pytest.mark.parametrize(
    ("dest", "info"),
    [
        (Destination("192.0.2.1", method=Method.MASQ), "Masq    n/a          "),
        (Destination("192.0.2.1", method=Method.LOCAL), "Local   n/a          "),
        (Destination("192.0.2.1", method=Method.TUNNEL), "Tunnel  ipip         "),
        (
            Destination("192.0.2.1", 0, 2, 1, 0, 0, TunType.GUE, 6080, TunFlag.REMCSUM),
            "Tunnel  gue:6080:r+c ",
        ),
        (
            Destination("192.0.2.1", 0, 2, 1, 0, 0, TunType.GRE, 0, TunFlag.CSUM),
            "Tunnel  gre:+c       ",
        ),
    ],
)
def test_tunnels(dest: Destination, info: str) -> None:
    row = ServiceRow(VirtualService(VIP), (DestRow(dest),))
    lines = table(row, "tun-info")
    assert lines[1] == (
        "  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn"
    )
    assert lines[3] == f"  -> 192.0.2.1:0                  {info} 1      0          0         "


@pytest.mark.parametrize(
    ("service", "line"),
    [
        (VirtualService(ServiceKey(132, "192.0.2.1", 9)), "SCTP 192.0.2.1:9 wlc"),
        (VirtualService(ServiceKey(17, "2001:db8::1", 9, 0, 6), netmask=128), "UDP  [2001:db8::1]:9 wlc"),
        (VirtualService(ServiceKey(fwmark=7)), "FWM  7 wlc"),
        (VirtualService(ServiceKey(fwmark=2**31, family=6), netmask=128), "FWM  -2147483648 IPv6 wlc"),
        (VirtualService(VIP, "sh", sched_flags=3), "TCP  198.51.100.7:443 sh (sh-fallback,sh-port)"),
        (VirtualService(VIP, "mh", sched_flags=2), "TCP  198.51.100.7:443 mh (mh-port)"),
        (VirtualService(VIP, "sh", sched_flags=4), "TCP  198.51.100.7:443 sh ()"),
        (VirtualService(VIP, "rr", sched_flags=5), "TCP  198.51.100.7:443 rr (flag-1,flag-3)"),
        (VirtualService(VIP, persistent=9, netmask=24), "TCP  198.51.100.7:443 wlc persistent 9 mask 0.0.0.24"),
        (VirtualService(VIP, netmask=24), "TCP  198.51.100.7:443 wlc"),
        (
            VirtualService(ServiceKey(fwmark=7, family=6), persistent=9, netmask=64, pe="sip", ops=True),
            "FWM  7 IPv6 wlc persistent 9 mask 64 pe sip ops",
        ),
        (VirtualService(VIP, pe="sip", ops=True), "TCP  198.51.100.7:443 wlc ops"),
        (VirtualService(VIP, check=CheckSpec(), takeover=True), "TCP  198.51.100.7:443 wlc"),
    ],
)  # fmt: skip
def test_lines_of_services(service: VirtualService, line: str) -> None:
    assert table(ServiceRow(service))[2] == line


def test_names_and_where_they_are_cut() -> None:
    names = NamesOf()
    names.hosts = {"a-very-long-name-of-a-host.example.test": VIP.address, "b" * 70: "192.0.2.20"}
    row = ServiceRow(VirtualService(VIP), (DEST,))
    lines = listing.one_table([row], View(), names).split("\n")
    assert lines[2] == "TCP  a-very-long-name-of-a-host.e wlc"
    assert lines[3] == "  -> " + "b" * 28 + " Masq    5      3          2         "
    saved = listing.rules([row], names).split("\n")
    assert saved[0] == "-A -t a-very-long-name-of-a-host.example.test:https -s wlc"
    assert saved[1].split(" -r ")[1] == "b" * 59 + " -m -w 5"


def test_unsorted_is_the_kernel_s_order() -> None:
    assert [line[:8] for line in table(sort=False)[3:]] == ["  -> [20", "  -> 192"]


def test_timeouts_and_daemons() -> None:
    assert listing.timeouts(1, 2, 3) == "Timeout (tcp tcpfin udp): 1 2 3\n"
    running = [SyncDaemon(False, "br0", 2, 1024, "ff02::51", 9, 4), SyncDaemon(True, "eth1", 1)]
    assert listing.daemons(running) == (
        "master sync daemon (mcast=eth1, syncid=1, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n"
        "backup sync daemon (mcast=br0, syncid=2, maxlen=1024, group=ff02::51, port=9, ttl=4)\n"
    )


def test_a_saved_weight_is_the_rule_s_and_a_listed_one_the_health_s() -> None:
    down = DestRow(Destination("192.0.2.20", 80, Method.ROUTE, 0), up=False, weight=6)
    row = ServiceRow(VirtualService(VIP), (down,))
    assert table(row)[3].split()[3] == "0"
    assert listing.rules([row], Numeric()).split("\n")[1] == (
        "-a -t 198.51.100.7:443 -r 192.0.2.20:80 -g -w 6"
    )


@given(st.integers(0, 2**64 - 1))
def test_counts_keep_their_column(value: int) -> None:
    text = listing.count(value, exact=False)
    assert len(text) == 9
    assert int(text.rstrip("KMGT")) <= value
    assert listing.count(value, exact=True).strip() == str(value)


v4 = st.ip_addresses(v=4).map(str).filter(lambda a: a != "0.0.0.0")
v6 = st.ip_addresses(v=6).map(lambda a: f"[{a}]")
ports = st.integers(1, 65535)


@st.composite
def services(draw: st.DrawFn) -> tuple[str, bool]:
    """The options of a service, and whether it is of IPv6."""
    kind = draw(st.sampled_from(["-t", "-u", "--sctp-service", "-f"]))
    six = draw(st.booleans())
    if kind == "-f":
        return f"-f {draw(st.integers(1, 2**31 - 1))}{' -6' if six else ''}", six
    return f"{kind} {draw(v6 if six else v4)}:{draw(ports)}", six


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A service and its destinations as command lines."""
    name, six = draw(services())
    scheduler = draw(
        st.sampled_from(["rr", "sh -b sh-port", "mh -b mh-fallback,mh-port", "lc -b flag-2"])
    )
    service = f"-A {name} -s {scheduler}"
    if draw(st.booleans()):
        service += f" -p {draw(st.integers(1, 2678400))}"
        if draw(st.booleans()):
            service += f" -M {draw(st.integers(1, 128)) if six else draw(v4)}"
    service += draw(st.sampled_from(["", " --pe sip"]))
    service += draw(st.sampled_from(["", " --check tcp:8", " --check udp --check-timeout 9"]))
    service += draw(st.sampled_from(["", " --takeover", " --no-takeover"]))
    if "-u" in name or "-f" in name:
        service += draw(st.sampled_from(["", " -o"]))
    tunnels = ["-i", "-i --tun-type gre --tun-csum", "-i --tun-type gue --tun-port 9 --tun-remcsum"]
    found = [service]
    for real in draw(st.lists(st.tuples(v6 if six else v4, ports), max_size=5, unique=True)):
        way = draw(st.sampled_from(["-m", "-g", *tunnels]))
        weight = draw(st.integers(0, 2**31 - 1))
        found.append(f"-a {name} -r {real[0]}:{real[1]} {way} -w {weight}")
    return found


@given(st.lists(lines(), max_size=4))
def test_what_is_saved_restores_the_same_table(tables: list[list[str]]) -> None:
    first, second = Shell(), Shell()
    first("ipvsadm -R", stdin="\n".join(line for table in tables for line in table))
    saved = first("ipvsadm -Sn").out
    second("ipvsadm -R", stdin=saved)
    assert second.status == 0
    # In another order where the comparison is none: what was added last comes first now.
    assert sorted(second("ipvsadm -Sn").out.split("\n")) == sorted(saved.split("\n"))
    assert {key: rule[0] for key, rule in second.table.rows.items()} == {
        key: rule[0] for key, rule in first.table.rows.items()
    }
    for key, rule in first.table.rows.items():
        assert sorted(map(str, second.table.rows[key][1])) == sorted(map(str, rule[1]))
