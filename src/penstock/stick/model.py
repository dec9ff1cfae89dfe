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
    key_length: int = 0  # STRING, BINARY; 0: 32
    expire: int | None = None
    nopurge: bool = False
    stored: tuple[Stored, ...] = ()
    peers: str | None = None
    server_key: ServerKey = ServerKey.NAME
    origin: Origin = Origin()


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
