# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of the product: frozen Services, Pools and RealServers that cannot be invalid.

Whoever builds one of these has it checked by the constructor; nothing re-checks it later. This
module imports nothing of penstock but ``errors`` and does no I/O. All durations are integer
milliseconds; ``None`` means "never" (HAProxy's unset timeout).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from penstock.admission import Admission
from penstock.checks.model import PLAIN_LINK, CheckLink, External, Ruleset
from penstock.errors import InvalidModel
from penstock.http_service import HttpService
from penstock.logs.model import Journal, LogForward, Naming, RingSpec, SessionLog, UniqueId
from penstock.mail.model import EmailAlert
from penstock.process import ProcessSettings
from penstock.proxied import ANY_RATE, Back, Front, Link, ProcessRates
from penstock.runtime_sockets import RuntimeSockets
from penstock.sections import Section
from penstock.stick.sections import PeersSpec
from penstock.terms import Address as Address
from penstock.terms import Network as Network
from penstock.terms import Origin as Origin
from penstock.terms import PortRange as PortRange

MAX_WEIGHT = 256  # HAProxy manual 5.2, "weight"
_NAME = re.compile(r"[A-Za-z0-9_.:\-]+\Z")  # HAProxy manual 4, proxy names


class Protocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"


class EngineKind(StrEnum):
    KERNEL = "kernel"
    PROXY = "proxy"


class Hook(StrEnum):
    """Where the datapath attaches: XDP, TC, or whichever fits each interface."""

    AUTO = "auto"
    XDP = "xdp"
    TC = "tc"


class ForwardingMethod(StrEnum):
    """How a packet reaches its real server."""

    FULLNAT = "fullnat"  # source and destination rewritten, as behind HAProxy
    NAT = "nat"  # destination rewritten; the real routes back through the load balancer
    DIRECT = "direct"  # the frame goes to the real, the packet stays as it is
    TUNNEL = "tunnel"  # the packet goes to the real inside another one


class AdminState(StrEnum):
    """What the operator wants of a real server."""

    READY = "ready"
    DRAIN = "drain"  # keeps its flows, gets no new ones
    MAINT = "maint"  # as drain, and not checked


class Algorithm(StrEnum):
    ROUNDROBIN = "roundrobin"
    STATIC_RR = "static-rr"
    LEASTCONN = "leastconn"
    FIRST = "first"
    SOURCE = "source"
    RANDOM = "random"
    MAGLEV = "maglev"


class HashType(StrEnum):
    MAP_BASED = "map-based"
    CONSISTENT = "consistent"


class HashFunction(StrEnum):
    SDBM = "sdbm"
    DJB2 = "djb2"
    WT6 = "wt6"
    CRC32 = "crc32"
    NONE = "none"


class PortMode(StrEnum):
    """How a real server's port follows from the one the client connected to."""

    FIXED = "fixed"
    SAME = "same"  # HAProxy: an address without a port
    OFFSET = "offset"  # HAProxy: ``addr:+N`` / ``addr:-N``


@dataclass(frozen=True, slots=True)
class Bind:
    """One address and port range that a service listens on.

    ``vip`` 0.0.0.0 or :: is a wildcard that follows the machine's addresses. ``v4v6`` makes ``::``
    take IPv4 clients too (HAProxy manual 5.1). ``interface`` restricts it to one device.
    """

    vip: Address
    ports: PortRange
    v4v6: bool = False
    interface: str | None = None
    name: str | None = None
    transparent: bool = False  # may bind an address the machine does not have
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        if self.v4v6 and not (self.vip.version == 6 and self.vip.is_unspecified):
            raise InvalidModel("v4v6 is for the wildcard address :: only")

    @property
    def wildcard(self) -> bool:
        return self.vip.is_unspecified


@dataclass(frozen=True, slots=True)
class RealPort:
    mode: PortMode
    value: int = 0  # FIXED: 1-65535; OFFSET: -65535..65535; SAME: 0

    def __post_init__(self) -> None:
        if self.mode is PortMode.FIXED and not 1 <= self.value <= 65535:
            raise InvalidModel(f"port {self.value} is not within 1-65535")
        if self.mode is PortMode.OFFSET and not -65535 <= self.value <= 65535:
            raise InvalidModel(f"port offset {self.value} is not within -65535..65535")

    def of(self, client_port: int) -> int:
        """Port on the real server for a client that connected to *client_port*."""
        match self.mode:
            case PortMode.FIXED:
                return self.value
            case PortMode.SAME:
                return client_port
            case PortMode.OFFSET:
                return (client_port + self.value) & 0xFFFF


class CheckKind(StrEnum):
    TCP_CONNECT = "tcp"
    UDP = "udp"  # send/expect, or silence tolerated and ICMP unreachable fatal


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a real server is probed. Intervals in ms; defaults are HAProxy's (manual 5.2)."""

    kind: CheckKind = CheckKind.TCP_CONNECT
    inter: int = 2000
    fastinter: int | None = None  # while in transition; None: inter
    downinter: int | None = None  # while down; None: inter
    rise: int = 2
    fall: int = 3
    address: Address | None = None  # None: the real server's
    port: int | None = None  # None: the real server's
    connect_timeout: int | None = None  # None: min(timeout connect, inter) decided by the runner
    check_timeout: int | None = None  # ``timeout check``
    send: bytes = b""  # UDP only
    expect: bytes | None = None  # UDP only: the answer must contain it; None: any or no answer
    log: bool = False  # option log-health-checks
    ruleset: Ruleset | None = None  # None: a connection is enough
    link: CheckLink = PLAIN_LINK
    external: External | None = None  # a program that decides instead
    keep_404: bool = False  # http-check disable-on-404: alive, but no new connections
    send_state: bool = False  # http-check send-state

    def __post_init__(self) -> None:
        for name in ("inter", "fastinter", "downinter"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InvalidModel(f"{name} must be positive, not {value} ms")
        if self.rise < 1 or self.fall < 1:
            raise InvalidModel("rise and fall must be at least 1")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise InvalidModel(f"check port {self.port} is not within 1-65535")


class OnError(StrEnum):
    """What becomes of a server whose clients meet errors (HAProxy manual 5.2, on-error)."""

    FASTINTER = "fastinter"  # the next check comes sooner
    FAIL_CHECK = "fail-check"  # as if a check had failed
    SUDDEN_DEATH = "sudden-death"  # so that the next failed check takes it down
    MARK_DOWN = "mark-down"  # it is down


@dataclass(frozen=True, slots=True)
class Observed:
    """How much of what clients meet counts as a health check (observe layer4)."""

    on_error: OnError = OnError.FAIL_CHECK
    limit: int = 10  # errors in a row

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise InvalidModel("error-limit has to be at least 1")


@dataclass(frozen=True, slots=True)
class AgentCheck:
    """Where an agent is that says how its server does (HAProxy manual 5.2, agent-check)."""

    port: int
    address: Address | None = None  # None: the real server's
    inter: int = 2000  # ms
    send: bytes = b""  # what it is told before it answers
    log: bool = False  # option log-health-checks

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise InvalidModel(f"agent port {self.port} is not within 1-65535")
        if self.inter <= 0:
            raise InvalidModel(f"agent-inter must be positive, not {self.inter} ms")


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """``source``: the address (and ports) connections to the real server come from."""

    address: Address
    ports: PortRange | None = None


@dataclass(frozen=True, slots=True)
class NameLookup:
    """How a real server follows its name in DNS while running (HAProxy manual 5.2, "resolvers")."""

    resolvers: str  # the section whose name servers are asked
    ipv4_first: bool = False  # of a name with addresses of both families
    may_share: bool = False  # an address with another server of the same pool and name
    ignore_weight: bool = False  # of SRV records
    networks: tuple[Network, ...] = ()  # whose addresses are preferred


@dataclass(frozen=True, slots=True)
class RealServer:
    """One target of a pool. Identity is (pool name, name, address, port)."""

    name: str
    address: Address | None  # None: its name did not resolve (init-addr none); not in service
    port: RealPort
    weight: int = 1
    backup: bool = False
    admin: AdminState = AdminState.READY
    maxconn: int = 0  # 0: no limit
    minconn: int = 0  # the limit while its service has few connections; 0: always maxconn
    slowstart: int = 0  # ms; 0: off
    rise: int = 2  # of its check, be there one or not
    check: HealthCheck | None = None
    agent: AgentCheck | None = None
    observed: Observed | None = None
    tracks: tuple[str, str] | None = None  # pool and name of the server whose state it has
    cut_when_down: bool = False  # on-marked-down shutdown-sessions
    cut_backups_when_up: bool = False  # on-marked-up shutdown-backup-sessions
    forwarding: ForwardingMethod = ForwardingMethod.FULLNAT
    source: SourceAddress | None = None
    hostname: str | None = None  # what the file said, when it said a name
    lookup: NameLookup | None = None  # None: the name is resolved at start only
    id: int | None = None  # HAProxy's numeric ``id``
    dynamic: bool = False  # added at run time: checked once its checks are enabled
    link: Link = Link()
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        _require_name(self.name, "server")
        if not 0 <= self.weight <= MAX_WEIGHT:
            raise InvalidModel(f"weight {self.weight} is not within 0-{MAX_WEIGHT}")
        if self.maxconn < 0:
            raise InvalidModel("maxconn must not be negative")
        if self.minconn < 0:
            raise InvalidModel("minconn must not be negative")
        if self.slowstart < 0:
            raise InvalidModel("slowstart must not be negative")
        if self.address is not None and self.address.is_multicast:
            raise InvalidModel(f"{self.address} is a multicast address")


@dataclass(frozen=True, slots=True)
class SchedulerSpec:
    """Which scheduler a pool uses and its parameters."""

    algorithm: Algorithm = Algorithm.ROUNDROBIN
    hash_type: HashType = HashType.MAP_BASED
    hash_function: HashFunction = HashFunction.SDBM
    avalanche: bool = False
    draws: int = 2  # random(n)
    balance_factor: int = 0  # percent of its share a server may have; 0: any load

    def __post_init__(self) -> None:
        if self.balance_factor != 0 and not 100 < self.balance_factor <= 1_000_000:
            raise InvalidModel(f"a balance factor of {self.balance_factor} is not above 100")
        if not 1 <= self.draws <= 16:
            raise InvalidModel(f"random({self.draws}): 1 to 16 draws")

    @property
    def static(self) -> bool:
        """Knows no slow start (HAProxy manual 4.2, "balance"): its map would change all along."""
        mapped = self.algorithm is Algorithm.SOURCE and self.hash_type is HashType.MAP_BASED
        return mapped or self.algorithm is Algorithm.STATIC_RR


@dataclass(frozen=True, slots=True)
class ServerTimeouts:
    """A pool's side of the timeouts, ms."""

    connect: int | None = None
    server: int | None = None
    server_fin: int | None = None
    tunnel: int | None = None
    check: int | None = None


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """A service's side of the timeouts, ms."""

    client: int | None = None
    client_fin: int | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """Real servers with one scheduler and one health policy."""

    name: str
    protocol: Protocol
    reals: tuple[RealServer, ...]
    scheduler: SchedulerSpec = SchedulerSpec()
    timeouts: ServerTimeouts = ServerTimeouts()
    allbackups: bool = False
    fullconn: int = 0  # connections at which servers with minconn reach maxconn; 0: at once
    disabled: bool = False
    back: Back = Back()
    journal: Journal = Journal()
    alerts: EmailAlert | None = None  # None: no mails about its servers
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        _require_name(self.name, "pool")
        if self.fullconn < 0:
            raise InvalidModel("fullconn must not be negative")
        seen: set[str] = set()
        for real in self.reals:
            if real.name in seen:
                raise InvalidModel(f"pool {self.name} has two servers named {real.name}")
            seen.add(real.name)
            checks_udp = real.check is not None and real.check.kind is CheckKind.UDP
            if checks_udp and self.protocol is not Protocol.UDP:
                raise InvalidModel(f"{self.name}/{real.name}: a UDP check in a TCP pool")


@dataclass(frozen=True, slots=True)
class Service:
    """What clients connect to, and the pool that serves them."""

    name: str
    protocol: Protocol
    binds: tuple[Bind, ...]
    pool: str | None  # None: no default_backend; clients are refused
    timeouts: ClientTimeouts = ClientTimeouts()
    maxconn: int = 0  # 0: the configuration's
    disabled: bool = False
    engine: EngineKind = EngineKind.KERNEL
    engine_reason: str = ""  # why not the kernel engine; empty when it is
    engine_origin: Origin = Origin()  # the line that decided it
    unsupported: bool = False  # no engine can run it, for that reason
    front: Front = Front()
    admission: Admission | None = None  # what of its rules the kernel engine decides
    section: str = ""  # the frontend or listen section, where it gives several services
    journal: Journal = Journal()
    sessions: SessionLog | None = None  # None: its connections are not logged
    unique_id: UniqueId | None = None
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        _require_name(self.name, "service")
        if self.maxconn < 0:
            raise InvalidModel("maxconn must not be negative")

    @property
    def proxy(self) -> str:
        """The frontend's name, as operators know it."""
        return self.section or self.name


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for the whole process."""

    hook: Hook = Hook.AUTO
    max_flows: int = 1 << 20
    maxconn: int = 0  # 0: no limit
    rates: ProcessRates = ANY_RATE  # of the proxy engine's services
    spread_checks: int = 0  # percent, 0-50 (HAProxy manual 3.1)
    interfaces: tuple[str, ...] = ()  # empty: all
    server_state_file: str = ""  # with its directory; "": none
    description: str = ""
    node: str = ""  # "": the machine's name
    runtime_api: RuntimeSockets = field(default_factory=RuntimeSockets)
    journal: Journal = Journal()  # for what is about no proxy
    naming: Naming = Naming()
    process: ProcessSettings = field(default_factory=ProcessSettings)
    workers: int = 0  # processes of the proxy engine; 0: one for each processor
    user: str | None = None  # whom they run as: a name, or a number as "#0"; None: who starts them
    group: str | None = None
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        if not 1024 <= self.max_flows <= 1 << 26:
            raise InvalidModel(f"max flows {self.max_flows} is not within 1024-67108864")
        if not 0 <= self.spread_checks <= 50:
            raise InvalidModel(f"spread-checks {self.spread_checks} is not within 0-50")


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole, consistent configuration: every service's pool exists and speaks its protocol."""

    services: tuple[Service, ...] = ()
    pools: tuple[Pool, ...] = ()
    settings: Settings = field(default_factory=Settings)
    peers: tuple[PeersSpec, ...] = ()  # that stick tables are shared with
    rings: tuple[RingSpec, ...] = ()
    log_forwards: tuple[LogForward, ...] = ()
    sections: tuple[Section, ...] = ()  # what a file made the rest of; empty: it is Python's
    http: tuple[HttpService, ...] = ()  # that the daemon itself answers for

    def __post_init__(self) -> None:
        pools = {p.name: p for p in self.pools}
        if len(pools) != len(self.pools):
            raise InvalidModel("two pools have the same name")
        names = {one.name for one in self.http}
        for service in self.services:
            if service.name in names:
                raise InvalidModel(f"two services are named {service.name}")
            names.add(service.name)
            if service.pool is None:
                continue
            pool = pools.get(service.pool)
            if pool is None:
                raise InvalidModel(f"service {service.name} names no known pool: {service.pool}")
            if pool.protocol is not service.protocol:
                raise InvalidModel(
                    f"service {service.name} is {service.protocol}, "
                    f"its pool {pool.name} {pool.protocol}"
                )

    def pool(self, name: str) -> Pool:
        """The pool called *name*. Raises KeyError."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise KeyError(name)


def _require_name(name: str, what: str) -> None:
    if not _NAME.match(name):
        raise InvalidModel(f"{what} name {name!r} has characters outside A-Z a-z 0-9 - _ . :")
