# SPDX-License-Identifier: Apache-2.0
"""ring and log-forward sections (manual 3.9 and 3.10)."""

from __future__ import annotations

from penstock.c_numbers import atol
from penstock.config.haproxy.bind_line import parse_bind
from penstock.config.haproxy.draft import BACK, FRONT, BindLine, Line, ProxyDraft
from penstock.config.haproxy.keywords import OTHER
from penstock.config.haproxy.lexer import invalid_char
from penstock.config.haproxy.log_line import Else, heading_named, parse_log
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, StopError
from penstock.config.haproxy.section_drafts import ForwardDraft, RingDraft
from penstock.config.haproxy.server_line import parse_server
from penstock.config.haproxy.syntax import at_most, duration
from penstock.logs.model import BUILTIN_RING, Target

_TAKEN = ("stdout", "stderr", BUILTIN_RING.name)  # names that HAProxy's own sinks have


def parse_ring(context: Context, line: Line) -> None:
    """One line of a ring section."""
    if line[0] == "ring":
        _ring_head(context, line)
        return
    ring = context.draft.rings[-1] if context.draft.rings else None
    if line[0] not in OTHER["ring"]:
        raise LineError(f"unknown statement '{line[0]}'.")
    if ring is None:
        return
    match line[0]:
        case "size":
            _ring_size(ring, line[1])
        case "maxlen":
            ring.longest = atol(line[1])
            if ring.longest <= 0:
                raise LineError(f"invalid size '{line[1]}' for new sink buffer.")
        case "format":
            _ring_format(ring, line[1])
        case "description":
            if not line[1]:
                raise LineError("missing ring description text.")
            ring.description = line[1]
        case "backing-file":
            context.report.warn(
                line.origin,
                f"'backing-file {line[1]}' is not carried out: rings are kept in memory alone.",
                own=True,
            )
        case "timeout":
            _ring_timeout(context, ring, line)
        case "server":
            _ring_server(context, ring, line)


def _ring_head(context: Context, line: Line) -> None:
    name = line[1]
    if not name:
        raise LineError("missing ring name.")
    if (char := invalid_char(name)) is not None:
        raise LineError(f"invalid ring name '{name}' (character '{char}' is not permitted).")
    if name in _TAKEN or any(one.name == name for one in context.draft.rings):
        raise LineError(f"sink named '{name}' already exists.")
    context.draft.rings.append(
        RingDraft(name, line.origin, name, ProxyDraft("ring", name, BACK, line.origin))
    )


def _ring_size(ring: RingDraft, text: str) -> None:
    size = atol(text)
    if size <= 0:
        raise LineError(f"invalid size '{text}' for new sink buffer.")
    if size < ring.size:
        raise LineError(  # HAProxy labels it a warning, and refuses the file for it
            f"ignoring new size '{size}' that is smaller than current size '{ring.size}' for ring"
            f" '{ring.name}'."
        )
    ring.size = size


def _ring_format(ring: RingDraft, text: str) -> None:
    heading = heading_named(text)
    if heading is None:
        raise LineError(f"unknown format '{text}'.")
    ring.heading = heading


def _ring_timeout(context: Context, ring: RingDraft, line: Line) -> None:
    if line[1] not in ("connect", "server"):
        return  # HAProxy takes no notice
    if not line[2]:
        raise LineError(f"'timeout {line[1]}' expects <time> as argument.")
    value = duration(context, line, line[2], f"timeout {line[1]}")
    if line[1] == "connect":
        ring.connect_timeout = value


def _ring_server(context: Context, ring: RingDraft, line: Line) -> None:
    parse_server(context, ring.proxy, line)
    if ring.proxy.servers and ring.proxy.servers[-1].options.ssl:
        raise LineError(f"'server {ring.name}/{line[1]}' : TLS is not spoken to servers of a ring.")


def parse_log_forward(context: Context, line: Line) -> None:
    """One line of a log-forward section."""
    if line[0] == "log-forward":
        _forward_head(context, line)
        return
    section = context.draft.log_forwards[-1] if context.draft.log_forwards else None
    if line[0] not in OTHER["log-forward"]:
        raise StopError(f"unknown keyword '{line[0]}' in log-forward section.")
    if section is None:
        return
    match line[0]:
        case "bind" | "dgram-bind":
            _bind(context, section, line)
        case "log":
            said = parse_log(context, line, in_proxy=False)
            if said is Else.NONE:
                section.targets.clear()
            elif isinstance(said, Target):
                section.targets.append(said)
        case "maxconn" | "backlog":
            if not line[1]:
                raise LineError(f"'{line[0]}' expects an integer argument.")
            setattr(section, line[0], atol(line[1]))
            at_most(line, 1)
        case "timeout":
            if line[1] != "client":
                raise LineError(f"unknown keyword 'timeout {line[1]}' in log-forward section.")
            if not line[2]:
                raise LineError("missing timeout client value.")
            section.client_timeout = duration(context, line, line[2], "timeout client")


def _forward_head(context: Context, line: Line) -> None:
    name = line[1]
    if not name:
        raise StopError("missing name for ip-forward section.")
    at_most(line, 1)
    if (char := invalid_char(name)) is not None:
        raise StopError(f"character '{char}' is not permitted in 'log-forward' name '{name}'.")
    for other in context.draft.log_forwards:
        if other.name == name:
            context.report.error(
                line.origin,
                f"log-forward section '{name}' has the same name as another log-forward section"
                f" declared at {other.origin}.",
            )
    for proxy in context.draft.proxies:
        if proxy.name == name:
            context.report.error(
                line.origin,
                f"log forward section '{name}' has the same name as {proxy.describe}"
                f" '{proxy.name}' declared at {proxy.origin}.",
            )
    context.draft.log_forwards.append(
        ForwardDraft(name, line.origin, ProxyDraft("log-forward", name, FRONT, line.origin))
    )


def _bind(context: Context, section: ForwardDraft, line: Line) -> None:
    """A socket's address and options, as of any bind line."""
    parse_bind(context, section.proxy, line)
    made: BindLine = section.proxy.binds.pop()
    if made.ssl:
        raise LineError(f"'{line[0]} {line[1]}' : TLS is not spoken with those who send log lines.")
    (section.streams if line[0] == "bind" else section.datagrams).append(made)
