# SPDX-License-Identifier: Apache-2.0
"""stick-table and stick lines: words -> what the draft keeps of them."""

from __future__ import annotations

from penstock.config.haproxy.draft import BACK, Capability, Line, ProxyDraft
from penstock.config.haproxy.fetches import FETCHES
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.syntax import not_in_defaults, warn_without
from penstock.config.haproxy.units import DurationError, SizeError, parse_size, parse_time


def parse_stick(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, "stick")
    warn_without(context, proxy, line, BACK, ignore=True)
    if line[1] not in ("store", "store-request", "store-response", "match", "on"):
        raise LineError("'stick' expects 'on', 'match', or 'store'.")
    if not line[2]:
        raise LineError("'stick' expects a fetch method.")
    name = line[2].split("(", 1)[0].split(",", 1)[0]
    if name not in FETCHES and not name.startswith("lua."):
        raise LineError(f"'stick': unknown fetch method '{name}'")
    proxy.sticks.append((line.origin, line[4] if line[3] == "table" else ""))


def parse_stick_table(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if proxy.capability & Capability.DEFAULTS:
        raise LineError("'stick-table' is not supported in 'defaults' section.")
    first = proxy.rules.get("stick-table")
    if first is not None:
        raise LineError(
            f"stick-table name '{proxy.name}' conflicts with table declared in {proxy.describe}"
            f" '{proxy.name}' at {first}."
        )
    _stick_table(line)
    proxy.rules["stick-table"] = line.origin


def _stick_table(line: Line) -> None:
    seen: set[str] = set()
    at = 1
    while word := line[at]:
        value = line[at + 1]
        if word == "type":
            if value not in ("ip", "ipv6", "integer", "string", "binary"):
                raise LineError(f"stick-table: unknown type '{value}'.")
            if line[at + 2] == "len":
                at += 2
        elif word in ("size", "expire"):
            _stick_number(word, value)
        elif word == "nopurge":
            at -= 1
        elif word not in ("store", "peers", "srvkey", "write-to", "len"):
            raise LineError(f"stick-table: unknown argument '{word}'.")
        seen.add(word)
        at += 2
    for needed in ("size", "type"):
        if needed not in seen:
            raise LineError(f"stick-table: missing {needed}.")


def _stick_number(word: str, value: str) -> None:
    if not value:
        raise LineError(f"stick-table: missing argument after '{word}'.")
    try:
        if word == "size":
            parse_size(value)
        else:
            parse_time(value)
    except (SizeError, DurationError) as bad:
        raise LineError(
            f"stick-table: unexpected character '{bad.char}' in argument of '{word}'."
        ) from None
