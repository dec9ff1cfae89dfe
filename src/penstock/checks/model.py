# SPDX-License-Identifier: Apache-2.0
"""A check as a list of steps: connect, send, expect, and what is remembered in between.

What HAProxy calls a tcp-check ruleset; ``option httpchk``, ``smtpchk`` and their like are rulesets
too (its manual 4.2, "tcp-check", "http-check").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from penstock.checks.codes import CheckCode
from penstock.proxied import SendProxy, ServerTls
from penstock.rules.model import Expression
from penstock.terms import Address

# Literals and the samples between them.
Format = tuple[str | Expression, ...]


class Family(StrEnum):
    """Which option made a ruleset: it decides what is said when a step fails."""

    PLAIN = "plain"  # no option at all: a connection is enough
    TCP = "tcp-check"
    HTTP = "httpchk"
    MYSQL = "mysql-check"
    PGSQL = "pgsql-check"
    REDIS = "redis-check"
    SMTP = "smtpchk"
    LDAP = "ldap-check"
    SSL_HELLO = "ssl-hello-chk"
    SPOP = "spop-check"
    AGENT = "agent-check"


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection, closing the one before.

    *default*: as the server line says for checks; what stands here comes on top.
    """

    number: int = 0  # of the step; 0: nobody wrote it
    address: Address | None = None
    port: int | Expression | None = None  # None: the address's, the check's, or the server's
    address_port: int | None = None
    default: bool = True
    send_proxy: bool = False
    via_socks4: bool = False
    linger: bool = False  # close politely rather than by a reset
    tls: bool = False
    sni: str | None = None
    alpn: tuple[str, ...] = ()
    proto: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    number: int
    data: bytes | Format
    hexadecimal: bool = False  # the format gives digits
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class SendHttp:
    """An HTTP request; a format is read at the moment of sending."""

    number: int
    method: str = "OPTIONS"
    uri: str | Format = "/"
    version: str = "HTTP/1.0"
    headers: tuple[tuple[str, Format], ...] = ()
    body: bytes | Format = b""
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """These bytes are in the answer, or with *http* in its body."""

    data: bytes
    binary: bool = False
    http: bool = False


@dataclass(frozen=True, slots=True)
class Regex:
    """The answer (*binary*: its hexadecimal digits; *http*: its body) matches."""

    pattern: str
    binary: bool = False
    http: bool = False


@dataclass(frozen=True, slots=True)
class Formatted:
    """What the format gives is in the answer; *binary*: it gives hexadecimal digits."""

    format: Format
    binary: bool = False
    http: bool = False


@dataclass(frozen=True, slots=True)
class Statuses:
    """HTTP status codes, inclusive ranges."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class StatusRegex:
    pattern: str


class Comparison(StrEnum):
    """How a header's name or value is compared."""

    STR = "str"
    BEG = "beg"
    END = "end"
    SUB = "sub"
    REG = "reg"


@dataclass(frozen=True, slots=True)
class Wanted:
    comparison: Comparison
    text: str | Format


@dataclass(frozen=True, slots=True)
class Header:
    """A header of that name is there and, if *value* is given, has it.

    *whole*: its value is one (``fhdr``), not several between commas.
    """

    name: Wanted
    value: Wanted | None = None
    whole: bool = False


class Custom(StrEnum):
    """Answers that are parsed."""

    MYSQL_GREETING = "mysql greeting"
    MYSQL_OK = "mysql ok"
    LDAP_BIND = "ldap bind response"
    SPOP_HELLO = "spop agent hello"


Pattern = Text | Regex | Formatted | Statuses | StatusRegex | Header | Custom


@dataclass(frozen=True, slots=True)
class Expect:
    """Read until it can be told whether the answer is the right one."""

    number: int
    pattern: Pattern
    negated: bool = False
    min_recv: int = -1  # bytes to wait for; -1: as many as it takes
    on_success: Format = ()
    on_error: Format = ()
    ok: CheckCode | None = None
    error: CheckCode | None = None
    timeout: CheckCode | None = None
    status_code: Expression | None = None  # the number to tell with the result
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class SetVar:
    """*value* None: the variable is removed."""

    name: str
    value: Expression | Format | None
    conditions: tuple[str, ...] = ()  # ifexists, ifgt, ...; all must hold


Step = Connect | Send | SendHttp | Expect | SetVar


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Steps, the first of which, but for variables, is a Connect."""

    family: Family
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        first = next((one for one in self.steps if not isinstance(one, SetVar)), None)
        if not isinstance(first, Connect):
            connect = Connect()
            object.__setattr__(self, "steps", (connect, *self.steps))


@dataclass(frozen=True, slots=True)
class External:
    """A program that checks (``option external-check``, HAProxy manual 4.2).

    *listener*: address and port of the proxy's first bind line, empty where it has none.
    """

    command: str
    path: str | None = None  # PATH for it
    listener: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class CheckLink:
    """How a server line has its checks speak.

    *tls*, *sni*, *send_proxy* and *via_socks4* are for a Connect with *default*; *tls_settings*,
    *header* and *socks4* for one that asks for TLS, a PROXY header or the SOCKS4 proxy itself.
    """

    tls: ServerTls | None = None
    sni: str | None = None
    send_proxy: SendProxy | None = None
    via_socks4: bool = False
    tls_settings: ServerTls | None = None
    header: SendProxy | None = None
    socks4: tuple[Address, int] | None = None
    proto: str | None = None  # for a Connect with *default*; None: as ALPN has it, or HTTP/1
    alpn_decides: bool = False  # check-alpn was said

    @property
    def plain(self) -> bool:
        """Whether a Connect with *default* is a mere TCP connection."""
        return self.tls is None and self.send_proxy is None and not self.via_socks4

    def speaks_http2(self, step: Connect, chosen: str | None) -> bool:
        """Whether requests on *step*'s connection are in HTTP/2; ALPN has *chosen* that.

        As in HAProxy, ALPN that is of the server's traffic and not of its checks decides nothing.
        """
        proto = step.proto or (self.proto if step.default else None)
        if proto is None and (step.alpn or self.alpn_decides):
            proto = chosen
        return proto == "h2"


PLAIN_LINK = CheckLink()
