# SPDX-License-Identifier: Apache-2.0
"""The rows of ``show stat``: each frontend, listener, server and backend with its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.model import Pool
from penstock.sections import Section, fullconn_of
from penstock.statistics.counted import Counted
from penstock.statistics.served import served_row
from penstock.statistics.server_fields import address_of, lasted, shown, status
from penstock.statistics.shapes import PROCESS, Kind, Row, Shape, Value
from penstock.statistics.view import ServerView, View

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
    "pxname qcur qmax scur smax slim stot bin bout dresp econ wretr wredis status weight act bck"
    " chkdown lastchg downtime iid lbtot rate rate_max cli_abrt srv_abrt lastsess qtime ctime"
    " ttime cookie mode algo connect qtime_max ctime_max ttime_max uweight"
)
_BACKEND_ZEROS: Final[dict[str, Value]] = {
    **{"svname": "BACKEND", "pid": PROCESS, "sid": 0, "type": int(Kind.BACKEND)},
    **dict.fromkeys(("dreq", "eresp", "rtime", "wrew", "reuse", "rtime_max", "eint"), 0),
    **dict.fromkeys(("agg_server_status", "agg_server_check_status", "agg_check_status"), 0),
    **_COMPRESSED,
    **_MODULES,
}
_SERVER: Final = (
    "pxname svname qcur qmax scur smax slim stot bin bout dresp econ wretr wredis status weight"
    " act bck chkfail chkdown lastchg downtime qlimit iid sid throttle lbtot tracked rate rate_max"
    " check_status check_code check_duration hanafail cli_abrt srv_abrt lastsess last_chk last_agt"
    " qtime ctime ttime agent_status agent_code agent_duration check_desc agent_desc check_rise"
    " check_fall check_health agent_rise agent_fall agent_health addr cookie mode connect"
    " qtime_max ctime_max ttime_max used_conn_cur need_conn_est uweight src_ilim"
)
_SERVER_ZEROS: Final[dict[str, Value]] = {
    **{"pid": PROCESS, "type": int(Kind.SERVER)},
    **dict.fromkeys(("eresp", "rtime", "wrew", "reuse", "srv_icur", "rtime_max", "eint"), 0),
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
SERVER: Final = Shape(Kind.SERVER, _SERVER, _SERVER_ZEROS)
LISTENER: Final = Shape(Kind.LISTENER, _LISTENER, _LISTENER_ZEROS)
_CACHE: Final = {"cache_lookups": 0, "cache_hits": 0}
HTTP_FRONTEND: Final = Shape(
    Kind.FRONTEND, _FRONTEND, {**_FRONTEND_ZEROS, **_ANSWERS, **_CACHE, "intercepted": 0}
)
HTTP_BACKEND: Final = Shape(
    Kind.BACKEND, _BACKEND, {**_BACKEND_ZEROS, **_ANSWERS, **_CACHE, "req_tot": 0}
)
HTTP_SERVER: Final = Shape(Kind.SERVER, _SERVER, {**_SERVER_ZEROS, **_ANSWERS, "req_tot": 0})


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


def rows(view: View, selected: Selected) -> Iterator[Row]:
    """All rows in HAProxy's order: of each proxy its frontend, listeners, servers, backend."""
    for section in view.sections:
        if section.disabled or selected.proxy not in (-1, section.id):
            continue
        if section.front and selected.has(Kind.FRONTEND):
            yield _served(view, section) or frontend_row(view, section)
        if section.front and section.listeners_counted and selected.has(Kind.LISTENER):
            yield from listener_rows(view, section, selected)
        if section.back and (selected.has(Kind.SERVER) or selected.has(Kind.BACKEND)):
            pool = view.pools.get(section.name)
            servers = view.servers(pool)
            if selected.has(Kind.SERVER):
                yield from server_rows(section, servers, selected)
            if selected.has(Kind.BACKEND):
                yield backend_row(view, section, pool, servers, selected)


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


def server_rows(
    section: Section, servers: Sequence[ServerView], selected: Selected
) -> Iterator[Row]:
    shape = HTTP_SERVER if section.mode == "http" else SERVER
    for server in servers:
        real = server.real
        if selected.id not in (-1, real.link.id):
            continue
        if selected.hides and (server.paused or (selected.usable_only and server.stopped)):
            continue
        values = _server(section, server, selected.legends)
        yield Row(shape, section.id, real.link.id, values)


def _server(section: Section, server: ServerView, legends: bool) -> tuple[Value, ...]:
    n: Counted = server.counted
    real, standing, known, agent = server.real, server.standing, server.check, server.agent
    tracked = "{}/{}".format(*real.tracks) if real.tracks is not None else ""
    check = None if known is None or server.paused else known
    own: tuple[Value, ...] = (None, None, None)
    if known is not None:
        own = known.failures, standing.downs, standing.downtime
    checked: tuple[Value, ...] = _NO_CHECK
    if check is not None:
        code = check.code
        checked = (
            shown(check),
            check.last_code if code.has_number else None,
            lasted(check),
            check.info,
            code.description,
            check.rise,
            check.fall,
            check.health,
        )
    asked: tuple[Value, ...] = _NO_CHECK
    if agent is not None:
        asked = (
            shown(agent),
            agent.last_code if agent.code.has_number else None,
            lasted(agent),
            agent.info,
            agent.code.description,
            agent.rise,
            agent.fall,
            agent.health,
        )
    observed = None
    if real.observed is not None:
        observed = known.observed_failures if known is not None else 0
    backup = real.backup
    return (
        section.name,
        real.name,
        n.queued,
        n.queued_max,
        n.live,
        n.live_max,
        real.maxconn or None,
        n.total,
        n.bytes_in,
        n.bytes_out,
        n.denied_responses,
        n.errors,
        n.retries,
        n.redispatches,
        status(standing, *server.reference, tracked),
        server.weight,
        0 if backup else 1,
        1 if backup else 0,
        own[0],
        own[1],
        standing.last_change,
        own[2],
        real.link.maxqueue or None,
        section.id,
        real.link.id,
        server.throttle,
        n.chosen,
        tracked or None,
        n.rate,
        n.rate_max,
        checked[0],
        checked[1],
        checked[2],
        observed,
        n.client_aborts,
        n.server_aborts,
        server.since_last(n.last),
        checked[3],
        asked[3],
        n.average(n.queue_time),
        n.average(n.connect_time),
        n.average(n.total_time),
        asked[0],
        asked[1],
        asked[2],
        checked[4],
        asked[4],
        checked[5],
        checked[6],
        checked[7],
        asked[5],
        asked[6],
        asked[7],
        address_of(real) if legends else None,
        None,
        section.mode,
        n.total,
        n.queue_time_max,
        n.connect_time_max,
        n.total_time_max,
        n.live,
        n.live,
        server.user_weight,
        real.link.idle_limit,
    )


_NO_CHECK: Final = (None,) * 8


def backend_row(
    view: View,
    section: Section,
    pool: Pool | None,
    servers: Sequence[ServerView],
    selected: Selected,
) -> Row:
    counted = view.backend(section.name)
    seen = view.pool(section.name, pool, servers)
    usable = not servers or seen.weight > 0
    status = "UP" if usable else "DOWN"
    if selected.hides:
        status = f"{status} ({seen.up}/{len(servers)})"
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
        seen.attempts,
        counted.queue_time_max,
        counted.connect_time_max,
        counted.total_time_max,
        seen.user_weight,
    )
    return Row(shape, section.id, 0, values)
