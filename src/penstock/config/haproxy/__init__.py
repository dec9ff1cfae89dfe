# SPDX-License-Identifier: Apache-2.0
"""The haproxy.cfg front end: text -> ``penstock.model.Configuration``, with HAProxy's errors.

Reading goes lexer -> parser -> one parser a section -> draft (HAProxy's words), then validity
(the whole) and lowering (the model). Pure but for reading the files it is given: names are
resolved by a function that the caller passes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.config.haproxy.address import AddressFamilyPreference
    from penstock.config.haproxy.dynamic_server import NewServer, ServerReader
    from penstock.config.haproxy.loading import LoadResult, Resolvers, load, loads

__all__ = [
    "AddressFamilyPreference",
    "LoadResult",
    "NewServer",
    "Resolvers",
    "ServerReader",
    "load",
    "loads",
]

# Whoever only evaluates a condition or needs a word of it does not load the whole reader.
_MODULES = {
    "AddressFamilyPreference": "address",
    "NewServer": "dynamic_server",
    "ServerReader": "dynamic_server",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'loading')}"), name)
    globals()[name] = found
    return found
