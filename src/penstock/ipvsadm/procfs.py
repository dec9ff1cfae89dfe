# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: UP031 - formats as printf has them
"""The texts of /proc/net/ip_vs and its neighbours, as the kernel formats them.

Addresses and ports in hexadecimal, times of persistence in ticks of 1/250 s as on the kernels of
Debian.
"""

from __future__ import annotations

from collections.abc import Sequence
from socket import AF_INET6, inet_aton, inet_pton

from penstock.ipvs.model import Connection, DestRow, Method, ServiceRow
from penstock.ipvsadm.connections import PROTOCOLS
from penstock.ipvsadm.listing import TABLE_SIZE

NAMES = ("ip_vs", "ip_vs_conn", "ip_vs_conn_sync", "ip_vs_stats")

_HZ = 250
_FORWARD: dict[int, str] = {
    Method.MASQ: "Masq",
    Method.LOCAL: "Local",
    Method.TUNNEL: "Tunnel",
    Method.ROUTE: "Route",
}
_ENDPOINTS = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       "


def render(name: str, table: Sequence[ServiceRow], connections: Sequence[Connection]) -> str:
    """The text of /proc/net/*name*, which is one of NAMES. Raises KeyError for any other."""
    renderers = {
        "ip_vs": lambda: _rules(table),
        "ip_vs_conn": lambda: _connections(connections),
        "ip_vs_conn_sync": lambda: _synced(connections),
        "ip_vs_stats": lambda: _stats(table),
    }
    return renderers[name]()


def _address(address: str) -> str:
    if ":" in address:
        text = inet_pton(AF_INET6, address).hex()
        return ":".join(text[at : at + 4] for at in range(0, 32, 4))
    return inet_aton(address).hex().upper()


def _endpoint(address: str, port: int) -> str:
    text = _address(address)
    return f"[{text}]:{port:04X}" if ":" in address else f"{text}:{port:04X}"


def _service_line(row: ServiceRow) -> str:
    service = row.service
    key = service.key
    ops = "ops " if service.ops else ""
    if key.fwmark:
        text = f"FWM  {key.fwmark:08X} {service.scheduler} {ops}"
    else:
        place = f"{PROTOCOLS[key.proto]}  {_endpoint(key.address, key.port)}"
        # The kernel says nothing of one-packet scheduling for IPv6.
        text = f"{place} {service.scheduler} " + ("" if key.family == 6 else f"{ops} ")
    if not service.persistent:
        return text + "\n"
    # A prefix length lies there in the host's order, and is turned as a mask would be.
    raw = service.netmask.to_bytes(4, "little" if key.family == 6 else "big")
    return f"{text}persistent {service.persistent * _HZ} {raw.hex().upper()}\n"


def _dest_line(row: DestRow) -> str:
    dest = row.dest
    place = _endpoint(dest.address, dest.port)
    forward = _FORWARD[dest.method]
    values = (place, forward, dest.weight, row.active, row.inactive)
    return "  -> %s      %-7s %-6d %-10d %-10d\n" % values


def _rules(table: Sequence[ServiceRow]) -> str:
    lines = [
        f"IP Virtual Server version 1.2.1 (size={TABLE_SIZE})\n",
        "Prot LocalAddress:Port Scheduler Flags\n",
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n",
    ]
    for row in table:
        lines.append(_service_line(row))
        lines.extend(_dest_line(dest) for dest in row.dests)
    return "".join(lines)


def _endpoints(entry: Connection) -> str:
    return "%-3s %s %04X %s %04X %s %04X %-11s" % (
        PROTOCOLS.get(entry.proto, "IP"),
        *(_address(entry.client), entry.client_port),
        *(_address(entry.virtual), entry.virtual_port),
        *(_address(entry.dest), entry.dest_port),
        entry.state,
    )


def _connections(entries: Sequence[Connection]) -> str:
    lines = [_ENDPOINTS + "Expires PEName PEData\n"]
    for entry in entries:
        engine = f" {entry.pe_name} {entry.pe_data}" if entry.pe_name else ""
        lines.append("%s %7d%s\n" % (_endpoints(entry), entry.expires, engine))
    return "".join(lines)


def _origin(entry: Connection) -> str:
    return "SYNC" if entry.synced else "LOCAL"


def _synced(entries: Sequence[Connection]) -> str:
    lines = [_ENDPOINTS + "Origin Expires\n"]
    lines.extend(
        "%s %-6s %7d\n" % (_endpoints(entry), _origin(entry), entry.expires) for entry in entries
    )
    return "".join(lines)


def _stats(table: Sequence[ServiceRow]) -> str:
    every = [row.stats for row in table]
    totals = (
        sum(stats.conns for stats in every),
        sum(stats.in_packets for stats in every),
        sum(stats.out_packets for stats in every),
        sum(stats.in_bytes for stats in every),
        sum(stats.out_bytes for stats in every),
    )
    rates = (
        sum(stats.cps for stats in every),
        sum(stats.in_pps for stats in every),
        sum(stats.out_pps for stats in every),
        sum(stats.in_bps for stats in every),
        sum(stats.out_bps for stats in every),
    )
    row = "%8X %8X %8X %16X %16X\n"
    return (
        "   Total Incoming Outgoing         Incoming         Outgoing\n"
        "   Conns  Packets  Packets            Bytes            Bytes\n"
        f"{row % totals}\n"
        " Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n"
        f"{row % rates}"
    )
