# SPDX-License-Identifier: Apache-2.0
"""The keyword table as Markdown, for docs/haproxy.md.

``python -m penstock.config.haproxy.keywords.document docs/haproxy.md`` rewrites what stands
between the two marks of that file; a test fails when it has not been done.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from penstock.config.haproxy.keywords import (
    ANY_SERVER,
    BALANCE,
    BIND,
    GLOBAL,
    MODE_HTTP,
    OPTIONS,
    OTHER,
    PROXY,
    RESOLVERS,
    SECTIONS,
    SERVER,
    SOURCE_INTERFACE,
    TIMEOUTS,
    UNIX_BIND,
    UNIX_SERVER,
    USESRC,
    USESRC_HEADER,
    Keyword,
    Status,
)

BEGIN = "<!-- keywords: generated, do not edit -->"
END = "<!-- keywords: end -->"

_DOES = {
    Status.WORKS: "works",
    Status.EXTENSION: "works, penstock's own word",
    Status.PROXY: "works, on the proxy engine",
    Status.NOWHERE: "not run",
    Status.LATER: "ignored with a warning",
    Status.IGNORED: "ignored, changes nothing",
    Status.REFUSED: "error",
    Status.REMOVED: "error, as in HAProxy 2.6",
}

_TABLES: tuple[tuple[str, Mapping[str, Keyword]], ...] = (
    ("Sections", SECTIONS),
    ("global", GLOBAL),
    ("defaults, frontend, listen, backend", PROXY),
    ("option …", OPTIONS),
    ("timeout …", TIMEOUTS),
    ("balance …", BALANCE),
    ("bind options", BIND),
    ("server, default-server and server-template options", SERVER),
    ("resolvers", RESOLVERS),
)


def markdown() -> str:
    """All tables, with the marks around them."""
    parts = [BEGIN]
    for title, table in _TABLES:
        parts += _table(title, table.values())
    for name, table in OTHER.items():
        parts += _table(name, table.values())
    parts += _table("Forms of a keyword", _forms())
    return "\n".join([*parts, END])


def _forms() -> tuple[Keyword, ...]:
    """What depends on a keyword's argument."""
    shown = {
        "bind /path, bind abns@…, bind fd@…": UNIX_BIND,
        "server NAME /path": UNIX_SERVER,
        "server … *": ANY_SERVER,
        "source … usesrc ADDRESS": USESRC,
        "source … usesrc hdr_ip(…)": USESRC_HEADER,
        "source … interface NAME": SOURCE_INTERFACE,
        "mode http": MODE_HTTP,
    }
    return tuple(Keyword(name, row.need, row.status, row.text) for name, row in shown.items())


def _table(title: str, keywords: Iterable[Keyword]) -> list[str]:
    lines = ["", f"### {title}", "", "| keyword | penstock | remarks |", "|---|---|---|"]
    for (does, text), same in itertools.groupby(keywords, lambda row: (_does(row), row.text)):
        names = ", ".join(f"`{keyword.name}`" for keyword in same)
        lines.append(f"| {names} | {does} | {text} |")
    return lines


def _does(keyword: Keyword) -> str:
    return _DOES[keyword.status]


def renewed(text: str) -> str:
    """*text* with the tables of today. Raises ValueError when it lacks the marks."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN} … {END}")
    return head + markdown() + tail


def main(arguments: list[str]) -> None:
    """Rewrite the files that *arguments* name."""
    for name in arguments:
        path = Path(name)
        path.write_text(renewed(path.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
