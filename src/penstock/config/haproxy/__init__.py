# SPDX-License-Identifier: Apache-2.0
"""The haproxy.cfg front end: text -> ``penstock.model.Configuration``, with HAProxy's errors.

Reading goes lexer -> parser -> one parser a section -> draft (HAProxy's words), then validity
(the whole) and lowering (the model). Pure but for reading the files it is given: names are
resolved by a function that the caller passes.
"""

from __future__ import annotations

from penstock.config.haproxy.address import AddressFamilyPreference
from penstock.config.haproxy.dynamic_server import NewServer, ServerReader
from penstock.config.haproxy.load import LoadResult, Resolvers, load, loads

__all__ = [
    "AddressFamilyPreference",
    "LoadResult",
    "NewServer",
    "Resolvers",
    "ServerReader",
    "load",
    "loads",
]
