# SPDX-License-Identifier: Apache-2.0
"""A command line to what it asks for, or to the words and status the real program ends with.

The checks of a whole line come after its options, in the real one's order, which decides which of
several errors is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    Proto,
    SchedFlag,
    SetTimeouts,
    StartSync,
    StopSync,
    SyncDaemon,
    TunType,
    VirtualService,
    Zero,
)
from penstock.ipvsadm import messages
from penstock.ipvsadm.line import DEFAULT_SCHEDULER, OPTIONS, Exit, Line, fail, timeout
from penstock.ipvsadm.names import Names
from penstock.ipvsadm.options import (
    BIT,
    CHECK_DETAILS,
    LAWS,
    TUNNEL_CHECKED,
    TUNNEL_LAWS,
    TUNNEL_OPTIONS,
    bits,
    breach,
)
from penstock.ipvsadm.popt import BadOption, Reader
from penstock.ipvsadm.request import (
    Do,
    Help,
    ListConnections,
    ListDaemons,
    ListRules,
    ListTimeouts,
    Request,
    Restore,
    Save,
    Version,
    View,
)

_DEFAULT_TIMEOUT = 360
_SIGSEGV = 139

# The commands that are options, and what the checks call them.
_COMMANDS = {
    **{name: name for name in LAWS},
    "clear": "flush",
}


def first_option(argv: Sequence[str]) -> str:
    """The long name of the first option, which is the command; empty where there is none."""
    try:
        return Reader(argv[1:]).next() or ""
    except BadOption:
        return ""


def read(argv: Sequence[str], names: Names, *, restoring: bool = False) -> Request:
    """What *argv*, with the program's name first, asks for.

    Raises Exit where the real program ends, BadOption where it says so and returns -1; *restoring*
    is for a line of ``-R``, which may not ask for another ``-R``.
    """
    reader = Reader(argv[1:])
    try:
        first = reader.next() or ""
    except BadOption:
        first = ""
    if first in ("help", "version"):
        return Help() if first == "help" else Version()
    command = _COMMANDS.get(first)
    if command is None:
        raise Exit(255, messages.try_help(argv[0]))
    line = Line(names)
    if command in ("start-daemon", "stop-daemon"):
        if reader.argument not in ("master", "backup"):
            start = command == "start-daemon"
            what = "start-daemon parameter" if start else "start_daemon"
            raise fail(f"illegal {what} specified")
        line.master = reader.argument == "master"
    _read_options(reader, line)
    timeouts = _set_values(reader.others) if command == "set" else None
    if reader.others:
        raise fail(f"unexpected argument {reader.others[0]}")
    flags = _read_flags(line.flags, line.scheduler or DEFAULT_SCHEDULER) if line.flags else 0
    fault = breach(LAWS[command], line.given, f"'{command}' command")
    if fault:
        raise fail(fault)
    if timeouts is not None:
        return Do(timeouts)
    build = _BUILD.get(command)
    if build is not None:
        return Do(build(line, flags))
    if command == "list":
        return _listing(line)
    if command == "save":
        return Save(View(numeric=bool(line.given & BIT["numeric"])))
    if restoring:
        raise Exit(255, messages.try_help(argv[0]))
    return Restore()


def _read_options(reader: Reader, line: Line) -> None:
    while (name := reader.next()) is not None:
        option = OPTIONS.get(name)
        if option is not None:
            option(line, reader.argument or "")
        elif name == "persistent":
            line.once(name)
            text = reader.argument
            line.persistent = _DEFAULT_TIMEOUT if text is None else timeout(text, 1)
        else:
            raise fail(f"invalid option `{reader.word}'")


def _set_values(others: list[str]) -> SetTimeouts:
    values = others[:3]
    if len(values) < 3:
        raise fail("--set option requires 3 timeout values")
    del others[:3]
    tcp, tcp_fin, udp = (timeout(value, 0) for value in values)
    return SetTimeouts(tcp, tcp_fin, udp)


_FLAGS = {
    "flag-1": (SchedFlag.ONE, ""),
    "flag-2": (SchedFlag.TWO, ""),
    "flag-3": (SchedFlag.THREE, ""),
    "sh-fallback": (SchedFlag.ONE, "sh"),
    "sh-port": (SchedFlag.TWO, "sh"),
    "mh-fallback": (SchedFlag.ONE, "mh"),
    "mh-port": (SchedFlag.TWO, "mh"),
}


def _read_flags(text: str, scheduler: str) -> int:
    words = [word for word in text.split(",") if word]
    if not words:  # the real program dies of it
        raise Exit(_SIGSEGV)
    flags = 0
    for word in words:
        if word not in _FLAGS:
            raise fail(f"invalid scheduler flag `{word}'")
        flag, only = _FLAGS[word]
        if only not in ("", scheduler):
            raise fail(f"incompatible scheduler flag `{word}'")
        flags |= flag
    return flags


def _virtual_service(line: Line, flags: int) -> VirtualService:
    if not line.fwmark and not line.port and not line.persistent:
        raise fail("Zero port specified for non-persistent service")
    if line.ops and not line.fwmark and line.proto != Proto.UDP:
        raise fail("One-Packet Scheduling is only for UDP virtual services")
    return VirtualService(
        key=line.key(),
        scheduler=line.scheduler or DEFAULT_SCHEDULER,
        persistent=line.persistent,
        netmask=line.netmask,
        ops=line.ops,
        sched_flags=flags,
        has_flags=bool(flags),
        pe=line.pe,
        check=_check_spec(line),
        takeover=line.takeover,
    )


def _check_spec(line: Line) -> CheckSpec | None:
    both = bits("takeover", "no-takeover")
    if line.given & both == both:
        raise fail("The option 'no-takeover' conflicts with the 'takeover' option")
    if line.check is None:
        if line.given & CHECK_DETAILS:
            raise fail("You need to supply the 'check' option for its details")
        return None
    kind, port = line.check
    return CheckSpec(
        kind, line.check_inter, line.check_rise, line.check_fall, port, line.check_timeout
    )


def _destination(line: Line) -> Destination:
    port = line.dest_port
    if line.method != Method.MASQ and not line.fwmark:
        port = line.port  # only NAT changes ports
    if line.dest_family != line.family and line.method != Method.TUNNEL:
        raise fail("Different address family is allowed only for tunneling servers")
    if line.given & TUNNEL_OPTIONS or line.method == Method.TUNNEL:
        _check_tunnel(line)
    return Destination(
        line.dest_address,
        port,
        line.method,
        line.weight,
        line.upper,
        line.lower,
        line.tun_type,
        line.tun_port,
        line.tun_flags,
    )


def _check_tunnel(line: Line) -> None:
    if line.method != Method.TUNNEL:
        raise fail("Tunnel options conflict with forward method")
    kind = TunType(line.tun_type).name.lower()
    fault = breach(TUNNEL_LAWS[kind], line.given & TUNNEL_CHECKED, f"'{kind}' tunnel type")
    if fault:
        raise fail(fault)


def _zero(line: Line) -> Zero:
    if not line.fwmark and not line.port and not line.address.strip("0.:"):
        return Zero()
    return Zero(line.key())


def _start(line: Line) -> StartSync:
    return StartSync(
        SyncDaemon(
            master=line.master,
            interface=line.interface or "eth0",
            syncid=line.syncid,
            maxlen=line.maxlen,
            group=line.group,
            port=line.mcast_port,
            ttl=line.ttl,
        )
    )


_BUILD: dict[str, Callable[[Line, int], Command]] = {
    "add-service": lambda line, flags: AddService(_virtual_service(line, flags)),
    "edit-service": lambda line, flags: EditService(_virtual_service(line, flags)),
    "delete-service": lambda line, _: DeleteService(line.key()),
    "flush": lambda line, _: Flush(),
    "add-server": lambda line, _: AddDest(line.key(), _destination(line)),
    "edit-server": lambda line, _: EditDest(line.key(), _destination(line)),
    "delete-server": lambda line, _: DeleteDest(line.key(), line.dest_address, line.dest_port),
    "zero": lambda line, _: _zero(line),
    "start-daemon": lambda line, _: _start(line),
    "stop-daemon": lambda line, _: StopSync(line.master),
}

_NOT_RULES = bits("connection", "timeout", "daemon")
_COUNTERS = bits("stats", "rate", "thresholds")
_INFORMATION = bits("timeout", "daemon")
_COLUMNS = ("stats", "rate", "thresholds", "persistent-conn", "tun-info")


def _listing(line: Line) -> Request:
    given = line.given
    if (given & _NOT_RULES and given & _COUNTERS) or (
        given & _INFORMATION and given & BIT["persistent-conn"]
    ):
        raise fail("options conflicts in the list command")
    view = View(
        numeric=bool(given & BIT["numeric"]),
        sort=not given & BIT["nosort"],
        exact=bool(given & BIT["exact"]),
        columns=next((name for name in _COLUMNS if given & BIT[name]), ""),
    )
    if given & BIT["connection"]:
        return ListConnections(view)
    if given & BIT["service-address"]:
        return ListRules(view, line.key())
    if given & BIT["timeout"]:
        return ListTimeouts()
    if given & BIT["daemon"]:
        return ListDaemons()
    return ListRules(view)
