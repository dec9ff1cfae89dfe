# SPDX-License-Identifier: Apache-2.0
"""``http-request use-service prometheus-exporter``: what HAProxy's exporter answers, from its rows.

Text format 0.0.4. One metric a field, in its order, and one line a proxy or server that has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

from penstock.statistics.rows import Selected
from penstock.statistics.shapes import Kind, Row
from penstock.web.errors import page
from penstock.web.http1 import Request, Response
from penstock.web.prometheus_table import (
    CHECK_STATES,
    HTTP_ONLY,
    LISTENER_STATES,
    MILLISECONDS,
    PROCESS,
    PROXY_STATES,
    ROWS,
    SERVER_STATES,
    Metric,
)
from penstock.web.statistics import Statistics, everything, proxy_of
from penstock.web.statistics import text as text_of

_SCOPES = ("global", "frontend", "listener", "backend", "server", "sticktable")
_KINDS = (
    ("frontend", "F", Kind.FRONTEND),
    ("listener", "L", Kind.LISTENER),
    ("backend", "B", Kind.BACKEND),
    ("server", "S", Kind.SERVER),
)
_TOGETHER = 200  # rows read before others have their turn
_MISSING = "NaN"
_Line = tuple[tuple[tuple[str, str], ...], str]  # labels and value


@dataclass(frozen=True, slots=True)
class Wanted:
    scopes: frozenset[str] = frozenset(_SCOPES)
    hides_maint: bool = False


def answer(request: Request, statistics: Statistics) -> Response:
    """The metrics that the query asks for; 400 for one that HAProxy does not know."""
    wanted = read_query(request.head.target.partition("?")[2])
    if wanted is None:
        return page(400, close=True)
    fields = (("cache-control", "no-cache"), ("content-type", "text/plain; version=0.0.4"))
    return Response(200, fields=fields, pieces=exposition(wanted, statistics))


def read_query(query: str) -> Wanted | None:
    """``scope=`` (also several, "" for none and ``*`` for all) and ``no-maint``; None: neither."""
    scopes: set[str] | None = None
    hides = False
    for part in query.partition("#")[0].split("&"):
        key, equals, value = part.partition("=")
        if "=" in value:
            return None
        name, scope = unquote_plus(key), unquote_plus(value)
        hides = hides or name == "no-maint"
        if name != "scope":
            continue
        scopes = set() if scopes is None else scopes
        if not equals or (scope not in _SCOPES and scope not in ("", "*")):
            return None
        if not scope:
            scopes.clear()
        scopes.update(_SCOPES if scope == "*" else [scope] if scope else [])
    return Wanted(frozenset(_SCOPES if scopes is None else scopes), hides)


def exposition(wanted: Wanted, statistics: Statistics) -> Iterator[str]:
    """The text, in pieces."""
    if "global" in wanted.scopes:
        info = statistics.info()
        for metric in PROCESS:
            if metric.name == "build_info":
                labels = (("version", info.get("Version", "")),)
                yield from _metric("process", metric, [(labels, "1")])
            elif metric.field in info:
                yield from _metric("process", metric, [((), _number(info[metric.field]))])
    rows: list[Row] = []
    for row in statistics.rows(Selected(), everything):
        rows.append(row)
        if not len(rows) % _TOGETHER:
            yield ""
    http = {proxy_of(row) for row in rows if text_of(row, "mode") == "http"}
    for scope, letter, kind in _KINDS:
        if scope in wanted.scopes:
            of_kind = [row for row in rows if row.shape.kind is kind and _is_shown(row, wanted)]
            servers = _servers(rows) if kind is Kind.BACKEND else {}
            yield from _of_kind(scope, letter, of_kind, http, servers)
    if "sticktable" in wanted.scopes:
        yield from _tables(statistics)


def _is_shown(row: Row, wanted: Wanted) -> bool:
    maint = row.shape.kind is Kind.SERVER and text_of(row, "status").startswith("MAINT")
    return not (wanted.hides_maint and maint)


def _servers(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.shape.kind is Kind.SERVER:
            found.setdefault(proxy_of(row), []).append(row)
    return found


def _of_kind(
    scope: str, letter: str, rows: Sequence[Row], http: set[str], servers: dict[str, list[Row]]
) -> Iterator[str]:
    before = ""
    for metric in ROWS:
        if letter not in metric.of:
            continue
        lines = (
            ((*_labels(row), *more), value)
            for row in rows
            if not (_is_http(metric) and proxy_of(row) not in http)
            for more, value in _values(metric, row, servers.get(proxy_of(row), []))
        )
        # The classes of HTTP responses are one metric.
        yield from _metric(scope, metric, lines, headed=metric.name != before)
        before = metric.name


def _is_http(metric: Metric) -> bool:
    return metric.field in HTTP_ONLY or metric.field.startswith("hrsp_")


def _labels(row: Row) -> tuple[tuple[str, str], ...]:
    match row.shape.kind:
        case Kind.SERVER:
            return ("proxy", proxy_of(row)), ("server", text_of(row, "svname"))
        case Kind.LISTENER:
            return ("proxy", proxy_of(row)), ("listener", text_of(row, "svname"))
    return (("proxy", proxy_of(row)),)


def _values(metric: Metric, row: Row, servers: Sequence[Row]) -> Iterator[_Line]:
    """Lines of one row; none where HAProxy writes none."""
    field, text = metric.field, text_of(row, metric.field)
    match field:
        case "status":
            yield from _states(_state_of(row), _STATES[row.shape.kind])
        case "check_status":
            if text:
                yield from _states(_check_of(row), CHECK_STATES)
        case "check_code" | "check_duration":
            if text_of(row, "check_status"):
                yield from _checked(field, text)
        case "agg_server_status" | "agg_server_check_status":
            if servers:
                yield from _counts(map(_state_of, servers), SERVER_STATES)
        case "agg_check_status":
            if servers:
                yield from _counts(map(_check_of, servers), CHECK_STATES)
        case _ if field.startswith("hrsp_"):
            yield (("code", field.removeprefix("hrsp_")),), _number(text)
        case _ if field in MILLISECONDS:
            yield (), _seconds(text)
        case _:
            yield (), _number(text)


_STATES = {
    Kind.FRONTEND: PROXY_STATES,
    Kind.BACKEND: PROXY_STATES,
    Kind.LISTENER: LISTENER_STATES,
    Kind.SERVER: SERVER_STATES,
}


def _checked(field: str, text: str) -> Iterator[_Line]:
    if field == "check_code":
        yield (), text or "0"
    elif text:
        yield (), _seconds(text)


def _states(current: str, states: Iterable[str]) -> Iterator[_Line]:
    for state in states:
        yield (("state", state),), str(int(state == current))


def _counts(current: Iterable[str], states: Iterable[str]) -> Iterator[_Line]:
    seen = Counter(current)
    for state in states:
        yield (("state", state),), str(seen[state])


def _state_of(row: Row) -> str:
    """The word that the exporter has for ``UP 1/3``, ``no check``, ``MAINT (via a/b)``."""
    word = text_of(row, "status").split(" ")[0]
    match row.shape.kind:
        case Kind.FRONTEND:
            return "DOWN" if word == "STOP" else "UP"
        case Kind.SERVER:
            return "UP" if word == "no" else word
    return word


def _check_of(row: Row) -> str:
    """The last result, whether another check is under way ("* L4OK") or not."""
    return text_of(row, "check_status").removeprefix("* ")


def _number(text: str) -> str:
    """Words and nothing are no numbers."""
    try:
        float(text)
    except ValueError:
        return _MISSING
    return text


def _seconds(text: str) -> str:
    try:
        return f"{int(text) / 1000:f}"
    except ValueError:
        return f"{0:f}"


def _tables(statistics: Statistics) -> Iterator[str]:
    tables = statistics.tables()
    for name, help_ in (("size", "Entries it has room for."), ("used", "Entries it has.")):
        lines = [
            ((("name", one.name), ("type", one.type)), str(getattr(one, name))) for one in tables
        ]
        yield from _metric("sticktable", Metric(name, name, False, help_), lines)


def _metric(
    scope: str, metric: Metric, lines: Iterable[_Line], *, headed: bool = True
) -> Iterator[str]:
    """Nothing at all for a metric without *lines*."""
    name = f"haproxy_{scope}_{metric.name}"
    for labels, value in lines:
        if headed:
            headed = False
            kind = "counter" if metric.counter else "gauge"
            yield f"# HELP {name} {metric.help}\n# TYPE {name} {kind}\n"
        shown = ",".join(f'{label}="{_escaped(said)}"' for label, said in labels)
        yield f"{name}{{{shown}}} {value}\n" if labels else f"{name} {value}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
