# SPDX-License-Identifier: Apache-2.0
"""What rules ask of a connection and of what stands around it: who runs rules, answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from penstock.rules.samples import Sample
from penstock.terms import Address, Origin


class Change(Enum):
    """What is done to a value in a stick table."""

    ADD = "add"  # the amount is added, and one event counted in the rate of that name
    SET = "set"


@dataclass(frozen=True, slots=True)
class Track:
    """``track-scN``: a connection is counted under *key* for as long as it lasts."""

    counter: int
    table: str
    key: Sample


@dataclass(frozen=True, slots=True)
class SetEnd:
    """``set-src``, ``set-dst`` and their ports; None leaves address or port as it is."""

    source: bool
    address: Address | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """``set-mark`` or, with *tos*, ``set-tos``, on the client's connection."""

    value: int
    tos: bool = False


class Expect(Enum):
    """A header that must come before everything else."""

    PROXY = "expect-proxy"
    NETSCALER = "expect-netscaler-cip"


@dataclass(frozen=True, slots=True)
class Capture:
    """Something for the log, found by the rule at *origin*."""

    text: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Priority:
    """``set-priority-class``, or ``-offset`` (ms), of the connection's place in a queue."""

    value: int
    offset: bool = False


@dataclass(frozen=True, slots=True)
class LogLevel:
    """``set-log-level``."""

    level: str


Act = Track | SetEnd | Mark | Expect | Capture | Priority | LogLevel


class Tables(Protocol):
    """Stick tables. *data* is a stored type's name, ``gpc`` with its *index*."""

    def value(self, table: str, key: Sample, data: str, index: int = 0) -> int | None:
        """What is stored, of rates the events in the last period; None: no entry or not stored."""

    def change(  # noqa: PLR0917 one place in a table, and what is done there
        self, table: str, key: Sample, data: str, change: Change, amount: int, index: int = 0
    ) -> int | None:
        """The value afterwards; an entry is made if need be. None: it cannot be stored."""

    def holds(self, table: str, key: Sample) -> bool: ...
    def trackers(self, table: str, key: Sample) -> int | None: ...
    def used(self, table: str) -> int: ...
    def free(self, table: str) -> int: ...

    def expires(self, table: str, key: Sample) -> int | None:
        """Milliseconds that an entry has left."""

    def idle(self, table: str, key: Sample) -> int | None:
        """Milliseconds since an entry was used."""


class Traffic(Protocol):
    """Counts of this process, or of all that share the work. Rates are of the last second."""

    def frontend_connections(self, name: str) -> int: ...
    def frontend_rate(self, name: str) -> int: ...
    def listener_connections(self, frontend: str, listener: int) -> int: ...
    def pool_connections(self, name: str) -> int: ...
    def pool_rate(self, name: str) -> int: ...
    def pool_queue(self, name: str) -> int:
        """All that wait in it, for the pool and for its servers."""

    def usable_servers(self, name: str) -> int:
        """Those that would be chosen: backups only when they are used."""

    def connection_slots(self, name: str) -> int | None:
        """Connections and places in queues that are free (``connslots``); None: no limit."""

    def free_connections(self, name: str) -> int | None:
        """Connections that are free (``be_conn_free``); None: a server has no limit."""

    def server_is_up(self, pool: str, server: str) -> bool: ...
    def server_connections(self, pool: str, server: str) -> int: ...
    def server_queue(self, pool: str, server: str) -> int: ...
    def server_rate(self, pool: str, server: str) -> int: ...
    def server_weight(self, pool: str, server: str) -> int: ...
    def server_configured_weight(self, pool: str, server: str) -> int: ...
    def server_limit(self, pool: str, server: str) -> int:
        """Its maxconn; 0: none."""


class Process(Protocol):
    """Facts about this process."""

    @property
    def hostname(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def thread(self) -> int:
        """The number of this one, from 0."""

    @property
    def stopping(self) -> bool: ...
    def environment(self, name: str) -> str | None: ...
    def utc_offset(self, seconds: int) -> int:
        """Seconds that local time is ahead of UTC, *seconds* after 1970."""

    def is_local(self, address: Address) -> bool:
        """Whether *address* is one of this machine's."""


class Subject(Protocol):
    """One connection, at the moment that a rule looks at it."""

    method: str | None
    """Of the HTTP request that was found in what the client has said, if it is a usual one."""

    @property
    def final(self) -> bool:
        """Whether nothing more is waited for: the delay is over, or the buffer full or closed."""

    @property
    def source(self) -> Address | None:
        """The client's; None: it comes from a UNIX socket. As a rule or header changed it."""

    @property
    def source_port(self) -> int: ...
    @property
    def destination(self) -> Address | None: ...
    @property
    def destination_port(self) -> int: ...

    @property
    def socket_ends(self) -> tuple[Address | None, int, Address | None, int]:
        """Source and destination of the connection itself, whatever headers say."""

    @property
    def server_ends(self) -> tuple[Address | None, int, Address | None, int] | None:
        """Of the connection to the server, our end first."""

    @property
    def listener(self) -> tuple[int, str]:
        """Number and name of the socket."""

    @property
    def frontend(self) -> tuple[int, str]: ...
    @property
    def default_pool(self) -> str: ...

    @property
    def pool(self) -> tuple[int, str] | None:
        """None: none was chosen yet."""

    @property
    def server(self) -> tuple[int, str] | None: ...

    @property
    def request(self) -> bytes:
        """What the client has sent so far and no server was sent."""

    @property
    def response(self) -> bytes: ...

    @property
    def traffic(self) -> Traffic: ...
    @property
    def tables(self) -> Tables: ...
    @property
    def process(self) -> Process: ...

    def tracked(self, counter: int) -> tuple[str, Sample] | None:
        """Table and key that ``track-scN`` chose."""

    def variable(self, name: str) -> Sample | None: ...

    def set_variable(self, name: str, value: Sample | None) -> None:
        """None removes it."""

    def microseconds(self) -> int:
        """Wall clock, since 1970."""

    def random(self) -> int:
        """32 random bits."""

    def tls(self, fetch: str, arguments: tuple[str, ...]) -> Sample | None:
        """What ``ssl_fc_…``, ``ssl_c_…``, ``ssl_f_…`` or ``ssl_bc_…`` gives."""

    def captured(self, at: int) -> str | None:
        """What the rule of that number among those that capture has found."""

    def unique_id(self) -> str | None:
        """Made by ``unique-id-format`` when first asked for; None before there is a session."""

    def decided_by(self) -> Origin | None:
        """The last rule about content that has let it pass, or not."""

    def header(self, fetch: str) -> Sample | None:
        """What ``fc_rcvd_proxy``, ``fc_pp_authority`` or ``fc_pp_unique_id`` gives."""

    def tcp_info(self, fetch: str) -> int | None:
        """What ``fc_rtt`` and its like give, times in microseconds."""

    def timeout(self, fetch: str) -> int | None:
        """Milliseconds of ``be_server_timeout`` and its like."""

    def act(self, act: Act) -> None:
        """Carry out *act*, before the next rule is looked at: that one may ask for it."""
