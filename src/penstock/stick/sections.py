# SPDX-License-Identifier: Apache-2.0
"""What ``peers`` sections say (HAProxy manual 3.5)."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.proxied import ListenerTls, LocalAddress, ServerTls
from penstock.stick.model import TableSpec
from penstock.terms import Address, Origin


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node that tables are shared with."""

    name: str
    address: Address
    port: int
    origin: Origin = Origin()
    tls: ServerTls | None = None


@dataclass(frozen=True, slots=True)
class PeersSpec:
    """One section."""

    name: str
    local: str  # this node's name
    # Where peers call us; a socket that was inherited or has a path has port 0. None: the section
    # does not name this node.
    listen: tuple[Address | LocalAddress, int] | None = None
    peers: tuple[Peer, ...] = ()  # the others
    tables: tuple[TableSpec, ...] = ()  # declared in the section itself; named section/table
    disabled: bool = False
    origin: Origin = Origin()
    tls: ListenerTls | None = None  # of who calls
    local_tls: ServerTls | None = None  # with which this node is called, by the process before
