# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: UP031 - formats as printf has them
"""The listing of connections, ``ipvsadm -L -c``, in the order they come in."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.ipvs.model import Connection
from penstock.ipvsadm.listing import endpoint
from penstock.ipvsadm.names import Names

PROTOCOLS = {0: "IP", 6: "TCP", 17: "UDP", 132: "SCTP"}
_HEAD = "IPVS connection entries\n"
_TITLE = "pro expire %-11s %-18s %-18s %s\n" % ("state", "source", "virtual", "destination")
_ENGINE_TITLE = "pro expire %-11s %-18s %-18s %-18s %-16s %s\n" % (
    *("state", "source", "virtual", "destination", "pe name", "pe_data"),
)


def connection_table(entries: Sequence[Connection], names: Names, *, engines: bool) -> str:
    """One line an entry; with *engines* also what a persistence engine keeps of it."""
    lines = [_HEAD, _ENGINE_TITLE if engines else _TITLE]
    for entry in entries:
        proto = entry.proto
        expires = "%02d:%02d" % divmod(entry.expires, 60)
        values = (
            PROTOCOLS.get(proto, "IP"),
            expires,
            entry.state,
            endpoint(entry.client, entry.client_port, proto, names),
            endpoint(entry.virtual, entry.virtual_port, proto, names),
            endpoint(entry.dest, entry.dest_port, proto, names),
        )
        if engines and entry.pe_name and entry.pe_data:
            engine = entry.pe_name, entry.pe_data
            lines.append("%-3s %-6s %-11s %-18s %-18s %-16s %-18s %s\n" % (*values, *engine))
        else:
            lines.append("%-3s %-6s %-11s %-18s %-18s %s\n" % values)
    return "".join(lines)
