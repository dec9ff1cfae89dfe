# SPDX-License-Identifier: Apache-2.0
"""cache sections: they only serve HTTP, and are read for their faults (manual 6.2.1)."""

from __future__ import annotations

import re
from typing import Final

from penstock.c_numbers import atol
from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.keywords import OTHER, SECTIONS
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, StopError, WarnedStopError
from penstock.config.haproxy.section_drafts import CacheDraft

_LONGEST_NAME: Final = 32
_LARGEST: Final = 4095  # MB; what 32 bits hold in bytes
_MB: Final = 1 << 20
_NUMBER: Final = re.compile(r"\s*[+-]?\d+\Z", re.ASCII)  # as strtoul() reads it


def parse_cache(context: Context, line: Line) -> None:
    """One line of a cache section. Raises LineError, StopError."""
    keyword = line[0]
    if keyword == "cache" and not line[1]:
        raise StopError("'cache' expects a <name> argument")
    if keyword != "cache" and keyword not in OTHER["cache"]:
        raise LineError(f"unknown keyword '{keyword}' in 'cache' section")
    if line[2]:
        raise StopError(f"'{keyword}' cannot handle unexpected argument '{line[2]}'.")
    if keyword == "cache":
        _head(context, line)
        return
    cache = context.draft.caches[-1]
    match keyword:
        case "total-max-size":
            size = _number(line)
            if not 0 <= size <= _LARGEST:
                raise WarnedStopError(
                    f'"{keyword}" ({line[1]}) must not be greater than {_LARGEST}'
                )
            cache.size = size * _MB
        case "max-age":
            _expect(context, line, "an age parameter in seconds.")
        case "max-object-size":
            _expect(context, line, "a maximum file size parameter in bytes.")
            cache.longest = _number(line) % (1 << 32)
        case "process-vary":
            wanted = '"on" or "off" (enable or disable vary processing).'
            _expect(context, line, wanted)
            if line[1] not in ("on", "off"):
                context.report.warn(line.origin, f"'{keyword}' expects {wanted}")
        case _:
            _expect(context, line, "a strictly positive number.")
            if _number(line) % (1 << 32) == 0:
                raise WarnedStopError(f"{keyword} wrong value '{line[1]}'")


def _head(context: Context, line: Line) -> None:
    name = line[1][:_LONGEST_NAME]
    if name != line[1]:
        context.report.warn(
            line.origin,
            f"cache name is limited to {_LONGEST_NAME} characters, truncate to '{name}'.",
        )
    if any(other.name == name for other in context.draft.caches):
        raise StopError(f"Duplicate cache name '{name}'.")
    context.draft.caches.append(CacheDraft(name, line.origin))
    context.at_end = _end
    context.report.note(line.origin, f"section 'cache' is ignored: {SECTIONS['cache'].text}.")


def _expect(context: Context, line: Line, wanted: str) -> None:
    if not line[1]:
        context.report.warn(line.origin, f"'{line[0]}' expects {wanted}")


def _number(line: Line) -> int:
    if not _NUMBER.match(line[1]):
        raise WarnedStopError(f"{line[0]} wrong value '{line[1]}'")
    return atol(line[1])


def _end(context: Context) -> None:
    cache = context.draft.caches[-1]
    message = ""
    if not cache.size:
        message = f"Size not specified for cache '{cache.name}'"
    elif cache.longest > cache.size // 2:
        message = (
            f'"max-object-size" is limited to an half of "total-max-size" => {cache.size // 2}'
        )
    if message:
        context.report.error(cache.origin, message, parsing=False)
        context.draft.caches.pop()  # the next one may have its name
