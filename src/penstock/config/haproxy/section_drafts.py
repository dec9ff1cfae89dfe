# SPDX-License-Identifier: Apache-2.0
"""What is read of all other sections, and of a configuration as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.config.haproxy.draft import (
    BACK,
    FRONT,
    BindLine,
    Capability,
    ProxyDraft,
    StatsSocket,
    UserListDraft,
)
from penstock.config.haproxy.tls_words import TlsDefaults
from penstock.logs.model import LONGEST_EVENT, RING_SIZE, Heading, Naming, SyslogSocket
from penstock.logs.model import Target as LogTarget
from penstock.mail.model import USUAL_PATIENCE, Mailer
from penstock.model import Address, Hook, Origin
from penstock.proxied import (
    ANY_RATE,
    ListenerTls,
    LocalAddress,
    ProcessRates,
    ServerTls,
)
from penstock.stick.model import TableSpec
from penstock.stick.sections import Peer, PeersSpec

DEFAULT_RESOLVERS = "default"  # the name servers of resolv.conf, declared or not


@dataclass(slots=True)
class NameServer:
    name: str
    address: Address
    port: int
    origin: Origin


@dataclass(slots=True)
class CacheDraft:
    """A cache section; sizes in bytes."""

    name: str
    origin: Origin
    size: int = 0
    longest: int = 0


@dataclass(slots=True)
class ResolversDraft:
    """A resolvers section; durations in ms, defaults are HAProxy's (manual 5.3.2)."""

    name: str
    origin: Origin
    nameservers: list[NameServer] = field(default_factory=list)
    parse_resolv_conf: bool = False
    resolve_retries: int = 3
    accepted_payload_size: int = 512
    timeouts: dict[str, int] = field(default_factory=lambda: {"resolve": 1000, "retry": 1000})
    hold: dict[str, int] = field(
        default_factory=lambda: {
            "nx": 30_000,
            "other": 30_000,
            "refused": 30_000,
            "timeout": 30_000,
            "valid": 10_000,
            "obsolete": 0,
        }
    )


@dataclass(slots=True)
class MailersDraft:
    """A mailers section."""

    name: str
    origin: Origin
    mailers: list[Mailer] = field(default_factory=list)
    patience: int = USUAL_PATIENCE  # ms


@dataclass(slots=True)
class PeersDraft:
    """A peers section; *local* is this node's name as it was known when the section began."""

    name: str
    local: str
    origin: Origin
    listen: tuple[Address | LocalAddress, int] | None = None
    local_origin: Origin | None = None  # where this node is named
    bound: Origin | None = None  # the bind line
    peer_lines: bool = False
    lines: bool = False  # whether anything stands in the section that makes HAProxy listen
    peers: list[Peer] = field(default_factory=list)
    bind: BindLine | None = None  # the options of bind and default-bind lines
    own_tls: ListenerTls | None = None  # of them
    local_tls: ServerTls | None = None  # of the server line of this node
    servers: ProxyDraft | None = None  # what server and default-server lines are read into
    tables: list[TableSpec] = field(default_factory=list)
    disabled: bool = False

    def frozen(self) -> PeersSpec:
        return PeersSpec(
            self.name,
            self.local,
            self.listen if self.local_origin is not None else None,
            tuple(self.peers),
            tuple(self.tables),
            self.disabled,
            self.origin,
            self.own_tls,
            self.local_tls,
        )


@dataclass(slots=True)
class RingDraft:
    """A ring section; *proxy* has its servers."""

    name: str
    origin: Origin
    description: str
    proxy: ProxyDraft
    heading: Heading = Heading.RAW
    longest: int = LONGEST_EVENT
    size: int = RING_SIZE
    connect_timeout: int | None = None  # ms


@dataclass(slots=True)
class ForwardDraft:
    """A log-forward section; *proxy* is what bind lines are read into."""

    name: str
    origin: Origin
    proxy: ProxyDraft
    streams: list[BindLine] = field(default_factory=list)
    datagrams: list[BindLine] = field(default_factory=list)
    targets: list[LogTarget] = field(default_factory=list)
    maxconn: int = 10
    backlog: int = 0
    client_timeout: int | None = None  # ms


@dataclass(frozen=True, slots=True)
class StreamServer:
    """A log server that takes a stream: HAProxy makes a ring for it."""

    name: str  # as it is written
    address: Address | SyslogSocket
    port: int
    heading: Heading | None
    origin: Origin


@dataclass(slots=True)
class ProgramDraft:
    """A program section."""

    name: str
    origin: Origin
    command: tuple[str, ...] = ()
    restart_on_reload: bool = True
    user: str | None = None
    group: str | None = None


@dataclass(slots=True)
class GlobalDraft:
    """The global sections together."""

    seen: dict[str, Origin] = field(default_factory=dict)
    maxconn: int = 0
    rates: ProcessRates = ANY_RATE
    nbthread: int = 0
    spread_checks: int = 0
    tls: TlsDefaults = field(default_factory=TlsDefaults)
    unix_prefix: str = ""
    unix_mode: int | None = None
    unix_user: str | None = None
    user: str | None = None  # as ``unix_user``: a name, or a number as "#0"
    group: str | None = None
    unix_group: str | None = None
    stats_sockets: list[StatsSocket] = field(default_factory=list)
    stats_timeout: int | None = None  # ms
    stats_maxconn: int | None = None
    log_targets: list[LogTarget] = field(default_factory=list)
    naming: Naming = Naming()
    external_check: bool = False
    insecure_fork: bool = False
    zero_warning: bool = False
    names_may_fail: bool = False  # servers whose names do not resolve are left out
    local_peer_set: bool = False  # on the command line, which counts more than the file
    daemon: bool = False
    master_worker: bool = False
    ends_with_worker: bool = True
    max_reloads: int | None = None
    quiet: bool = False
    pidfile: str | None = None
    hard_stop_after: int | None = None  # ms
    programs: list[ProgramDraft] = field(default_factory=list)
    owners: dict[str, int] = field(default_factory=dict)  # ids of user and group, where they count
    description: str | None = None
    node: str = ""
    state_file: str = ""
    state_base: str = ""
    hook: Hook = Hook.AUTO
    max_flows: int | None = None
    interfaces: tuple[str, ...] = ()
    origin: Origin | None = None


@dataclass(slots=True)
class FileDraft:
    """Everything all files said."""

    global_: GlobalDraft = field(default_factory=GlobalDraft)
    defaults: list[ProxyDraft] = field(default_factory=list)
    proxies: list[ProxyDraft] = field(default_factory=list)
    resolvers: list[ResolversDraft] = field(default_factory=list)
    caches: list[CacheDraft] = field(default_factory=list)
    http_errors: set[str] = field(default_factory=set)  # names of sections
    peers: list[PeersDraft] = field(default_factory=list)
    mailers: list[MailersDraft] = field(default_factory=list)
    userlists: list[UserListDraft] = field(default_factory=list)
    rings: list[RingDraft] = field(default_factory=list)
    implied_rings: list[StreamServer] = field(default_factory=list)
    log_forwards: list[ForwardDraft] = field(default_factory=list)
    # What ``proxy()`` has looked at so far: files of thousands of sections name each other.
    _looked_at: int = field(default=0, init=False)
    _by_name: dict[tuple[str, bool], ProxyDraft] = field(default_factory=dict, init=False)

    def proxy(self, name: str, side: Capability) -> ProxyDraft | None:
        """The first proxy of that name with that side, of FRONT and BACK; sections are only added.

        A frontend and a backend may share a name.
        """
        for one in self.proxies[self._looked_at :]:
            for which in (FRONT, BACK):
                if one.capability & which:
                    self._by_name.setdefault((one.name, which is FRONT), one)
        self._looked_at = len(self.proxies)
        return self._by_name.get((name, side is FRONT))
