# SPDX-License-Identifier: Apache-2.0
"""Where log lines go and what they say: the frozen part of the model (HAProxy manual 3.1, 8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Flag, IntEnum, StrEnum

from penstock.errors import InvalidModel
from penstock.events import Level
from penstock.proxied import Listener
from penstock.rules.model import Expression
from penstock.terms import Address, Origin

SHORTEST_LINE = 80
LONGEST_LINE = 65535
USUAL_LENGTH = 1024  # RFC 3164, 4.1
SYSLOG_PORT = 514
LONGEST_EVENT = RING_SIZE = 16384  # bytes, unless set (HAProxy's tune.bufsize)


class Facility(IntEnum):
    """As syslog numbers them (RFC 5424, 6.2.1), in HAProxy's words."""

    KERN = 0
    USER = 1
    MAIL = 2
    DAEMON = 3
    AUTH = 4
    SYSLOG = 5
    LPR = 6
    NEWS = 7
    UUCP = 8
    CRON = 9
    AUTH2 = 10
    FTP = 11
    NTP = 12
    AUDIT = 13
    ALERT = 14
    CRON2 = 15
    LOCAL0 = 16
    LOCAL1 = 17
    LOCAL2 = 18
    LOCAL3 = 19
    LOCAL4 = 20
    LOCAL5 = 21
    LOCAL6 = 22
    LOCAL7 = 23


class Heading(StrEnum):
    """What stands in front of a line (``log … format``)."""

    LOCAL = "local"  # as rfc3164, with a host name only where log-send-hostname asks for one
    RFC3164 = "rfc3164"
    RFC5424 = "rfc5424"
    PRIORITY = "priority"
    SHORT = "short"
    TIMED = "timed"
    ISO = "iso"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class SyslogServer:
    """A server that takes datagrams."""

    address: Address
    port: int = SYSLOG_PORT

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise InvalidModel(f"port {self.port} is not within 1-65535")


@dataclass(frozen=True, slots=True)
class SyslogSocket:
    """A UNIX datagram socket, as ``/dev/log`` is one."""

    name: str  # its path, or its name in the abstract namespace
    abstract: bool = False


@dataclass(frozen=True, slots=True)
class Descriptor:
    """An open file: 1 and 2 are standard output and standard error, others are inherited."""

    number: int


@dataclass(frozen=True, slots=True)
class RingBuffer:
    """A ring of this process."""

    name: str
    longest: int = LONGEST_EVENT  # bytes of an event, its heading included


Destination = SyslogServer | SyslogSocket | Descriptor | RingBuffer


@dataclass(frozen=True, slots=True)
class Sampling:
    """``sample``: of each *size* lines those whose place, from 1, is in one of *ranges*."""

    ranges: tuple[tuple[int, int], ...]  # ascending, inclusive, apart from each other
    size: int

    def __post_init__(self) -> None:
        if not self.ranges or self.ranges[-1][1] > self.size:
            raise InvalidModel(f"a sample of {self.size} lines has no place {self.ranges}")


@dataclass(frozen=True, slots=True)
class Target:
    """One ``log`` line."""

    destination: Destination
    facility: Facility
    level: Level = Level.DEBUG  # what is less grave is not sent
    floor: Level = Level.EMERG  # what is graver is sent as this
    length: int = USUAL_LENGTH  # bytes of a line, its heading and its end included
    heading: Heading | None = None  # None: local
    sampling: Sampling | None = None
    origin: Origin = field(default=Origin(), compare=False)

    def __post_init__(self) -> None:
        if not SHORTEST_LINE <= self.length <= LONGEST_LINE:
            raise InvalidModel(f"a length of {self.length} is not within 80-65535")


class Shape(Flag):
    """How a variable's or an expression's text is put into a line (manual 8.2.4)."""

    PLAIN = 0
    MANDATORY = 1  # "-" where there is none
    QUOTED = 2
    HEXADECIMAL = 4
    ESCAPED = 8  # as structured data of RFC 5424 are
    ENCODED = 16  # as a value in an HTTP header is: of unique-id-format


class Blank:
    """A blank that is left out behind another one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "BLANK"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blank)

    def __hash__(self) -> int:
        return 1


BLANK = Blank()


@dataclass(frozen=True, slots=True)
class Variable:
    """``%name``."""

    name: str
    shape: Shape = Shape.MANDATORY


@dataclass(frozen=True, slots=True)
class Sampled:
    """``%[expression]``."""

    expression: Expression
    shape: Shape = Shape.MANDATORY


Part = str | Blank | Variable | Sampled


# Variables that are known only at the end of a connection.
AT_THE_END = frozenset(
    (
        *("B", "ID", "Tc", "Td", "Th", "Tt", "Tu", "Tw", "U"),
        *("ac", "bc", "bq", "fc", "rc", "sc", "sq", "ts"),
    )
)


@dataclass(frozen=True, slots=True)
class Format:
    """A log format, read."""

    parts: tuple[Part, ...]

    @property
    def variables(self) -> frozenset[str]:
        """The names of those that it asks for."""
        return frozenset(part.name for part in self.parts if isinstance(part, Variable))

    @property
    def has_samples(self) -> bool:
        return any(isinstance(part, Sampled) for part in self.parts)

    @property
    def waits_for_end(self) -> bool:
        """Whether it asks for what is known only when a connection has ended."""
        return bool(self.variables & AT_THE_END)


@dataclass(frozen=True, slots=True)
class Journal:
    """Where what becomes of a proxy is logged."""

    targets: tuple[Target, ...] = ()
    tag: str | None = None  # None: the process's


@dataclass(frozen=True, slots=True)
class Naming:
    """What log lines of this process call it and its machine."""

    tag: str | None = None  # None: the program's name
    send_hostname: bool = False
    hostname: str | None = None  # None: the machine's


@dataclass(frozen=True, slots=True)
class SessionLog:
    """How a service's connections are logged."""

    journal: Journal
    naming: Naming = Naming()
    format: Format | None = None  # None: where it comes from, when it has come
    structured: Format | None = None  # of RFC 5424
    error: Format | None = None  # of a connection that fails before it is one of the service's
    early: bool = False  # once it is connected, whatever follows (option logasap)
    failures_only: bool = False  # option dontlog-normal
    failures_apart: bool = False  # failures are errors (option log-separate-errors)
    silent_too: bool = True  # those that have sent nothing; not with option dontlognull

    @property
    def at_once(self) -> bool:
        """Whether a line is written as soon as a connection stands."""
        if self.format is None:
            return False
        waits = self.format.waits_for_end
        return self.early or not (
            waits or (self.structured is not None and self.structured.waits_for_end)
        )


@dataclass(frozen=True, slots=True)
class UniqueId:
    """``unique-id-format``, and the header that servers would be told it in."""

    format: Format
    header: str | None = None


@dataclass(frozen=True, slots=True)
class RingServer:
    """Who is sent the events of a ring, over TCP or a UNIX socket."""

    name: str
    address: Address | SyslogSocket
    port: int = 0
    octet_counting: bool = False  # else each event ends with LF (RFC 6587, 3.4.1 and 3.4.2)


@dataclass(frozen=True, slots=True)
class RingSpec:
    """A ``ring`` section (manual 3.9): the last events, in memory."""

    name: str
    description: str
    heading: Heading | None = Heading.RAW  # None: local
    longest: int = LONGEST_EVENT  # bytes of an event
    size: int = RING_SIZE  # bytes of all of them
    connect_timeout: int | None = None  # ms
    servers: tuple[RingServer, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 1 or self.longest < 1:
            raise InvalidModel(f"ring {self.name} has no room")


# The one that HAProxy always has; its standard output and error are no rings.
BUILTIN_RING = RingSpec("buf0", "in-memory ring buffer", Heading.TIMED, size=1 << 20)


@dataclass(frozen=True, slots=True)
class LogForward:
    """A ``log-forward`` section (manual 3.10): log lines of others, and where they go."""

    name: str
    streams: tuple[Listener, ...]  # of TCP and UNIX stream sockets
    datagrams: tuple[Listener, ...]
    targets: tuple[Target, ...]
    maxconn: int = 10
    backlog: int = 0  # 0: maxconn
    client_timeout: int | None = None  # ms
    origin: Origin = field(default=Origin(), compare=False)
