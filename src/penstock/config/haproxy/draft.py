# SPDX-License-Identifier: Apache-2.0
"""What a haproxy.cfg says, in HAProxy's words: the mutable tree between parsing and lowering."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from enum import Enum, Flag, auto

from penstock.config.haproxy.address import AddressFamilyPreference, Target
from penstock.config.haproxy.check_draft import CheckDraft
from penstock.config.haproxy.keywords import Keyword
from penstock.config.haproxy.tls_words import TlsDraft
from penstock.events import Level
from penstock.http_service import DEFAULT_URI, HttpRule
from penstock.logs.model import Format
from penstock.logs.model import Target as LogTarget
from penstock.model import Address, Network, OnError, Origin, SchedulerSpec
from penstock.proxied import (
    SourceKind,
)
from penstock.rules.conditions import inherited, inherited_condition
from penstock.rules.model import (
    Condition,
    Criterion,
    Expression,
    PersistRule,
    ServerRule,
    Stage,
    TcpRule,
    TextFormat,
)
from penstock.rules.vocabulary import Type
from penstock.runtime_sockets import AccessLevel, SeverityOutput
from penstock.stick.model import StickRule, TableSpec


class Prefix(Enum):
    """The word in front of a keyword."""

    NONE = ""
    NO = "no"
    DEFAULT = "default"


@dataclass(slots=True)
class Line:
    """One line's words; an index past the end gives the empty word, as in HAProxy."""

    origin: Origin
    words: list[str]
    prefix: Prefix = Prefix.NONE

    def __getitem__(self, index: int) -> str:
        return self.words[index] if index < len(self.words) else ""


class Capability(Flag):
    """Which sides a proxy section has."""

    FRONTEND = auto()
    BACKEND = auto()
    DEFAULTS = auto()


FRONT = Capability.FRONTEND
BACK = Capability.BACKEND
BOTH = FRONT | BACK


class Mode(Enum):
    TCP = "tcp"
    HTTP = "http"
    UDP = "udp"  # ours


@dataclass(frozen=True, slots=True)
class Said:
    """A keyword that penstock does not carry out, and where it was written."""

    origin: Origin
    keyword: Keyword
    text: str  # the words of the line that matter to the reader


@dataclass(frozen=True, slots=True)
class FormatLine:
    """A log format as it was written; it is read when everything else is."""

    shown: str  # what has set it
    text: str
    origin: Origin


@dataclass(slots=True)
class BindLine:
    """One ``bind`` line: its addresses and options."""

    origin: Origin
    text: str
    targets: list[Target] = field(default_factory=list)
    v4v6: bool = False
    v6only: bool = False
    interface: str | None = None
    name: str | None = None
    transparent: bool = False
    id: int = 0
    maxconn: int = 0
    ssl: bool = False
    certificate: bool = False
    tls: TlsDraft = field(default_factory=TlsDraft)  # counts with ssl only
    accept_proxy: bool = False
    netscaler_cip: int | None = None
    backlog: int = 0
    mss: int = 0  # negative: below the kernel's own by as much
    proto: str | None = None  # of MUX_PROTOCOLS
    mode: int | None = None
    user: str | None = None  # a name, or a number as "#0"
    group: str | None = None
    said: list[Said] = field(default_factory=list)


@dataclass(slots=True)
class StatsSocket:
    """A ``stats socket`` line; *bind* has its addresses."""

    bind: BindLine
    level: AccessLevel = AccessLevel.OPERATOR
    severity: SeverityOutput = SeverityOutput.NONE
    exposes_listeners: bool = False


@dataclass(frozen=True, slots=True)
class SourceLine:
    """What a ``source`` says: where connections to servers come from."""

    target: Target | None  # None: any address, as without it
    kind: SourceKind = SourceKind.OWN
    other: Target | None = None  # usesrc with an address
    interface: str | None = None


class InitMethod(Enum):
    """One way of ``init-addr`` to find a server's first address."""

    LAST = "last"
    LIBC = "libc"
    NONE = "none"


@dataclass(slots=True)
class ServerOptions:
    """What default-server and server lines set. Durations in ms."""

    weight: int = 1
    backup: bool = False
    disabled: bool = False
    dynamic: bool = False  # added at run time
    log_proto: str = "legacy"  # of a ring's server
    fast_open: bool = False
    check: bool = False
    inter: int = 2000
    fastinter: int | None = None
    downinter: int | None = None
    rise: int = 2
    fall: int = 3
    check_port: int | None = None
    check_address: Address | None = None
    check_address_port: int | None = None  # counts without check_port
    check_ssl: bool | None = None  # None: as the server
    check_sni: str | None = None
    check_alpn: tuple[str, ...] = ()
    check_proto: str | None = None
    proto: str | None = None  # of MUX_PROTOCOLS
    check_send_proxy: bool = False
    check_via_socks4: bool = False
    maxconn: int = 0
    minconn: int = 0
    slowstart: int = 0
    source: SourceLine | None = None
    nat: bool = False
    init_addr: tuple[InitMethod | Address, ...] = ()
    resolvers: str | None = None
    resolve_prefer: AddressFamilyPreference = AddressFamilyPreference.ANY
    resolve_opts: frozenset[str] = frozenset()
    resolve_net: tuple[Network, ...] = ()
    ssl: bool = False
    no_ssl: bool = False  # which is more than no "ssl"
    spare_ssl: bool = False  # undone by no-ssl
    tls: TlsDraft = field(default_factory=TlsDraft)  # counts with ssl only
    proxy_header: frozenset[str] = frozenset()  # v1, v2 and proxy-v2-options
    socks4: tuple[Address, int] | None = None
    maxqueue: int = 0
    pool_max_conn: int | None = None
    cut_when_down: bool = False
    cut_backups_when_up: bool = False
    agent: bool = False
    agent_address: Address | None = None
    agent_port: int | None = None
    agent_inter: int | None = None
    agent_send: bytes = b""
    observe: bool = False
    on_error: OnError = OnError.FAIL_CHECK
    error_limit: int = 10
    track: str | None = None
    cookie: bool = False
    redir: bool = False
    said: list[Said] = field(default_factory=list)

    def copy(self) -> ServerOptions:
        twin = copy.copy(self)
        twin.said = list(self.said)
        twin.tls = copy.copy(self.tls)
        return twin


@dataclass(slots=True)
class ServerLine:
    """One server; a server-template gives several."""

    origin: Origin
    name: str
    target: Target
    options: ServerOptions
    id: int | None = None
    template: bool = False


@dataclass(slots=True)
class UseBackend:
    origin: Origin
    name: str
    condition: Condition | None
    format: TextFormat = ()  # that makes the name


@dataclass(frozen=True, slots=True)
class StickLine:
    """A stick rule and the type of its sample, which has to suit the table's."""

    rule: StickRule
    output: Type


@dataclass(slots=True)
class StatsDraft:
    """What ``stats`` lines say."""

    origin: Origin
    uri: str = DEFAULT_URI
    realm: str | None = None
    users: dict[str, str] = field(default_factory=dict)  # passwords by name
    refresh: int = 0  # seconds
    scope: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)  # hide-version, show-legends, show-modules
    show_node: bool = False
    node: str | None = None
    show_description: bool = False
    description: str | None = None
    admin: list[Condition] = field(default_factory=list)
    rules: list[HttpRule] = field(default_factory=list)


@dataclass(slots=True)
class Account:
    """A ``user`` of a userlist."""

    name: str
    password: str = ""
    hashed: bool = False
    groups: list[str] = field(default_factory=list)


@dataclass(slots=True)
class UserListDraft:
    """A userlist section; *groups* has the users that a ``group`` line names."""

    name: str
    origin: Origin
    users: list[Account] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Timeout:
    value: int  # ms; 0: never
    origin: Origin
    default: int = 0  # what the defaults section says
    inherited: bool = False


@dataclass(slots=True)
class EmailAlertDraft:
    """What ``email-alert`` lines say; the last one is at *origin*."""

    origin: Origin
    sender: str | None = None
    recipient: str | None = None
    mailers: str | None = None  # the section's name
    hostname: str | None = None
    level: Level = Level.ALERT

    @property
    def is_complete(self) -> bool:
        """Whether mails can be sent; what is not is ignored as a whole."""
        return None not in (self.sender, self.recipient, self.mailers)


@dataclass(frozen=True, slots=True)
class HttpUse:
    """What a rule that penstock does not carry out names of what may stand elsewhere."""

    origin: Origin
    keyword: str  # http-request or http-response
    expressions: tuple[Expression, ...]
    track: str | None = None  # the action, where it counts in a table
    table: str | None = None  # which; None: its own
    condition: Condition | None = None


@dataclass(slots=True)
class ProxyDraft:
    """A defaults, frontend, backend or listen section."""

    kind: str  # the section's keyword
    name: str
    capability: Capability
    origin: Origin
    mode: Mode = Mode.TCP
    mode_origin: Origin | None = None
    disabled: bool = False
    id: int | None = None
    binds: list[BindLine] = field(default_factory=list)
    servers: list[ServerLine] = field(default_factory=list)
    default_server: ServerOptions = field(default_factory=ServerOptions)
    default_backend: str | None = None
    default_backend_origin: Origin | None = None
    use_backends: list[UseBackend] = field(default_factory=list)
    use_servers: list[ServerRule] = field(default_factory=list)
    persist_rules: list[PersistRule] = field(default_factory=list)
    tcp_rules: list[TcpRule] = field(default_factory=list)
    inspect_delay: int = 0  # ms
    response_delay: int = 0  # ms
    scheduler: SchedulerSpec = field(default_factory=SchedulerSpec)
    balance_set: bool = False
    balance_word: str = ""  # HAProxy's name of the algorithm; "": none was chosen
    cookie_name: str | None = None
    load_state: str = ""  # load-server-state-from-file
    errorfiles: tuple[tuple[str, Origin], ...] = ()  # http-errors sections that are asked for
    retry_on: frozenset[str] = frozenset()  # "retry-on", as far as fast open asks for it
    state_name: str = ""  # server-state-file-name
    description: str = ""
    balance_on: Expression | None = None  # what is hashed, if not the client's address
    layer7_balance: Origin | None = None  # a hash of HTTP, which only mode http has
    timeouts: dict[str, Timeout] = field(default_factory=dict)
    options: dict[str, Origin] = field(default_factory=dict)
    maxconn: int | None = None
    backlog: int = 0
    rate_limit: int = 0
    inherited_rate_limit: int = 0
    fullconn: int | None = None
    retries: int | None = None
    redispatch: int = 0  # every so many tries; negative: counted from the last; 0: never
    source: SourceLine | None = None
    persist_cookie: str | None = None
    keepalive: dict[str, int] = field(default_factory=dict)  # clitcpka-cnt and its kin
    dispatch: Target | None = None
    dispatch_origin: Origin | None = None
    checks: CheckDraft = field(default_factory=CheckDraft)
    external_command: str | None = None
    udp_send: bytes = b""
    udp_expect: bytes | None = None
    acls: dict[str, tuple[Criterion, ...]] = field(default_factory=dict)
    rules: dict[str, Origin] = field(default_factory=dict)  # first of each kind of rule
    final_rules: set[str] = field(default_factory=set)  # kinds whose last rule ends them all
    placed: set[str] = field(default_factory=set)  # kinds of rules that are the section's own
    sticks: list[StickLine] = field(default_factory=list)
    stick_table: TableSpec | None = None
    stats: StatsDraft | None = None
    stats_inherited: bool = False
    http_rules: list[HttpRule] = field(default_factory=list)
    redirects: list[HttpRule] = field(default_factory=list)
    monitor_uri: str | None = None
    monitor_fail: list[Condition] = field(default_factory=list)
    # What is said of HTTP that penstock cannot do where it answers itself: where, by name.
    unserved: dict[str, Origin] = field(default_factory=dict)
    http_needed: bool = False  # a rule of HTTP has asked for what only a request says
    header_format: Origin | None = None  # the last format in such a rule
    http_format: bool = False  # one of them asks for something after http_needed
    http_uses: list[HttpUse] = field(default_factory=list)  # of those rules, its own alone
    parent: ProxyDraft | None = None  # the defaults section that it inherits from
    log_targets: list[LogTarget] = field(default_factory=list)
    log_tag: str | None = None
    log_formats: dict[str, FormatLine] = field(default_factory=dict)  # by their keyword
    formats: dict[str, Format] = field(default_factory=dict)  # the same, read
    unique_id_header: str | None = None
    email_alert: EmailAlertDraft | None = None
    said: list[Said] = field(default_factory=list)
    explicit_reference: bool = False
    implicit_reference: bool = False

    @property
    def describe(self) -> str:
        """What HAProxy calls this kind of section in its messages."""
        if self.capability & Capability.DEFAULTS:
            return "defaults"
        if self.capability & BOTH == BOTH:
            return "proxy"
        return "frontend" if self.capability & FRONT else "backend"

    def timeout(self, name: str) -> int | None:
        """In ms; None: there is none, or it is 0."""
        timeout = self.timeouts.get(name)
        return timeout.value or None if timeout is not None else None

    def inherit(self, parent: ProxyDraft) -> None:
        """Take over what a defaults section hands down."""
        front, back = bool(self.capability & FRONT), bool(self.capability & BACK)
        self.parent = parent
        self.mode = parent.mode
        self.mode_origin = parent.mode_origin
        self.disabled = parent.disabled
        self.options = dict(parent.options)
        self.default_server = parent.default_server.copy()
        self.timeouts = {
            name: Timeout(timeout.value, timeout.origin, timeout.value, inherited=True)
            for name, timeout in parent.timeouts.items()
            if (front and name in FRONTEND_TIMEOUTS) or (back and name not in FRONTEND_TIMEOUTS)
        }
        self.said = list(parent.said)
        self.log_targets = list(parent.log_targets)
        self.log_tag = parent.log_tag
        self.keepalive = dict(parent.keepalive)
        self.email_alert = copy.copy(parent.email_alert)
        self.stats = parent.stats
        self.stats_inherited = parent.stats is not None
        self.unserved = dict(parent.unserved)
        self.http_rules = [inherited_http(rule, parent.acls) for rule in parent.http_rules]
        self.checks = parent.checks.handed_down()
        self.external_command = parent.external_command
        if front:
            self.monitor_uri = parent.monitor_uri
            self.maxconn = parent.maxconn
            self.backlog = parent.backlog
            self.rate_limit = self.inherited_rate_limit = parent.rate_limit
            self.default_backend = parent.default_backend
            self.default_backend_origin = parent.default_backend_origin
            self.log_formats = dict(parent.log_formats)
            self.unique_id_header = parent.unique_id_header
        self.errorfiles = parent.errorfiles
        if back:
            self.scheduler = parent.scheduler
            self.balance_set = parent.balance_set
            self.balance_word = parent.balance_word
            self.cookie_name = parent.cookie_name
            self.load_state, self.state_name = parent.load_state, parent.state_name
            self.retry_on = parent.retry_on
            self.balance_on = parent.balance_on
            self.persist_cookie = parent.persist_cookie
            self.layer7_balance = parent.layer7_balance
            self.fullconn = parent.fullconn
            self.retries = parent.retries
            self.redispatch = parent.redispatch
            self.source = parent.source
            self.udp_send = parent.udp_send
            self.udp_expect = parent.udp_expect
        self.rules = {
            name: origin
            for name, origin in parent.rules.items()
            if (parent.name or name not in TRAFFIC_RULES)
            and (front or name != "monitor-uri")
            and (back or name != "cookie")
            # HAProxy tells only of those that stand in the section itself to be unused.
            and name not in CHECK_RULES
        }
        # ACLs stay in their section; rules come first in those that inherit them.
        self.tcp_rules = [
            inherited(rule, parent.acls)
            for rule in parent.tcp_rules
            if (back if rule.stage is Stage.RESPONSE else front or rule.stage is Stage.CONTENT)
        ]
        self.inspect_delay = parent.inspect_delay
        self.response_delay = parent.response_delay if back else 0


def inherited_http(rule: HttpRule, acls: dict[str, tuple[Criterion, ...]]) -> HttpRule:
    """*rule* of a defaults section as others take it over."""
    if rule.condition is None:
        return rule
    return replace(rule, condition=inherited_condition(rule.condition, acls))


# Rules that only a defaults section with a name may hold.
TRAFFIC_RULES = frozenset(
    {
        "http-request",
        "http-response",
        "http-after-response",
        "tcp-request connection",
        "tcp-request session",
        "tcp-request content",
        "tcp-response content",
    }
)

CHECK_RULES = frozenset({"tcp-check", "http-check"})
FRONTEND_TIMEOUTS = frozenset({"client", "client-fin", "http-request", "http-keep-alive", "tarpit"})
# What HAProxy wants tried again where the first data may be lost with the SYN.
RETRIES_OF_FAST_OPEN = frozenset({"empty-response", "response-timeout"})
