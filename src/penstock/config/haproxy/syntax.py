# SPDX-License-Identifier: Apache-2.0
"""Checks that many keywords share: how many words, which characters, which sections."""

from __future__ import annotations

from penstock.config.haproxy.draft import BOTH, FRONT, Capability, Line, ProxyDraft
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import IgnoredError, LineError
from penstock.config.haproxy.units import DurationError, parse_time, trailing_message

MUX_PROTOCOLS = ("none", "h1", "h2", "fcgi")  # HAProxy 2.6's multiplexers


def at_most(line: Line, count: int, *, option: bool = False) -> None:
    """Refuse more than *count* arguments after the keyword (after its option, for options)."""
    first = 2 if option else 1
    if line[first + count]:
        keyword = " ".join(line.words[:first])
        raise LineError(f"'{keyword}' cannot handle unexpected argument '{line[first + count]}'.")


def warn_without(
    context: Context,
    proxy: ProxyDraft,
    line: Line,
    side: Capability,
    *,
    name: str = "",
    hint: str = "",
    ignore: bool = False,
) -> None:
    """Warn when *proxy* lacks *side*. Raises IgnoredError if asked to *ignore* the line then."""
    if proxy.capability & side:
        return
    lack = "neither frontend nor backend"
    if side is not BOTH:
        lack = "no frontend" if side is FRONT else "no backend"
    context.report.warn(
        line.origin,
        f"'{name or line[0]}' ignored because {proxy.describe} '{proxy.name}' has {lack}"
        f" capability.{hint}",
    )
    if ignore:
        raise IgnoredError


def not_in_defaults(proxy: ProxyDraft, name: str) -> None:
    """Refuse a keyword that a defaults section may not hold."""
    if proxy.capability & Capability.DEFAULTS:
        raise LineError(f"'{name}' not allowed in 'defaults' section.")


def duration(context: Context, line: Line, text: str, what: str) -> int:
    """A duration in ms, in the wording of resolvers sections. Raises LineError."""
    try:
        value, rest = parse_time(text)
    except DurationError as bad:
        if bad.char is not None:
            raise LineError(f"unexpected character '{bad.char}' in argument to <{what}>.") from None
        raise LineError(
            f"timer overflow in argument <{text}> to <{what}>, maximum value is 2147483647 ms"
            " (~24.8 days)."
        ) from None
    if rest:
        context.report.warn(line.origin, trailing_message(text, rest), parsing=False)
    return value


def mux_protocol(value: str, word: str = "proto") -> str:
    """*value*, a protocol of connections that HAProxy knows. Raises LineError."""
    if value not in MUX_PROTOCOLS:
        raise LineError(f"'{word}' :  unknown MUX protocol '{value}'")
    return value
