# SPDX-License-Identifier: Apache-2.0
"""The rows of ``show stat``: each frontend, listener, server and backend with its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from penstock.model import Pool
from penstock.sections import Section, fullconn_of
from penstock.statistics.served import served_row
from penstock.statistics.server_columns import FIELDS, columns
from penstock.statistics.servers import Servers, Summed
from penstock.statistics.shapes import PROCESS, Column, Kind, Row, Shape, Value, csv_header
from penstock.statistics.view import View

_TOGETHER: Final = 200  # rows made in one go, which is 2 ms or so
_SSL: Final = dict.fromkeys(("ssl_sess", "ssl_reused_sess", "ssl_failed_handshake"), 0)
_MODULES: Final = _SSL | dict.fromkeys(
    (
        *("h2_headers_rcvd", "h2_data_rcvd", "h2_settings_rcvd", "h2_rst_stream_rcvd"),
        *("h2_goaway_rcvd", "h2_detected_conn_protocol_errors"),
        *("h2_detected_strm_protocol_errors", "h2_rst_stream_resp", "h2_goaway_resp"),
        *("h2_open_connections", "h2_backend_open_streams", "h2_total_connections"),
        *("h2_backend_total_streams", "h1_open_connections", "h1_open_streams"),
        *("h1_total_connections", "h1_total_streams", "h1_bytes_in", "h1_bytes_out"),
        *("h1_spliced_bytes_in", "h1_spliced_bytes_out"),
    ),
    0,
)
_ANSWERS: Final = dict.fromkeys(
    ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other"), 0
)
_COMPRESSED: Final = dict.fromkeys(("comp_in", "comp_out", "comp_byp", "comp_rsp"), 0)

_FRONTEND: Final = (
    "pxname scur smax slim stot bin bout dreq dresp status iid rate rate_lim rate_max mode"
    " conn_rate conn_rate_max conn_tot dcon dses"
)
_FRONTEND_ZEROS: Final[dict[str, Value]] = {
    **{"svname": "FRONTEND", "ereq": 0, "pid": PROCESS, "sid": 0, "type": int(Kind.FRONTEND)},
    **dict.fromkeys(("req_rate", "req_rate_max", "req_tot", "wrew", "eint"), 0),
    **_COMPRESSED,
    **_MODULES,
}
_BACKEND: Final = (
    "pxname qcur qmax scur smax slim stot bin bout dresp econ eresp wretr wredis status weight"
    " act bck chkdown lastchg downtime iid lbtot rate rate_max cli_abrt srv_abrt lastsess qtime"
    " ctime ttime cookie mode algo connect qtime_max ctime_max ttime_max uweight"
)
_BACKEND_ZEROS: Final[dict[str, Value]] = {
    **{"svname": "BACKEND", "pid": PROCESS, "sid": 0, "type": int(Kind.BACKEND)},
    **dict.fromkeys(("dreq", "rtime", "wrew", "reuse", "rtime_max", "eint"), 0),
    **dict.fromkeys(("agg_server_status", "agg_server_check_status", "agg_check_status"), 0),
    **_COMPRESSED,
    **_MODULES,
}
_SERVER_ZEROS: Final[dict[str, Value]] = {
    **{"pid": PROCESS, "type": int(Kind.SERVER)},
    **dict.fromkeys(("rtime", "wrew", "reuse", "srv_icur", "rtime_max", "eint"), 0),
    **dict.fromkeys(("idle_conn_cur", "safe_conn_cur"), 0),
    **_SSL,
}
_LISTENER: Final = (
    "pxname svname scur smax slim stot bin bout dreq dresp status iid sid addr mode dcon dses"
)
_LISTENER_ZEROS: Final[dict[str, Value]] = {
    **{"pid": PROCESS, "type": int(Kind.LISTENER)},
    **dict.fromkeys(("ereq", "wrew", "eint"), 0),
    **_SSL,
}

FRONTEND: Final = Shape(Kind.FRONTEND, _FRONTEND, _FRONTEND_ZEROS)
BACKEND: Final = Shape(Kind.BACKEND, _BACKEND, _BACKEND_ZEROS)
SERVER: Final = Shape(Kind.SERVER, FIELDS, _SERVER_ZEROS)
LISTENER: Final = Shape(Kind.LISTENER, _LISTENER, _LISTENER_ZEROS)
_CACHE: Final = {"cache_lookups": 0, "cache_hits": 0}
HTTP_FRONTEND: Final = Shape(
    Kind.FRONTEND, _FRONTEND, {**_FRONTEND_ZEROS, **_ANSWERS, **_CACHE, "intercepted": 0}
)
HTTP_BACKEND: Final = Shape(
    Kind.BACKEND, _BACKEND, {**_BACKEND_ZEROS, **_ANSWERS, **_CACHE, "req_tot": 0}
)
HTTP_SERVER: Final = Shape(Kind.SERVER, FIELDS, {**_SERVER_ZEROS, **_ANSWERS, "req_tot": 0})


@dataclass(frozen=True, slots=True)
class Selected:
    """Which rows are asked for (management guide, 9.3, "show stat")."""

    proxy: int = -1  # its iid; -1: all
    kinds: int = -1  # a sum of 1 for frontends, 2 backends, 4 servers, 8 listeners; -1: all
    id: int = -1  # of servers and listeners; -1: all
    usable_only: bool = False  # ``up``: no servers that are down
    in_service_only: bool = False  # ``no-maint``: none in maintenance
    legends: bool = True  # addresses, cookies, algorithms: not for level ``user``

    def has(self, kind: Kind) -> bool:
        return bool(self.kinds & 1 << kind)

    @property
    def hides(self) -> bool:
        return self.usable_only or self.in_service_only


class _Batch:
    """Rows that are made in one go: those of servers from columns, all of a shape together."""

    def __init__(self, view: View, selected: Selected) -> None:
        self._view = view
        self._selected = selected
        self._parts: list[Row | tuple[Shape, int]] = []  # a row, or how many servers follow
        self._servers: dict[Shape, Servers] = {}
        self._length = 0

    @property
    def is_full(self) -> bool:
        return self._length >= _TOGETHER

    def add(self, row: Row) -> None:
        self._parts.append(row)
        self._length += 1

    def looked_at(self, count: int) -> None:
        """At so many servers, whether they have rows or not."""
        self._length += count

    def add_servers(self, shape: Shape, servers: Servers) -> None:
        if not servers.members:
            return
        self._servers.setdefault(shape, Servers()).extend(servers)
        self._parts.append((shape, len(servers)))

    def rows(self) -> Iterator[Row]:
        made = {
            shape: iter(
                [
                    Row(shape, one.section.id, one.real.link.id, values)
                    for one, values in zip(
                        servers.members, shape.values(columns, len(servers)), strict=True
                    )
                ]
            )
            for shape, servers, columns in self._columns()
        }
        for part in self._parts:
            if isinstance(part, Row):
                yield part
            else:
                shape, count = part
                yield from islice(made[shape], count)

    def csv(self) -> str:
        made = {
            shape: shape.lines(columns, len(servers)) for shape, servers, columns in self._columns()
        }
        lines: list[str] = []
        for part in self._parts:
            if isinstance(part, Row):
                lines.append(part.csv())
            else:
                shape, count = part
                lines += islice(made[shape], count)
        return "".join(lines)

    def _columns(self) -> Iterator[tuple[Shape, Servers, Mapping[str, Column]]]:
        for shape, servers in self._servers.items():
            yield (
                shape,
                servers,
                columns(servers, now=self._view.now, legends=self._selected.legends),
            )


def rows(view: View, selected: Selected) -> Iterator[Row]:
    """All rows in HAProxy's order: of each proxy its frontend, listeners, servers, backend."""
    for batch in _batches(view, selected):
        yield from batch.rows()


def csv(view: View, selected: Selected) -> Iterator[str]:
    """The same as a table with its header, in pieces."""
    yield csv_header()
    for batch in _batches(view, selected):
        yield batch.csv()


def _batches(view: View, selected: Selected) -> Iterator[_Batch]:
    batch = _Batch(view, selected)
    for section in view.sections:
        if section.disabled or selected.proxy not in (-1, section.id):
            continue
        if section.front and selected.has(Kind.FRONTEND):
            batch.add(_served(view, section) or frontend_row(view, section))
        if section.front and section.listeners_counted and selected.has(Kind.LISTENER):
            for row in listener_rows(view, section, selected):
                batch.add(row)
        if section.back and (selected.has(Kind.SERVER) or selected.has(Kind.BACKEND)):
            pool, summed = view.pools.get(section.name), Summed()
            for servers in _servers(view, section, pool):
                summed.add(servers)
                batch.looked_at(len(servers))
                if selected.has(Kind.SERVER):
                    shape = HTTP_SERVER if section.mode == "http" else SERVER
                    batch.add_servers(shape, _shown(servers, selected))
                if batch.is_full:
                    yield batch
                    batch = _Batch(view, selected)
            if selected.has(Kind.BACKEND):
                batch.add(backend_row(view, section, pool, summed, selected))
        if batch.is_full:
            yield batch
            batch = _Batch(view, selected)
    yield batch


def _servers(view: View, section: Section, pool: Pool | None) -> Iterator[Servers]:
    """Those of a pool that is not disabled, a few at a time."""
    if pool is None or pool.disabled:
        return
    for first in range(0, len(pool.reals), _TOGETHER):
        yield view.servers(section, pool, first, _TOGETHER)


def _shown(servers: Servers, selected: Selected) -> Servers:
    """The ones among them that are asked for."""
    if selected.id == -1 and not selected.hides:
        return servers
    columns = (servers.members, servers.paused, servers.stopped)
    return servers.picked(
        [
            at
            for at, (member, paused, stopped) in enumerate(zip(*columns, strict=True))
            if selected.id in (-1, member.real.link.id)
            and not (selected.hides and paused)
            and not (selected.usable_only and stopped)
        ]
    )


def _served(view: View, section: Section) -> Row | None:
    """None: it is no frontend that penstock itself answers on."""
    tally = view.tally(section.name)
    if tally is None:
        return None
    limit, status = view.front_limit(section), view.front_status(section)
    return served_row(section, tally, limit=limit, status=status, now=view.now)


def frontend_row(view: View, section: Section) -> Row:
    counted = view.frontend(section.name)
    shape = HTTP_FRONTEND if section.mode == "http" else FRONTEND
    values: tuple[Value, ...] = (
        section.name,
        counted.live,
        counted.live_max,
        view.front_limit(section),
        counted.sessions,
        counted.bytes_in,
        counted.bytes_out,
        counted.denied,
        counted.denied_responses,
        view.front_status(section),
        section.id,
        counted.rate,
        section.rate_limit,
        counted.rate_max,
        section.mode,
        counted.connection_rate,
        counted.connection_rate_max,
        counted.total,
        counted.denied_connections,
        counted.denied_sessions,
    )
    return Row(shape, section.id, 0, values)


def listener_rows(view: View, section: Section, selected: Selected) -> Iterator[Row]:
    for listener, n in view.listeners(section.name):
        if selected.id not in (-1, listener.id):
            continue
        counted: tuple[Value, ...] = (None,) * 9
        if n is not None:
            counted = (
                *(n.live, n.live_max, n.sessions, n.bytes_in, n.bytes_out),
                *(n.denied, n.denied_responses, n.denied_connections, n.denied_sessions),
            )
        live, most, total, received, sent, requests, responses, connections, sessions = counted
        values: tuple[Value, ...] = (
            section.name,
            listener.name,
            live,
            most,
            listener.limit,
            total,
            received,
            sent,
            requests,
            responses,
            view.front_status(section),
            section.id,
            listener.id,
            listener.address if selected.legends else None,
            section.mode,
            connections,
            sessions,
        )
        yield Row(LISTENER, section.id, listener.id, values)


def backend_row(
    view: View,
    section: Section,
    pool: Pool | None,
    summed: Summed,
    selected: Selected,
) -> Row:
    counted = view.backend(section.name)
    seen = view.pool(pool, summed)
    usable = not summed.count or seen.weight > 0
    status = "UP" if usable else "DOWN"
    if selected.hides:
        status = f"{status} ({summed.up}/{summed.count})"
    shape = HTTP_BACKEND if section.mode == "http" else BACKEND
    values: tuple[Value, ...] = (
        section.name,
        counted.queued,
        counted.queued_max,
        counted.live,
        counted.live_max,
        fullconn_of(section, view.process_limit),
        counted.total,
        counted.bytes_in,
        counted.bytes_out,
        counted.denied_responses,
        counted.errors,
        counted.response_errors,
        counted.retries,
        counted.redispatches,
        status,
        seen.weight,
        seen.active,
        seen.backup,
        seen.downs,
        seen.last_change,
        seen.downtime,
        section.id,
        counted.chosen,
        counted.rate,
        counted.rate_max,
        counted.client_aborts,
        counted.server_aborts,
        view.since_last(counted.last),
        counted.average(counted.queue_time),
        counted.average(counted.connect_time),
        counted.average(counted.total_time),
        section.cookie if selected.legends else None,
        section.mode,
        section.algorithm if selected.legends else None,
        summed.attempts,
        counted.queue_time_max,
        counted.connect_time_max,
        counted.total_time_max,
        seen.user_weight,
    )
    return Row(shape, section.id, 0, values)
