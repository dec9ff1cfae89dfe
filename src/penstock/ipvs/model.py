# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of IPVS rules, as they go over the control socket and lie in the rule table.

Records are arrays on the wire: ``ipvsadm -R`` sends a hundred thousand of them at once. Addresses
are text in the one form that ``inet_ntop`` prints. Whoever builds one of these from a command line
has checked it by ipvsadm's grammar; the rule table checks what the kernel would.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import msgspec

# The names ipvsadm's kernel knows; "none" schedules nobody.
SCHEDULERS = (
    *("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh"),
    *("sed", "nq", "fo", "ovf", "mh", "twos", "none"),
)
HASHED = frozenset({"sh", "dh", "mh"})  # the same choice on every node


class Proto(IntEnum):
    """IP protocol numbers; a firewall-mark service has none of its own."""

    ANY = 0
    TCP = 6
    UDP = 17
    SCTP = 132


class Method(IntEnum):
    """Packet forwarding methods (IP_VS_CONN_F_FWD_MASK, include/uapi/linux/ip_vs.h)."""

    MASQ = 0
    LOCAL = 1
    TUNNEL = 2
    ROUTE = 3


class TunType(IntEnum):
    IPIP = 0
    GUE = 1
    GRE = 2


class TunFlag(IntFlag):
    """IP_VS_TUNNEL_ENCAP_FLAG_*: a checksum for the outer header, or remote checksum offload."""

    NONE = 0
    CSUM = 1
    REMCSUM = 2


class SchedFlag(IntFlag):
    """``-b``: what flag 1 and 2 mean is the scheduler's affair (fallback, port for sh and mh)."""

    NONE = 0
    ONE = 1
    TWO = 2
    THREE = 4


class ServiceKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a virtual service is: address, port and protocol, or a firewall mark and family."""

    proto: int = 0  # Proto; 0 for a firewall mark
    address: str = ""
    port: int = 0  # 0: all ports (persistent services only)
    fwmark: int = 0  # 1-4294967295; 0: none
    family: int = 4  # 4 or 6


class CheckSpec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An extension of ours: how a service's destinations are checked. Times in ms."""

    kind: str = "tcp"  # "tcp" or "udp"
    inter: int = 2000
    rise: int = 2
    fall: int = 3
    port: int = 0  # 0: the destination's
    timeout: int = 0  # 0: as the checks of a haproxy.cfg


class VirtualService(msgspec.Struct, frozen=True, array_like=True, gc=False):
    key: ServiceKey
    scheduler: str = "wlc"
    persistent: int = 0  # seconds a client stays with its destination; 0: not persistent
    netmask: int = 0xFFFFFFFF  # of persistence: IPv4 as a number, IPv6 a prefix length of 1-128
    ops: bool = False
    sched_flags: int = 0  # SchedFlag
    has_flags: bool = False  # -b was given, be it an empty list: the listing shows it
    pe: str = ""
    check: CheckSpec | None = None
    takeover: bool | None = None  # schedule flows that began elsewhere; None: on for mh alone


class Destination(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One destination; ``(address, port)`` is what it is within its service."""

    address: str
    port: int = 0
    method: int = Method.ROUTE
    weight: int = 1  # 0-2147483647; 0 quiesces
    upper: int = 0  # -x; 0: none
    lower: int = 0  # -y; 0: three quarters of the upper one
    tun_type: int = TunType.IPIP
    tun_port: int = 0
    tun_flags: int = 0  # TunFlag


DestKey = tuple[str, int]


# -- commands: each is answered with an errno, 0 for done --------------------------------


class AddService(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="A"):
    service: VirtualService


class EditService(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="E"):
    service: VirtualService


class DeleteService(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="D"):
    key: ServiceKey


class Flush(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="C"):
    """All virtual services."""


class AddDest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="a"):
    key: ServiceKey
    dest: Destination


class EditDest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="e"):
    key: ServiceKey
    dest: Destination


class DeleteDest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="d"):
    key: ServiceKey
    address: str
    port: int


class Zero(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="Z"):
    key: ServiceKey | None = None  # None: all services


class SetTimeouts(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="T"):
    """Seconds; 0 leaves one as it is."""

    tcp: int
    tcp_fin: int
    udp: int


class SyncDaemon(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A connection synchronisation daemon, as ``ipvsadm -L --daemon`` shows it."""

    master: bool
    interface: str = "eth0"
    syncid: int = 255
    maxlen: int = 1472
    group: str = "224.0.0.81"
    port: int = 8848
    ttl: int = 1


class StartSync(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="start"):
    daemon: SyncDaemon


class StopSync(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="stop"):
    master: bool


class SetSysctl(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="sysctl"):
    """One of net.ipv4.vs.*, by its last name."""

    name: str
    value: int


Command = (
    AddService
    | EditService
    | DeleteService
    | Flush
    | AddDest
    | EditDest
    | DeleteDest
    | Zero
    | SetTimeouts
    | StartSync
    | StopSync
    | SetSysctl
)


# -- answers -----------------------------------------------------------------------------


class Stats(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Since the last ``-Z``; bytes as IP lengths. Rates per second, as the kernel rounds them."""

    conns: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    cps: int = 0
    in_pps: int = 0
    out_pps: int = 0
    in_bps: int = 0
    out_bps: int = 0


NO_STATS = Stats()


class DestRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    dest: Destination  # its weight is 0 while a health check holds it down
    active: int = 0
    inactive: int = 0
    persistent: int = 0
    stats: Stats = NO_STATS
    up: bool = True  # by its health check, if it has one
    weight: int = 0  # as the rule says, whatever its health: what -S writes


class ServiceRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    service: VirtualService
    dests: tuple[DestRow, ...] = ()  # in the kernel's order: most recently added first
    stats: Stats = NO_STATS


class Connection(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry of ``ipvsadm -Lc``: a connection, or a persistence template."""

    proto: int  # 0: a template of a firewall mark ("IP")
    expires: int  # seconds
    state: str  # ESTABLISHED, UDP, ASSURED …
    client: str
    client_port: int
    virtual: str
    virtual_port: int
    dest: str
    dest_port: int
    pe_name: str = ""
    pe_data: str = ""
    synced: bool = False  # told by another director
