# SPDX-License-Identifier: Apache-2.0
"""ring sections (HAProxy manual 3.7.1): their faults; no messages are kept yet."""

from __future__ import annotations

from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.keywords import words
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, StopError
from penstock.config.haproxy.section_other import parse_other
from penstock.config.haproxy.units import atol

_FORMATS = words("local rfc3164 rfc5424 priority short timed iso raw")
_SMALLEST = 16384  # bytes: HAProxy's BUFSIZE, which every ring has at first


def parse_ring(context: Context, line: Line) -> None:
    """One line of a ring section. Raises LineError."""
    parse_other(context, line)
    match line[0]:
        case "ring":
            if line[1] in context.rings:
                raise StopError(f"sink named '{line[1]}' already exists.")
            context.rings[line[1]] = _SMALLEST
        case "format" if line[1] not in _FORMATS:
            raise LineError(f"unknown format '{line[1]}'.")
        case "size" | "maxlen" if not atol(line[1]):
            raise LineError(f"invalid size '{line[1]}' for new sink buffer.")
        case "size" if context.rings:
            _size(context, line)
        case "description" if not line[1]:
            raise LineError("missing ring description text.")


def _size(context: Context, line: Line) -> None:
    name, before = list(context.rings.items())[-1]
    wanted = atol(line[1])
    if 0 <= wanted < before:
        context.report.warn(
            line.origin,
            f"ignoring new size '{wanted}' that is smaller than current size '{before}' for ring"
            f" '{name}'.",
        )
    else:
        context.rings[name] = wanted
