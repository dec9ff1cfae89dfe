# SPDX-License-Identifier: Apache-2.0
"""Formats in http-request and http-response rules of sections that carry no HTTP.

Such rules do nothing there. HAProxy reads them all the same, so that a fault in one is a fault.
"""

from __future__ import annotations

from penstock.config.haproxy.draft import BACK, FRONT, Line, Mode, ProxyDraft
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.rules import sources
from penstock.logs.format import FormatError, Reading, read_format
from penstock.logs.model import Sampled, Shape
from penstock.rules.arguments import RuleError
from penstock.rules.patterns import read_regex
from penstock.rules.vocabulary import FETCHES, Checkpoint

_ARGUMENTS = {"set-header": 2, "add-header": 2, "replace-header": 3, "replace-value": 3}
_REQUEST = ((FRONT, Checkpoint.FRONT_HEADERS), (BACK, Checkpoint.BACK_HEADERS))
_RESPONSE = ((FRONT, Checkpoint.FRONT_RESPONSE_HEADERS), (BACK, Checkpoint.BACK_RESPONSE_HEADERS))


def read_header_format(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """Look at the format of *line* if it is about a header. Raises LineError."""
    kind, action = line[0], line[1]
    count = _ARGUMENTS.get(action)
    if count is None or proxy.mode is Mode.HTTP:
        return
    head = f"error detected in {proxy.describe} '{proxy.name}' while parsing '{kind} {action}' rule"
    if not all(line[2 + at] for at in range(count)):
        raise LineError(f"{head} : expects exactly {count} arguments.")
    sides = _REQUEST if kind == "http-request" else _RESPONSE
    reading = Reading(
        tuple(point for side, point in sides if proxy.capability & side),
        sources(context, line.origin),
        Shape.ENCODED,
        lambda message: context.report.warn(line.origin, message),
    )
    try:
        if count == 3:
            read_regex(line[3])
        made = read_format(line[1 + count], reading)
    except (FormatError, RuleError) as error:
        raise LineError(f"{head} : {error}.") from None
    proxy.header_format = line.origin
    for part in made.parts:
        if isinstance(part, Sampled):
            proxy.http_needed |= FETCHES[part.expression.fetch.name].http
            proxy.http_format |= proxy.http_needed
    behind = line[2 + count]
    if behind and behind not in ("if", "unless"):
        raise LineError(
            f"'{kind} {action}' expects either 'if' or 'unless' followed by a condition but found"
            f" '{behind}'."
        )
