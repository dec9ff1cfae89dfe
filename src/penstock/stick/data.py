# SPDX-License-Identifier: Apache-2.0
"""The data types that a stick table stores (HAProxy manual 11.2, "stick-table"; its peers.txt)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """How a value is kept and, with peers, written."""

    INTEGER = "integer"
    RATE = "rate"  # three numbers: start of the period (ms), events in it, events in the one before
    TEXT = "text"  # or None


@dataclass(frozen=True, slots=True)
class DataType:
    """*number* is the type's bit in the peers protocol, and its place in a row."""

    name: str
    number: int
    kind: Kind = Kind.INTEGER
    array: bool = False
    local: bool = False  # peers are told, and do not take it over
    bits: int = 32


_INTEGERS: Final = {
    **{"server_id": 0, "gpt0": 1, "gpc0": 2, "conn_cnt": 4, "sess_cnt": 7, "http_req_cnt": 9},
    **{"http_err_cnt": 11, "gpc1": 17, "http_fail_cnt": 20},
}
_RATES: Final = {
    **{"gpc0_rate": 3, "conn_rate": 5, "sess_rate": 8, "http_req_rate": 10, "http_err_rate": 12},
    **{"bytes_in_rate": 14, "bytes_out_rate": 16, "gpc1_rate": 18, "http_fail_rate": 21},
}
_ALL: Final = (
    *(DataType(name, number) for name, number in _INTEGERS.items()),
    *(DataType(name, number, Kind.RATE) for name, number in _RATES.items()),
    DataType("conn_cur", 6, local=True),
    DataType("bytes_in_cnt", 13, bits=64),
    DataType("bytes_out_cnt", 15, bits=64),
    DataType("server_key", 19, Kind.TEXT),
    DataType("gpt", 22, array=True),
    DataType("gpc", 23, array=True),
    DataType("gpc_rate", 24, Kind.RATE, array=True),
)

DATA_TYPES: Final[dict[str, DataType]] = {
    one.name: one for one in sorted(_ALL, key=lambda one: one.number)
}
BY_NUMBER: Final[dict[int, DataType]] = {one.number: one for one in DATA_TYPES.values()}
ALIASES: Final = {"server_name": "server_key"}  # what HAProxy 2.0 called it
MAX_ARRAY: Final = 100  # STKTABLE_MAX_DT_ARRAY_SIZE of HAProxy 2.6
# gpc0 and its kin are read from the array when only the array is stored.
ARRAY_OF: Final[dict[str, tuple[str, int]]] = {
    "gpt0": ("gpt", 0),
    "gpc0": ("gpc", 0),
    "gpc1": ("gpc", 1),
    "gpc0_rate": ("gpc_rate", 0),
    "gpc1_rate": ("gpc_rate", 1),
}
