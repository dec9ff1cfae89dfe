# SPDX-License-Identifier: Apache-2.0
"""``source``, of sections and of server lines (HAProxy manual 4.2 and 5.2)."""

from __future__ import annotations

from penstock.config.haproxy.address import Allow, Target
from penstock.config.haproxy.draft import Line, SourceLine
from penstock.config.haproxy.endpoint import read_endpoint
from penstock.config.haproxy.keywords import SOURCE_INTERFACE, USESRC, USESRC_HEADER, Keyword
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.proxied import SourceKind

SOURCES = (SOURCE_INTERFACE, USESRC, USESRC_HEADER)


def parse_source(
    context: Context, line: Line, at: int, *, ranges: bool
) -> tuple[SourceLine, list[Keyword], int]:
    """What a ``source`` says, what of it needs the proxy, and how many words follow its name."""
    target: Target | None = _source_address(context, "source", line[at + 1], ranges=ranges)
    keywords: list[Keyword] = []
    kind, other, interface = SourceKind.OWN, None, None
    used = 1
    while (word := line[at + used + 1]) in ("usesrc", "interface"):
        value = line[at + used + 2]
        if word == "interface":
            if not value:
                raise LineError(f"'{line[0]}' : missing interface name")
            interface = value
            keywords.append(SOURCE_INTERFACE)
        elif not value:
            raise LineError(
                "'usesrc' expects <addr>[:<port>], 'client', 'clientip', or 'hdr_ip(name,#)' as"
                " argument"
            )
        elif value in ("client", "clientip"):
            kind = SourceKind(value)
        elif value.startswith("hdr_ip("):
            keywords.append(USESRC_HEADER)
        else:
            kind = SourceKind.OTHER
            other = _source_address(context, "usesrc", value, ranges=False)
            keywords.append(USESRC)
        used += 2
    if target is not None and target.address is not None and target.address.is_unspecified:
        target = None  # any address: what happens without "source" as well
    return SourceLine(target, kind, other, interface), keywords, used


def _source_address(context: Context, name: str, text: str, *, ranges: bool) -> Target:
    allow = Allow.PORT | (Allow.RANGE if ranges else Allow.NOTHING)
    return read_endpoint(context, text, allow, f"'{name} {text}'")
