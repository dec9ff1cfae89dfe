# SPDX-License-Identifier: Apache-2.0
"""What follows the prefix of a statistics URI: ``;csv``, ``;up``, ``?scope=…``. Pure.

Words are looked for wherever they stand, as HAProxy does, so ``?x;csvy`` asks for CSV, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from penstock.http_service import StatsPage

_SCOPE_LENGTH = 20  # HAProxy: STAT_SCOPE_TXT_MAXLEN; what is longer is cut
_SCOPE = re.compile(r"scope=([^;& ]*)")
_NAME = re.compile(r"[A-Za-z0-9_\-.:]*\Z")
_DONE = re.compile(r";st=(.{4})")


class Format(Enum):
    HTML = "html"
    CSV = "csv"
    TYPED = "typed"
    JSON = "json"
    SCHEMA = "json-schema"


class Outcome(Enum):
    """What became of a POST, as its redirection tells the page."""

    DENY = "DENY"  # no admin
    DONE = "DONE"
    ERRP = "ERRP"  # nothing of it could be done
    EXCD = "EXCD"  # it was too long
    NONE = "NONE"  # it named no server
    PART = "PART"
    UNKN = "UNKN"


@dataclass(frozen=True, slots=True)
class StatsQuery:
    format: Format = Format.HTML
    hides_down: bool = False
    hides_maint: bool = False
    refreshes: bool = True
    scope: str = ""  # part of a proxy's name; "": all
    outcome: Outcome | None = None


def read_query(page: StatsPage, path: str) -> StatsQuery | None:
    """What *path* (with its query) asks of *page*; None: it is not about it."""
    if not path.startswith(page.uri):
        return None
    rest = path[len(page.uri) :]
    outcome = _DONE.search(rest)
    return StatsQuery(
        _format(rest),
        hides_down=";up" in rest,
        hides_maint=";no-maint" in rest,
        refreshes=";norefresh" not in rest,
        scope=_scope(rest),
        outcome=_outcome(outcome[1]) if outcome else None,
    )


def _format(rest: str) -> Format:
    """The last of HAProxy's looks decides: ``;json-schema`` before ``;json``, that before others.

    Others are CSV, unless ``;typed`` is there.
    """
    if ";json-schema" in rest:
        return Format.SCHEMA
    if ";json" in rest:
        return Format.JSON
    if ";typed" in rest:
        return Format.TYPED
    return Format.CSV if ";csv" in rest else Format.HTML


def _scope(rest: str) -> str:
    found = _SCOPE.search(rest)
    wanted = found[1][:_SCOPE_LENGTH] if found else ""
    return wanted if _NAME.match(wanted) else ""


def _outcome(word: str) -> Outcome:
    try:
        return Outcome(word)
    except ValueError:
        return Outcome.UNKN


def redirection(page: StatsPage, query: StatsQuery, outcome: Outcome) -> str:
    """Where a browser goes after a POST, so that reloading does not repeat it."""
    return "".join(
        (
            page.uri,
            f";st={outcome.value}",
            ";up" if query.hides_down else "",
            "" if query.refreshes else ";norefresh",
            f";scope={query.scope}" if query.scope else "",
        )
    )
