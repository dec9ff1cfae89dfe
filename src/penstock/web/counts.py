# SPDX-License-Identifier: Apache-2.0
"""What conditions ask about proxies and servers, read off the rows of ``show stat``."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.statistics.shapes import Kind, Row
from penstock.web.statistics import named, proxy_of, text


class RowCounts:
    """``penstock.rules.subject.Traffic`` at one moment."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[tuple[Kind, str, str], Row] = {}
        self._servers: dict[str, list[Row]] = {}
        for row in rows:
            kind, proxy = row.shape.kind, proxy_of(row)
            self._rows[kind, proxy, text(row, "svname") if named(kind) else ""] = row
            if kind is Kind.SERVER:
                self._servers.setdefault(proxy, []).append(row)

    def _number(self, field: str, kind: Kind, proxy: str, name: str = "") -> int:
        row = self._rows.get((kind, proxy, name))
        number = text(row, field) if row is not None else ""
        return int(number) if number.isdigit() else 0

    def frontend_connections(self, name: str) -> int:
        return self._number("scur", Kind.FRONTEND, name)

    def frontend_rate(self, name: str) -> int:
        return self._number("rate", Kind.FRONTEND, name)

    def listener_connections(self, frontend: str, listener: int) -> int:
        return self.frontend_connections(frontend)

    def pool_connections(self, name: str) -> int:
        return self._number("scur", Kind.BACKEND, name)

    def pool_rate(self, name: str) -> int:
        return self._number("rate", Kind.BACKEND, name)

    def pool_queue(self, name: str) -> int:
        return self._number("qcur", Kind.BACKEND, name)

    def usable_servers(self, name: str) -> int:
        """Those that take connections; backups count where nobody else is left."""
        up = [row for row in self._servers.get(name, []) if _takes(row)]
        active = [row for row in up if text(row, "act") == "1"]
        return len(active or up)

    def connection_slots(self, name: str) -> int | None:
        limits = [text(row, "slim") for row in self._servers.get(name, []) if _takes(row)]
        if not limits or not all(limits):
            return None
        return max(0, sum(map(int, limits)) - self.pool_connections(name))

    def free_connections(self, name: str) -> int | None:
        return self.connection_slots(name)

    def server_is_up(self, pool: str, server: str) -> bool:
        row = self._rows.get((Kind.SERVER, pool, server))
        return row is not None and _takes(row)

    def server_connections(self, pool: str, server: str) -> int:
        return self._number("scur", Kind.SERVER, pool, server)

    def server_queue(self, pool: str, server: str) -> int:
        return self._number("qcur", Kind.SERVER, pool, server)

    def server_rate(self, pool: str, server: str) -> int:
        return self._number("rate", Kind.SERVER, pool, server)

    def server_weight(self, pool: str, server: str) -> int:
        return self._number("weight", Kind.SERVER, pool, server)

    def server_configured_weight(self, pool: str, server: str) -> int:
        return self._number("uweight", Kind.SERVER, pool, server)

    def server_limit(self, pool: str, server: str) -> int:
        return self._number("slim", Kind.SERVER, pool, server)


def _takes(row: Row) -> bool:
    return text(row, "status").startswith(("UP", "no check"))
