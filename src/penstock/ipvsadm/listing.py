# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: UP031 - formats as printf has them
"""Listings of rules, byte for byte as ipvsadm's printf calls make them, and rules to be restored.

Lines keep their trailing blanks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penstock.ipvs.model import (
    DestRow,
    Method,
    Proto,
    SchedFlag,
    ServiceKey,
    ServiceRow,
    Stats,
    SyncDaemon,
    TunFlag,
    TunType,
    VirtualService,
)
from penstock.ipvsadm import order
from penstock.ipvsadm.names import Names
from penstock.ipvsadm.request import View

TABLE_SIZE = 4096  # of the kernel's connection table; the daemon's is a constant too

_LONGEST_NAME = 59  # of a buffer of 60
_V4_SERVICE = 33
_V4_DEST = 28
_ALL_ONES = 0xFFFFFFFF

_PROTOCOLS: dict[int, tuple[str, str]] = {Proto.TCP: ("TCP", "-t"), Proto.UDP: ("UDP", "-u")}
_SCTP = ("SCTP", "--sctp-service")
_FORWARD: dict[int, str] = {
    Method.MASQ: "Masq",
    Method.LOCAL: "Local",
    Method.TUNNEL: "Tunnel",
    Method.ROUTE: "Route",
}
_SWITCH: dict[int, str] = {
    Method.MASQ: "-m",
    Method.LOCAL: "-g",
    Method.TUNNEL: "-i",
    Method.ROUTE: "-g",
}
_TUN_FLAG: dict[int, str] = {TunFlag.NONE: "-c", TunFlag.CSUM: "+c", TunFlag.REMCSUM: "r+c"}
_TUN_SWITCH: dict[int, str] = {
    TunFlag.NONE: "--tun-nocsum",
    TunFlag.CSUM: "--tun-csum",
    TunFlag.REMCSUM: "--tun-remcsum",
}
_SCHED_FLAGS = {
    "sh": ((SchedFlag.ONE, "sh-fallback"), (SchedFlag.TWO, "sh-port")),
    "mh": ((SchedFlag.ONE, "mh-fallback"), (SchedFlag.TWO, "mh-port")),
}
_OTHER_FLAGS = (
    (SchedFlag.ONE, "flag-1"),
    (SchedFlag.TWO, "flag-2"),
    (SchedFlag.THREE, "flag-3"),
)


def _counter_title(*names: str) -> str:
    head = "%-33s %8s %8s %8s %8s %8s\n" % ("Prot LocalAddress:Port", *names)
    return head + "  -> RemoteAddress:Port\n"


_PLAIN_TITLE = (
    "Prot LocalAddress:Port Scheduler Flags\n"
    "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
)
_TITLES = {
    "": _PLAIN_TITLE,
    "stats": _counter_title("Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"),
    "rate": _counter_title("CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"),
    "thresholds": (
        "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n"
        "  -> RemoteAddress:Port\n"
    ),
    "persistent-conn": (
        "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn \n"
        "  -> RemoteAddress:Port\n"
    ),
    "tun-info": _PLAIN_TITLE.replace("Forward ", "Forward TunnelInfo    "),
}


def whole_table(rows: Sequence[ServiceRow], view: View, names: Names) -> str:
    """``-L``: all services under a line that names the version."""
    head = f"IP Virtual Server version 1.2.1 (size={TABLE_SIZE})\n"
    return head + one_table(rows, view, names)


def one_table(rows: Sequence[ServiceRow], view: View, names: Names) -> str:
    """``-L`` with a service: the title and what follows it."""
    lines = [_TITLES[view.columns]]
    for row in order.services(rows) if view.sort else rows:
        lines.append(_service_line(row, view, names))
        lines.extend(_dest_lines(row, view, names))
    return "".join(lines)


def rules(rows: Sequence[ServiceRow], names: Names) -> str:
    """``-S``: the lines that ``-R`` makes the same table of."""
    lines = []
    for row in order.services(rows):
        service = _rule_name(row.service.key, names)
        lines.append(f"-A {service}{_rule_options(row.service)}\n")
        proto = row.service.key.proto
        for dest_row in order.destinations(row.dests):
            dest = dest_row.dest
            lines.append(
                f"-a {service} -r {endpoint(dest.address, dest.port, proto, names)}"
                f" {_SWITCH[dest.method]} -w {dest_row.weight}{_tunnel_options(dest_row)}\n"
            )
    return "".join(lines)


def timeouts(tcp: int, tcp_fin: int, udp: int) -> str:
    """``-L --timeout``; seconds."""
    return f"Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}\n"


def daemons(running: Sequence[SyncDaemon]) -> str:
    """``-L --daemon``: the master, then the backup."""
    lines = []
    for daemon in sorted(running, key=lambda daemon: not daemon.master):
        kind = "master" if daemon.master else "backup"
        details = f"mcast={daemon.interface}, syncid={daemon.syncid}"
        if daemon.maxlen:
            details += f", maxlen={daemon.maxlen}"
        details += f", group={daemon.group}, port={daemon.port}, ttl={daemon.ttl}"
        lines.append(f"{kind} sync daemon ({details})\n")
    return "".join(lines)


def endpoint(address: str, port: int, proto: int, names: Names) -> str:
    """Address and port in one, by name where *names* has names."""
    host = names.host(address)
    text = f"[{host}]" if ":" in address else host
    return f"{text}:{names.service(port, proto)}"[:_LONGEST_NAME]


def count(value: int, *, exact: bool) -> str:
    """A counter in nine columns, in thousands and more where it does not fit."""
    if exact:
        digits = str(value)
        return digits.rjust(9) if len(digits) <= 8 else " " + digits
    if value < 10**8:
        return "%9d" % value
    if value < 10**9:
        return "%8dK" % (value // 10**3)
    if value < 10**11:
        return "%8dM" % (value // 10**6)
    if value < 10**14:
        return "%8dG" % (value // 10**9)
    return "%8dT" % (value // 10**12)


def _counts(stats: Stats, columns: str) -> tuple[int, int, int, int, int]:
    if columns == "stats":
        packets = stats.in_packets, stats.out_packets
        return stats.conns, *packets, stats.in_bytes, stats.out_bytes
    return stats.cps, stats.in_pps, stats.out_pps, stats.in_bps, stats.out_bps


def _mark(fwmark: int) -> int:
    return fwmark - 2**32 if fwmark >= 2**31 else fwmark  # the real program prints an int


def _name(key: ServiceKey, names: Names) -> str:
    if key.fwmark:
        return f"FWM  {_mark(key.fwmark)}{' IPv6' if key.family == 6 else ''}"
    proto = _PROTOCOLS.get(key.proto, _SCTP)[0]
    text = f"{proto:<4} {endpoint(key.address, key.port, key.proto, names)}"
    return text if key.family == 6 else text[:_V4_SERVICE]


def _rule_name(key: ServiceKey, names: Names) -> str:
    if key.fwmark:
        return f"-f {_mark(key.fwmark)}{' -6' if key.family == 6 else ''}"
    option = _PROTOCOLS.get(key.proto, _SCTP)[1]
    return f"{option} {endpoint(key.address, key.port, key.proto, names)}"


def _mask(service: VirtualService) -> str:
    """The persistence mask, empty where it is the whole address."""
    if service.key.family == 6:
        return "" if service.netmask == 128 else str(service.netmask)
    if service.netmask == _ALL_ONES:
        return ""
    return ".".join(str(octet) for octet in service.netmask.to_bytes(4, "big"))


def _sched_flags(service: VirtualService) -> str:
    known = _SCHED_FLAGS.get(service.scheduler, _OTHER_FLAGS)
    return ",".join(name for flag, name in known if service.sched_flags & flag)


def _service_line(row: ServiceRow, view: View, names: Names) -> str:
    service = row.service
    name = _name(service.key, names)
    if view.columns in ("stats", "rate"):
        counts = (count(n, exact=view.exact) for n in _counts(row.stats, view.columns))
        return f"{name:<33}{''.join(counts)}\n"
    text = f"{name} {service.scheduler}"
    if service.sched_flags:
        text += f" ({_sched_flags(service)})"
    if service.persistent:
        mask = _mask(service)
        text += f" persistent {service.persistent}"
        text += f" mask {mask}" if mask else ""
        text += f" pe {service.pe}" if service.pe else ""
    return text + (" ops\n" if service.ops else "\n")


def _rule_options(service: VirtualService) -> str:
    text = f" -s {service.scheduler}"
    if service.persistent:
        mask = _mask(service)
        text += f" -p {service.persistent}" + (f" -M {mask}" if mask else "")
    text += f" --pe {service.pe}" if service.pe else ""
    text += " -o" if service.ops else ""
    text += f" -b {_sched_flags(service)}" if service.sched_flags else ""
    check = service.check
    if check is not None:
        text += f" --check {check.kind}" + (f":{check.port}" if check.port else "")
        text += f" --check-inter {check.inter} --check-rise {check.rise} --check-fall {check.fall}"
        text += f" --check-timeout {check.timeout}" if check.timeout else ""
    if service.takeover is not None:
        text += " --takeover" if service.takeover else " --no-takeover"
    return text


def _tunnel_options(row: DestRow) -> str:
    dest = row.dest
    if dest.method != Method.TUNNEL:
        return ""
    kind = TunType(dest.tun_type)
    text = f" --tun-type {kind.name.lower()}"
    if kind is TunType.GUE:
        text += f" --tun-port {dest.tun_port}"
    if kind is not TunType.IPIP:
        text += f" {_TUN_SWITCH[dest.tun_flags]}"
    return text


def _tunnel_info(row: DestRow) -> str:
    dest = row.dest
    if dest.method != Method.TUNNEL:
        return "n/a"
    kind = TunType(dest.tun_type)
    text = kind.name.lower()
    if kind is TunType.GUE:
        text += f":{dest.tun_port}"
    if kind is not TunType.IPIP:
        text += f":{_TUN_FLAG[dest.tun_flags]}"
    return text


def _dest_lines(row: ServiceRow, view: View, names: Names) -> Iterator[str]:
    columns, proto = view.columns, row.service.key.proto
    for dest_row in order.destinations(row.dests) if view.sort else row.dests:
        dest = dest_row.dest
        name = endpoint(dest.address, dest.port, proto, names)
        if ":" not in dest.address:
            name = name[:_V4_DEST]
        live = dest_row.active, dest_row.inactive
        if not columns:
            head = name, _FORWARD[dest.method]
            yield "  -> %-28s %-7s %-6d %-10d %-10d\n" % (*head, dest.weight, *live)
        elif columns == "stats":
            counts = (count(n, exact=view.exact) for n in _counts(dest_row.stats, columns))
            yield f"  -> {name:<28}{''.join(counts)}\n"
        elif columns == "rate":
            cps, in_pps, out_pps, *bps = _counts(dest_row.stats, columns)
            tail = "".join(count(n, exact=view.exact) for n in bps)
            yield "  -> %-28s %8d %8d %8d%s\n" % (name, cps, in_pps, out_pps, tail)
        elif columns == "thresholds":
            yield "  -> %-28s %-10d %-10d %-10d %-10d\n" % (name, dest.upper, dest.lower, *live)
        elif columns == "persistent-conn":
            counts_of = dest.weight, dest_row.persistent
            yield "  -> %-28s %-9d %-11d %-10d %-10d\n" % (name, *counts_of, *live)
        else:
            info = _FORWARD[dest.method], _tunnel_info(dest_row)
            yield "  -> %-28s %-7s %-13s %-6d %-10d %-10d\n" % (name, *info, dest.weight, *live)
