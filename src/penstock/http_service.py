# SPDX-License-Identifier: Apache-2.0
"""Proxies of ``mode http`` that penstock answers itself: statistics, metrics, a monitor's question.

They have no servers: whatever they are asked, the daemon knows. Durations are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from penstock.errors import InvalidModel
from penstock.proxied import Listener
from penstock.rules.model import Condition, TcpRule
from penstock.terms import Origin

DEFAULT_URI = "/haproxy?stats"  # HAProxy manual 4.2, "stats uri"
DEFAULT_REALM = "HAProxy Statistics"  # "stats realm"


class HttpAction(StrEnum):
    """What an ``http-request`` rule does (manual 4.2, "http-request")."""

    ALLOW = "allow"
    DENY = "deny"
    AUTH = "auth"
    PROMETHEUS = "use-service prometheus-exporter"
    RETURN = "return"
    REDIRECT = "redirect"
    REJECT = "reject"  # the connection is closed without a word
    NOTHING = "nothing"  # it is about logs, or about servers that there are none of


class Redirection(StrEnum):
    """What ``redirect`` makes of where the client wanted to go."""

    LOCATION = "location"
    PREFIX = "prefix"
    SCHEME = "scheme"


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One ``http-request`` rule; *text* is a realm, a body or where to go to."""

    action: HttpAction
    condition: Condition | None = None
    status: int = 0  # of DENY, RETURN and REDIRECT
    text: str = ""
    content_type: str = ""  # of RETURN
    redirection: Redirection = Redirection.LOCATION
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        if self.action in (HttpAction.DENY, HttpAction.RETURN) and not 200 <= self.status <= 599:
            raise InvalidModel(f"status {self.status} is not within 200-599")


@dataclass(frozen=True, slots=True)
class StatsPage:
    """What the ``stats`` lines of a section say (manual 4.2)."""

    uri: str = DEFAULT_URI  # a prefix of what is asked for
    realm: str | None = None
    users: tuple[tuple[str, str], ...] = ()  # names and passwords
    refresh: int = 0  # seconds; 0: never
    scope: tuple[str, ...] = ()  # names of proxies, "." for this one; empty: all
    hide_version: bool = False
    legends: bool = False
    modules: bool = False
    show_node: bool = False
    node: str | None = None  # None: the machine's name
    show_description: bool = False
    description: str | None = None
    admin: tuple[Condition, ...] = ()  # one of them has to hold
    rules: tuple[HttpRule, ...] = ()  # stats http-request


@dataclass(frozen=True, slots=True)
class Account:
    """A ``user``; *hashed*: the password is what crypt(3) makes of it."""

    name: str
    password: str
    hashed: bool = False
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UserList:
    """A userlist section (manual 3.4)."""

    name: str
    accounts: tuple[Account, ...]


@dataclass(frozen=True, slots=True)
class HttpSection:
    """One section's part: a frontend's own, or a backend's that it hands requests to."""

    name: str
    rules: tuple[HttpRule, ...] = ()
    page: StatsPage | None = None
    redirects: tuple[HttpRule, ...] = ()  # ``redirect`` lines, which come last
    back: bool = False  # it is a listen or backend section
    id: int = 0
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """``use_backend``, and at last without a condition ``default_backend``."""

    section: HttpSection
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class HttpService:
    """A frontend or listen section and what it answers."""

    front: HttpSection
    listeners: tuple[Listener, ...]
    routes: tuple[HttpRoute, ...] = ()
    tcp_rules: tuple[TcpRule, ...] = ()
    users: tuple[UserList, ...] = ()  # that conditions may ask for
    monitor_uri: str | None = None
    monitor_fail: tuple[Condition, ...] = ()
    maxconn: int = 0  # 0: the configuration's
    client_timeout: int | None = None  # of a client that does not read what it is sent
    request_timeout: int | None = None  # for a whole head of a request
    keepalive_timeout: int | None = None  # between two requests
    close: bool = False  # option httpclose: one request a connection
    disabled: bool = False

    @property
    def name(self) -> str:
        return self.front.name

    @property
    def origin(self) -> Origin:
        return self.front.origin
