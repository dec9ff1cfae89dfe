# SPDX-License-Identifier: Apache-2.0
"""What conditions ask about proxies and servers, read off the rows of ``show stat``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from penstock.statistics.shapes import Kind, Row
from penstock.web.statistics import text


class RowCounts:
    """``penstock.rules.subject.Traffic`` at one moment."""

    def __init__(self, rows_of: Callable[[str], Iterable[Row]]) -> None:
        """*rows_of* gives the rows of the proxy with a name, which are asked for once."""
        self._rows_of = rows_of
        self._known: dict[str, list[Row]] = {}

    def _of(self, proxy: str) -> list[Row]:
        if proxy not in self._known:
            self._known[proxy] = list(self._rows_of(proxy))
        return self._known[proxy]

    def _servers(self, proxy: str) -> list[Row]:
        return [row for row in self._of(proxy) if row.shape.kind is Kind.SERVER]

    def _server(self, proxy: str, name: str) -> Row | None:
        return next((row for row in self._servers(proxy) if text(row, "svname") == name), None)

    def _number(self, field: str, kind: Kind, proxy: str, name: str = "") -> int:
        if name:
            row = self._server(proxy, name)
        else:
            row = next((one for one in self._of(proxy) if one.shape.kind is kind), None)
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
        up = [row for row in self._servers(name) if _takes(row)]
        active = [row for row in up if text(row, "act") == "1"]
        return len(active or up)

    def connection_slots(self, name: str) -> int | None:
        limits = [text(row, "slim") for row in self._servers(name) if _takes(row)]
        if not limits or not all(limits):
            return None
        return max(0, sum(map(int, limits)) - self.pool_connections(name))

    def free_connections(self, name: str) -> int | None:
        return self.connection_slots(name)

    def server_is_up(self, pool: str, server: str) -> bool:
        row = self._server(pool, server)
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
