# SPDX-License-Identifier: Apache-2.0
"""The options of a line, one after the other: what each makes of its argument.

An option sees what those before it have set: whether ``-M`` is a mask or a prefix, and which
protocol's ports ``-r`` may name, depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from penstock.ipvs.model import Method, Proto, ServiceKey, TunFlag, TunType
from penstock.ipvsadm.address import netmask, place
from penstock.ipvsadm.names import Names
from penstock.ipvsadm.numbers import leading_number, number
from penstock.ipvsadm.options import BIT, TUNNEL_LAWS

_INT_MAX = 2**31 - 1
_MAX_TIMEOUT = 31 * 86400
DEFAULT_SCHEDULER = "wlc"


class Exit(Exception):
    """The program ends here: exit() in the real one, which also ends a restore."""

    def __init__(self, status: int, stderr: str = "") -> None:
        super().__init__(status, stderr)
        self.status = status
        self.stderr = stderr


def fail(text: str) -> Exit:
    return Exit(2, text + "\n")


class Line:
    """What the options have said so far."""

    given = 0
    proto = 0
    family = 0
    address = ""
    port = 0
    fwmark = 0
    scheduler = ""
    persistent = 0
    netmask = 0xFFFFFFFF
    ops = False
    pe = ""
    flags = ""
    takeover: bool | None = None
    check: tuple[str, int] | None = None
    check_inter = 2000
    check_rise = 2
    check_fall = 3
    check_timeout = 0
    dest_address = ""
    dest_family = 0
    dest_port = 0
    method: int = Method.ROUTE
    weight = 1
    upper = 0
    lower = 0
    tun_type: int = TunType.IPIP
    tun_port = 0
    tun_flags = 0
    interface = ""
    syncid = 0
    maxlen = 0
    group = "224.0.0.81"
    mcast_port = 8848
    ttl = 1
    master = False

    def __init__(self, names: Names) -> None:
        self.names = names

    def once(self, name: str) -> None:
        """Note that *name* is given. Raises Exit where it was before."""
        bit = BIT[name]
        if self.given & bit:
            raise fail(f"multiple '{name}' options specified")
        self.given |= bit

    def key(self) -> ServiceKey:
        """The service that the line is about."""
        if self.fwmark:
            return ServiceKey(fwmark=self.fwmark, family=self.family)
        return ServiceKey(self.proto, self.address, self.port, 0, self.family)


_Option = Callable[[Line, str], None]


def _service(proto: int) -> _Option:
    def read(line: Line, text: str) -> None:
        line.once("service-address")
        line.proto = proto
        found = place(text, proto, line.names)
        if found is None:
            raise fail("illegal virtual server address[:port] specified")
        line.address, line.family, port = found
        if port is not None:
            line.port = port
        if line.family == 6:
            line.netmask = 128

    return read


def _fwmark(line: Line, text: str) -> None:
    line.once("service-address")
    line.family = 4
    line.proto = Proto.TCP  # of the ports that -r may name
    mark = number(text, 1, 2**32 - 1)
    if mark is None:
        raise fail(f"invalid fwmark value `{text}' specified")
    line.fwmark = mark


def _ipv6(line: Line, _: str) -> None:
    if not line.fwmark:
        raise fail("-6 used before -f\n")
    line.family = 6
    line.netmask = 128


def _scheduler(line: Line, text: str) -> None:
    line.once("scheduler")
    line.scheduler = text[:15]


def timeout(text: str, low: int) -> int:
    value = number(text, low, _MAX_TIMEOUT)
    if value is None:
        raise fail(f"invalid timeout value `{text}' specified")
    return value


def _netmask(line: Line, text: str) -> None:
    line.once("netmask")
    if line.family == 6:
        prefix = leading_number(text)
        if not 1 <= prefix <= 128:
            raise fail("illegal ipv6 netmask specified")
        line.netmask = prefix
    else:
        mask = netmask(text, line.names)
        if mask is None:
            raise fail("illegal virtual server persistent mask specified")
        line.netmask = mask


def _real_server(line: Line, text: str) -> None:
    line.once("real-server")
    found = place(text, line.proto, line.names)
    if found is None:
        raise fail("illegal real server address[:port] specified")
    line.dest_address, line.dest_family, port = found
    line.dest_port = line.port if port is None else port


def _method(method: Method) -> _Option:
    def read(line: Line, _: str) -> None:
        line.once("forwarding-method")
        line.method = method

    return read


def _number(name: str, field: str, low: int, high: int, error: str) -> _Option:
    def read(line: Line, text: str) -> None:
        line.once(name)
        value = number(text, low, high)
        if value is None:
            raise fail(error)
        setattr(line, field, value)

    return read


def _flag(name: str) -> _Option:
    def read(line: Line, _: str) -> None:
        line.once(name)

    return read


def _ops(line: Line, _: str) -> None:
    line.once("ops")
    line.ops = True


def _engine(line: Line, text: str) -> None:
    line.once("pe")
    line.pe = text[:16]


def _sched_flags(line: Line, text: str) -> None:
    line.once("sched-flags")
    line.flags = text[:127]


def _interface(line: Line, text: str) -> None:
    line.once("mcast-interface")
    line.interface = text[:15]


def _group(line: Line, text: str) -> None:
    line.once("mcast-group")
    family, kind = (AF_INET6, "IPv6") if ":" in text else (AF_INET, "IPv4")
    try:
        raw = inet_pton(family, text)
    except (OSError, ValueError):
        raw = b"\0"
    if not (raw[0] == 0xFF if family == AF_INET6 else raw[0] >> 4 == 0xE):
        raise fail(f"invalid {kind} mcast-group `{text}'")
    line.group = inet_ntop(family, raw)


def _tun_type(line: Line, text: str) -> None:
    line.once("tun-type")
    if text not in TUNNEL_LAWS:
        raise fail("illegal tunnel type specified")
    line.tun_type = TunType[text.upper()]


def _tun_flag(name: str, flag: TunFlag) -> _Option:
    def read(line: Line, _: str) -> None:
        line.once(name)
        line.tun_flags |= flag

    return read


def _check(line: Line, text: str) -> None:
    line.once("check")
    kind, colon, port_text = text.partition(":")
    port = number(port_text, 1, 65535) if colon else 0
    if kind not in ("tcp", "udp") or port is None:
        raise fail("illegal check specified")
    line.check = kind, port


def _takeover(name: str, *, on: bool) -> _Option:
    def read(line: Line, _: str) -> None:
        line.once(name)
        line.takeover = on

    return read


# Except "persistent", whose argument may be missing.
OPTIONS: dict[str, _Option] = {
    "tcp-service": _service(Proto.TCP),
    "udp-service": _service(Proto.UDP),
    "sctp-service": _service(Proto.SCTP),
    "fwmark-service": _fwmark,
    "scheduler": _scheduler,
    "netmask": _netmask,
    "real-server": _real_server,
    "masquerading": _method(Method.MASQ),
    "ipip": _method(Method.TUNNEL),
    "gatewaying": _method(Method.ROUTE),
    "weight": _number("weight", "weight", 0, _INT_MAX, "illegal weight specified"),
    "u-threshold": _number("u-threshold", "upper", 0, _INT_MAX, "illegal u_threshold specified"),
    "l-threshold": _number("l-threshold", "lower", 0, _INT_MAX, "illegal l_threshold specified"),
    **{
        name: _flag(name)
        for name in (
            *("numeric", "connection", "timeout", "daemon", "stats", "rate", "thresholds"),
            *("persistent-conn", "nosort", "exact", "tun-info"),
        )
    },
    "sort": lambda line, text: None,
    "mcast-interface": _interface,
    "syncid": _number("syncid", "syncid", 0, 255, "illegal syncid specified"),
    "ipv6": _ipv6,
    "ops": _ops,
    "pe": _engine,
    "sched-flags": _sched_flags,
    "mcast-group": _group,
    "mcast-port": _number("mcast-port", "mcast_port", 1, 65535, "illegal mcast-port specified"),
    "mcast-ttl": _number("mcast-ttl", "ttl", 1, 255, "illegal mcast-ttl specified"),
    "sync-maxlen": _number("sync-maxlen", "maxlen", 1, 65507, "illegal sync-maxlen specified"),
    "tun-type": _tun_type,
    "tun-port": _number("tun-port", "tun_port", 1, 65535, "illegal tunnel port specified"),
    "tun-nocsum": _tun_flag("tun-nocsum", TunFlag.NONE),
    "tun-csum": _tun_flag("tun-csum", TunFlag.CSUM),
    "tun-remcsum": _tun_flag("tun-remcsum", TunFlag.REMCSUM),
    "check": _check,
    "check-inter": _number(
        "check-inter", "check_inter", 1, _INT_MAX, "illegal check interval specified"
    ),
    "check-rise": _number("check-rise", "check_rise", 1, 65535, "illegal check rise specified"),
    "check-fall": _number("check-fall", "check_fall", 1, 65535, "illegal check fall specified"),
    "check-timeout": _number(
        "check-timeout", "check_timeout", 1, _INT_MAX, "illegal check timeout specified"
    ),
    "takeover": _takeover("takeover", on=True),
    "no-takeover": _takeover("no-takeover", on=False),
}
