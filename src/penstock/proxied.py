# SPDX-License-Identifier: Apache-2.0
"""What services, pools and servers ask for that a terminating proxy does and packets cannot.

Parts of the model that the kernel engine does not look at. Durations are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from penstock.rules.model import Expression, PersistRule, Route, ServerRule, TcpRule
from penstock.stick.model import StickRule, TableSpec
from penstock.terms import Address, Origin, PortRange


@dataclass(frozen=True, slots=True)
class ProcessRates:
    """Connections, sessions and sessions over TLS a second that all services may begin; 0: any."""

    connections: int = 0
    sessions: int = 0
    tls: int = 0

    def __bool__(self) -> bool:
        return bool(self.connections or self.sessions or self.tls)


ANY_RATE = ProcessRates()


class TlsVerify(StrEnum):
    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What both sides of TLS have in common. Files are paths as written, with their base."""

    verify: TlsVerify = TlsVerify.NONE
    ca_file: str | None = None
    crl_file: str | None = None
    alpn: tuple[str, ...] = ()
    ciphers: str | None = None  # up to TLS 1.2
    ciphersuites: str | None = None  # TLS 1.3
    min_version: str | None = None  # SSLv3, TLSv1.0 ... TLSv1.3
    max_version: str | None = None
    tickets: bool = True  # of sessions, for clients to resume them
    content: str = ""  # a digest of all its files, so that a reload sees those that are renewed


@dataclass(frozen=True, slots=True)
class Renewed:
    """A certificate and its key that an operator put in the place of those in a file."""

    file: str
    pem: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """``bind … ssl``: *certificates* are PEM files or folders of them, the first is the default."""

    settings: TlsSettings
    certificates: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()  # crt-list files
    lists_first: bool = False  # the default is the first of a list
    strict_sni: bool = False
    client_ciphers: bool = False  # the client's order of preference counts, not ours
    certificate_base: str | None = None  # crt-base: where the entries of lists are looked for
    renewed: tuple[Renewed, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerTls:
    """``server … ssl``."""

    settings: TlsSettings
    certificate: str | None = None
    sni: Expression | None = None
    verify_host: str | None = None
    renewed: tuple[Renewed, ...] = ()


class LocalKind(StrEnum):
    """Sockets that are not a network's."""

    UNIX = "unix"
    ABSTRACT = "abns"
    INHERITED = "fd"


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """A UNIX socket by its path, an abstract one by its name, an inherited one by its number."""

    kind: LocalKind
    name: str

    def __str__(self) -> str:
        return self.name if self.kind is LocalKind.UNIX else f"{self.kind}@{self.name}"


@dataclass(frozen=True, slots=True)
class Listener:
    """One address of a bind line, as the proxy listens on it."""

    address: Address | LocalAddress
    ports: PortRange | None = None  # None: it is local
    v4v6: bool = False
    interface: str | None = None
    transparent: bool = False
    accept_proxy: bool = False
    netscaler_cip: int | None = None  # accept-netscaler-cip: the number its header begins with
    tls: ListenerTls | None = None
    backlog: int = 0  # 0: the frontend's
    maxconn: int = 0  # 0: the frontend's alone
    mss: int = 0
    mode: int | None = None  # permissions of a UNIX socket; None: as the umask has it
    user: str | None = None
    group: str | None = None
    id: int = 0
    name: str | None = None
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """``option …tcpka`` and its numbers; 0: the system's."""

    count: int = 0
    idle: int = 0  # seconds
    interval: int = 0  # seconds


@dataclass(frozen=True, slots=True)
class Front:
    """A service's side."""

    listeners: tuple[Listener, ...] = ()
    tcp_rules: tuple[TcpRule, ...] = ()
    inspect_delay: int = 0
    routes: tuple[Route, ...] = ()
    table: TableSpec | None = None
    rate_limit: int = 0  # sessions a second; 0: none
    backlog: int = 0  # 0: maxconn
    keepalive: KeepAlive | None = None
    nolinger: bool = False
    id: int = 0


class HeaderVersion(StrEnum):
    """Which PROXY protocol header a server is sent."""

    V1 = "v1"
    V2 = "v2"
    V2_SSL = "v2-ssl"
    V2_SSL_CN = "v2-ssl-cn"


@dataclass(frozen=True, slots=True)
class SendProxy:
    version: HeaderVersion
    options: tuple[str, ...] = ()  # proxy-v2-options


class SourceKind(StrEnum):
    """Whose address connections to a server come from (``usesrc``)."""

    OWN = "own"
    CLIENT = "client"  # address and port
    CLIENT_ADDRESS = "clientip"
    OTHER = "other"  # another machine's


@dataclass(frozen=True, slots=True)
class Link:
    """How a server is connected to, beyond address and port."""

    local: LocalAddress | None = None  # instead of address and port
    send_proxy: SendProxy | None = None
    tls: ServerTls | None = None
    spare_tls: ServerTls | None = None  # not spoken until an operator says so
    no_tls: bool = False  # as the file says in so many words
    source_kind: SourceKind = SourceKind.OWN
    source_other: Address | None = None
    source_other_port: int = 0  # 0: any
    source_interface: str | None = None
    socks4: tuple[Address, int] | None = None
    maxqueue: int = 0
    idle_limit: int | None = None  # pool-max-conn: shown, for nothing is kept idle
    id: int = 0


@dataclass(frozen=True, slots=True)
class HashOn:
    """``balance hash`` and ``rdp-cookie``: *function* is one of hash-type's."""

    expression: Expression
    function: str


@dataclass(frozen=True, slots=True)
class Back:
    """A pool's side."""

    retries: int = 3
    redispatch: int = 0  # try another server every so many retries; -1: on the last; 0: never
    queue: int | None = None  # timeout; None: that of connecting
    tcp_rules: tuple[TcpRule, ...] = ()
    inspect_delay: int = 0
    response_delay: int = 0
    server_rules: tuple[ServerRule, ...] = ()
    persist_rules: tuple[PersistRule, ...] = ()
    persist_down: bool = False  # option persist
    stick: tuple[StickRule, ...] = ()
    table: TableSpec | None = None
    hash_on: HashOn | None = None
    persist_cookie: str | None = None  # of the remote desktop, that names a server
    keepalive: KeepAlive | None = None
    nolinger: bool = False
    transparent: bool = False  # connect to the address that the client wanted
    id: int = 0
