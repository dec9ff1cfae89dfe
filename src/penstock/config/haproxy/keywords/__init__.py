# SPDX-License-Identifier: Apache-2.0
"""The keyword table: what every keyword of HAProxy 2.6 needs and what penstock does with it."""

from __future__ import annotations

from penstock.config.haproxy.keywords.bind import BIND, BIND_ARGUMENTS
from penstock.config.haproxy.keywords.global_ import GLOBAL
from penstock.config.haproxy.keywords.other import OTHER, RESOLVERS, SECTIONS
from penstock.config.haproxy.keywords.proxy import (
    ANY_SERVER,
    BALANCE,
    MODE_HTTP,
    OPTIONS,
    PROXY,
    SOURCE_INTERFACE,
    TIMEOUTS,
    UNIX_BIND,
    UNIX_SERVER,
    USESRC,
    USESRC_HEADER,
)
from penstock.config.haproxy.keywords.server import NOT_DYNAMIC, SERVER, SERVER_ARGUMENTS
from penstock.config.haproxy.keywords.table import Keyword, Need, Status, in_order, words

__all__ = [
    "Keyword",
    "Need",
    "Status",
    "SECTIONS",
    "GLOBAL",
    "PROXY",
    "OPTIONS",
    "TIMEOUTS",
    "BALANCE",
    "BIND",
    "BIND_ARGUMENTS",
    "NOT_DYNAMIC",
    "SERVER",
    "SERVER_ARGUMENTS",
    "RESOLVERS",
    "OTHER",
    "MODE_HTTP",
    "ANY_SERVER",
    "UNIX_BIND",
    "UNIX_SERVER",
    "USESRC",
    "USESRC_HEADER",
    "SOURCE_INTERFACE",
    "in_order",
    "words",
]
