# SPDX-License-Identifier: Apache-2.0
"""user, group, uid and gid of the global section (manual 3.1): whom workers run as."""

from __future__ import annotations

import re
from typing import Final

from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import IgnoredError, LineError
from penstock.config.haproxy.section_drafts import GlobalDraft
from penstock.config.haproxy.syntax import at_most

# The account that HAProxy's packages make: files name it, and it may well not be there without one.
_PACKAGED: Final = "haproxy"
_AGAIN: Final = {
    "user": "user/uid already specified",
    "uid": "user/uid already specified",
    "group": "gid/group was already specified",
    "gid": "group/gid already specified",
}
_NUMBER: Final = re.compile(r"-?[0-9]+\Z")


def parse_owner(context: Context, settings: GlobalDraft, line: Line) -> None:
    """One of the four lines. Raises LineError."""
    kind = line[0]
    what = "user" if kind in ("user", "uid") else "group"
    at_most(line, 1)
    if settings.owners.get(what):  # root may be replaced
        context.report.warn(line.origin, f"{_AGAIN[kind]}. Continuing.")
        raise IgnoredError
    if kind == what:
        number = _named(context, what, line[1])
        text = line[1]
    else:
        number = _numbered(context, line, what)
        text = f"#{number}"
    settings.owners[what] = number
    setattr(settings, what, text)


def _named(context: Context, what: str, name: str) -> int:
    number = context.account(what, name)
    if number is not None:
        return number
    if name != _PACKAGED:
        raise LineError(f"cannot find {what} id for '{name}' (0:Success)")
    return -1


def _numbered(context: Context, line: Line, what: str) -> int:
    text = line[1]
    if not text:
        raise LineError(f"'{line[0]}' expects an integer argument.")
    if not _NUMBER.match(text):
        context.report.warn(
            line.origin,
            f" {line[0]}: string '{text}' is not a number.\n   | You might want to use the '{what}'"
            f" parameter to use a system {what} name.",
        )
        raise IgnoredError
    return int(text)
