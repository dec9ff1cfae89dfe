# SPDX-License-Identifier: Apache-2.0
"""What ``stick-table`` and ``stick`` lines say (HAProxy manual 4.2). Durations in ms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from penstock.rules.model import Condition, Expression
from penstock.terms import Origin


class KeyType(StrEnum):
    IP = "ip"
    IPV6 = "ipv6"
    INTEGER = "integer"
    STRING = "string"
    BINARY = "binary"


class ServerKey(StrEnum):
    """How a table remembers a server (``srvkey``)."""

    NAME = "name"
    ADDRESS = "addr"


@dataclass(frozen=True, slots=True)
class Stored:
    """One data type of ``store``: ``conn_rate(10s)``, ``gpc(3)``, ``gpc_rate(2,10s)``."""

    name: str
    period: int = 0  # of rates
    size: int = 1  # of arrays


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One stick table; its name is its proxy's, or its section's in peers."""

    name: str
    key: KeyType
    size: int
    key_length: int = 0  # STRING, BINARY; 0: 31 characters, 32 bytes
    expire: int | None = None
    nopurge: bool = False
    stored: tuple[Stored, ...] = ()
    peers: str | None = None
    server_key: ServerKey = ServerKey.NAME
    origin: Origin = Origin()

    @property
    def key_size(self) -> int:
        """Bytes of a key in HAProxy's memory and in its peers protocol; a string ends with NUL."""
        match self.key:
            case KeyType.IP | KeyType.INTEGER:
                return 4
            case KeyType.IPV6:
                return 16
            case KeyType.STRING:
                return self.key_length + 1 if self.key_length else 32
            case KeyType.BINARY:
                return self.key_length or 32

    @property
    def wire_name(self) -> str:
        """What peers call it: of a table in a peers section, the slash and what follows it."""
        return self.name[self.name.find("/") :] if "/" in self.name else self.name


class StickKind(StrEnum):
    ON = "on"
    MATCH = "match"
    STORE_REQUEST = "store-request"
    STORE_RESPONSE = "store-response"


@dataclass(frozen=True, slots=True)
class StickRule:
    kind: StickKind
    expression: Expression
    table: str | None = None  # None: the pool's own
    condition: Condition | None = None
    origin: Origin = Origin()


Key = int | bytes
"""IP, IPV6, INTEGER: the number; STRING, BINARY: the bytes."""

StoredValue = int | str | None


@dataclass(frozen=True, slots=True)
class EntryView:
    """One entry of a table at one moment."""

    address: int  # what operators tell entries apart by
    key: Key
    trackers: int
    expires: int  # ms left; 0: it does not expire
    values: tuple[tuple[StoredValue, ...], ...]  # of each stored type, by number; rates: events


class Comparison(StrEnum):
    EQ = "eq"
    NE = "ne"
    LE = "le"
    GE = "ge"
    LT = "lt"
    GT = "gt"


@dataclass(frozen=True, slots=True)
class Filter:
    """``data.TYPE OPERATOR VALUE``: of arrays the first element is compared."""

    data: str
    comparison: Comparison
    value: int
