# SPDX-License-Identifier: Apache-2.0
"""The statistics as one page of HTML: a table of the same rows as CSV, which needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import groupby
from typing import Final

from penstock.http_service import StatsPage
from penstock.statistics.shapes import Kind, Row
from penstock.web.statistics import proxy_of, text
from penstock.web.stats_uri import Outcome, StatsQuery

# Fields of a row and what stands above them.
_COLUMNS: Final = (
    ("status", "Status"),
    ("weight", "Weight"),
    ("qcur", "Queue"),
    ("rate", "Session rate"),
    ("scur", "Sessions"),
    ("smax", "Max"),
    ("slim", "Limit"),
    ("stot", "Total"),
    ("bin", "Bytes in"),
    ("bout", "Bytes out"),
    ("econ", "Failed connects"),
    ("wretr", "Retries"),
    ("chkfail", "Failed checks"),
    ("chkdown", "Downs"),
    ("lastchg", "Since, s"),
    ("last_chk", "Last check"),
    ("addr", "Address"),
)
_ACTIONS: Final = (
    ("ready", "Set state to READY"),
    ("drain", "Set state to DRAIN"),
    ("maint", "Set state to MAINT"),
    ("dhlth", "Health: disable checks"),
    ("ehlth", "Health: enable checks"),
    ("hrunn", "Health: force UP"),
    ("hnolb", "Health: force NOLB"),
    ("hdown", "Health: force DOWN"),
    ("shutdown", "Kill sessions"),
)
_SAID: Final = {
    Outcome.DENY: "Refused: this page may look and not touch.",
    Outcome.DONE: "Done.",
    Outcome.ERRP: "Nothing was done: no such backend, server or action.",
    Outcome.EXCD: "Nothing was done: the request was too long. Choose fewer servers.",
    Outcome.NONE: "Nothing was done: no server was chosen.",
    Outcome.PART: "Partly done: some of the servers are unknown, or could not be changed.",
    Outcome.UNKN: "Unknown result.",
}
_STYLE: Final = (
    "body{font:13px sans-serif;margin:1em}table{border-collapse:collapse;margin-bottom:1em}"
    "th,td{border:1px solid #bbb;padding:2px 6px;text-align:right}th{background:#eee}"
    "td:first-child,td:nth-child(2),th:first-child{text-align:left}"
    ".up td{background:#e4f6e4}.down td{background:#fbdede}.off td{background:#eee}"
)
# It loads nothing, runs nothing and is shown in nobody else's frame.
POLICY: Final = (
    "content-security-policy",
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self';"
    " frame-ancestors 'none'",
)


def render(
    page: StatsPage,
    query: StatsQuery,
    rows: Iterable[Row],
    info: Mapping[str, str],
    *,
    admin: bool,
) -> Iterator[str]:
    """The whole page, in pieces; *admin* adds the forms."""
    node = (page.node or info.get("node", "")) if page.show_node else ""
    title = "Statistics" + (f" on {node}" if node else "")
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
    yield f'</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head><body>\n'
    yield f"<h1>{escape(title)}</h1>\n"
    if page.show_description and page.description:
        yield f"<p>{escape(page.description)}</p>\n"
    yield f"<p>{escape(_process(page, info))}</p>\n"
    if query.outcome is not None:
        yield f"<p><strong>{_SAID[query.outcome]}</strong></p>\n"
    yield _links(page, query)
    for proxy, members in groupby(rows, key=proxy_of):
        yield from _table(page, proxy, members, admin=admin)
    yield "</body></html>\n"


def _process(page: StatsPage, info: Mapping[str, str]) -> str:
    said = [f"pid {info.get('Pid', '?')}", f"up {info.get('Uptime', '?')}"]
    if not page.hide_version:
        said.insert(0, f"{info.get('Name', '')} {info.get('Version', '')}".strip())
    said.append(f"{info.get('CurrConns', '0')} connections")
    return ", ".join(said)


def _links(page: StatsPage, query: StatsQuery) -> str:
    scope = f";scope={query.scope}" if query.scope else ""
    still = "" if query.refreshes else ";norefresh"
    up = ";up" if query.hides_down else ""
    links = [
        (still + scope, "all servers") if up else (";up" + still + scope, "hide what is down"),
        (up + still + scope, "refresh now"),
        (";csv" + (";norefresh" if page.refresh else "") + scope, "CSV"),
        (";json" + (";norefresh" if page.refresh else "") + scope, "JSON"),
    ]
    if page.refresh:
        other = ("" if still else ";norefresh", "refresh" if still else "do not refresh")
        links.append((up + other[0] + scope, other[1]))
    shown = (f'<a href="{escape(page.uri + rest)}">{said}</a>' for rest, said in links)
    return f"<p>{' · '.join(shown)}</p>\n"


def _table(page: StatsPage, proxy: str, rows: Iterable[Row], *, admin: bool) -> Iterator[str]:
    """The rows of one proxy; for an admin with a form, where it has servers."""
    if admin:
        yield f'<form method="post" action="{escape(page.uri)}">'
    yield f'<h2 id="{escape(proxy)}">{escape(proxy)}</h2>\n<table><tr><th></th>'
    yield "".join(f"<th>{head}</th>" for _, head in _COLUMNS) + "</tr>\n"
    servers = False
    for row in rows:
        servers = servers or row.shape.kind is Kind.SERVER
        yield _row(row, form=admin)
    yield "</table>\n"
    if admin and servers:
        options = "".join(f'<option value="{value}">{said}' for value, said in _ACTIONS)
        yield (
            f'<p><select name="action" aria-label="action">{options}</select>'
            f'<input type="hidden" name="b" value="{escape(proxy)}">'
            ' <button type="submit">Apply</button></p>'
        )
    if admin:
        yield "</form>\n"


def _row(row: Row, *, form: bool) -> str:
    name = escape(text(row, "svname"))
    if form and row.shape.kind is Kind.SERVER:
        name = f'<label><input type="checkbox" name="s" value="{name}"> {name}</label>'
    cells = "".join(f"<td>{escape(text(row, field))}</td>" for field, _ in _COLUMNS)
    return f'<tr class="{_class(text(row, "status"))}"><td>{name}</td>{cells}</tr>\n'


def _class(status: str) -> str:
    word = status.split(" ", maxsplit=1)[0]
    if word in ("DOWN", "NOLB"):
        return "down"
    return "off" if word in ("MAINT", "DRAIN", "STOP", "no") else "up"
