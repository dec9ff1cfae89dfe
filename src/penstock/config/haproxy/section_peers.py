# SPDX-License-Identifier: Apache-2.0
"""peers sections: who stick tables are shared with (manual 3.5)."""

from __future__ import annotations

from penstock.config.haproxy.address import AddressError, Allow, Target, parse_address
from penstock.config.haproxy.bind_line import read_bind_options
from penstock.config.haproxy.draft import BACK, BindLine, Line, ProxyDraft, ServerOptions
from penstock.config.haproxy.keywords import (
    BIND,
    BIND_ARGUMENTS,
    SERVER,
    SERVER_ARGUMENTS,
)
from penstock.config.haproxy.keywords.other import PEERS
from penstock.config.haproxy.lexer import invalid_char
from penstock.config.haproxy.log_line import parse_log
from penstock.config.haproxy.lower_proxied import local_address
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, StopError
from penstock.config.haproxy.section_drafts import PeersDraft
from penstock.config.haproxy.server_line import read_server_options
from penstock.config.haproxy.stick_lines import no_second_table, read_table
from penstock.config.haproxy.suggest import closest
from penstock.config.haproxy.tls_words import listener_tls, server_tls
from penstock.model import Address
from penstock.proxied import LocalAddress
from penstock.stick.sections import Peer

# Options of servers that HAProxy takes here and does not use.
_USELESS = frozenset({"init-addr", "resolvers", "check", "agent-check"})


def parse_peers(context: Context, line: Line) -> None:
    """One line of a peers section."""
    if line[0] == "peers":
        _head(context, line)
        return
    section = context.draft.peers[-1] if context.draft.peers else None
    if line[0] not in PEERS:
        raise LineError(f"unknown keyword '{line[0]}' in 'peers' section")
    if section is None:
        return
    match line[0]:
        case "disabled" | "enabled":
            section.disabled = line[0] == "disabled"
            return
        case "bind" | "default-bind":
            _bind(context, section, line)
        case "peer" | "server":
            _peer(context, section, line)
        case "default-server":
            _options(context, line, 1, "default-server")
            _server_options(context, section, line)
        case "table":
            _table(context, section, line)
        case "log":
            parse_log(context, line, in_proxy=True)
    section.lines = True


def _head(context: Context, line: Line) -> None:
    name = line[1]
    if not name:
        raise StopError("missing name for peers section.")
    if line[2]:
        raise LineError(f"'peers' cannot handle unexpected argument '{line[2]}'.")
    if (char := invalid_char(name)) is not None:
        raise StopError(f"character '{char}' is not permitted in 'peers' name '{name}'.")
    for other in context.draft.peers:
        if other.name == name:
            # HAProxy reads on, in a section of its own.
            context.report.error(
                line.origin,
                f"peers section '{name}' has the same name as another peers section declared at"
                f" {other.origin}.",
            )
    local = context.environ.get("HAPROXY_LOCALPEER", "")
    context.draft.peers.append(PeersDraft(name, local, line.origin))


def _bind(context: Context, section: PeersDraft, line: Line) -> None:
    at = 1
    if line[0] == "bind":
        if section.peer_lines:
            raise LineError('mixing "peer" and "bind" line is forbidden')
        if section.bound is not None:
            raise LineError(
                'One listener per "peers" section is authorized but another is already'
                f" configured at [{section.bound}]."
            )
        if line[1]:
            section.listen = _endpoint(context, line, line[1], f"'bind {line[1]}'")
        section.bound = line.origin
        at = 2
    while word := line[at]:
        keyword = BIND.get(word)
        if keyword is None:
            best = closest(word, list(BIND))
            hint = f"; did you mean '{best}' maybe ?" if best else "."
            raise LineError(
                f"'{line[0]} {line[1]}' in section 'peers': unknown keyword '{word}'{hint}"
            )
        at += 1 + BIND_ARGUMENTS.get(word, 0)
    if section.bind is None:
        section.bind = BindLine(line.origin, "")
    read_bind_options(context, section.bind, line, 2 if line[0] == "bind" else 1)
    if section.bind.ssl:
        section.own_tls = listener_tls(section.bind.tls, context.draft.global_.tls)


def _peer(context: Context, section: PeersDraft, line: Line) -> None:
    name, text = line[1], line[2]
    local = name == section.local
    if line[0] == "peer":
        if section.bound is not None:
            raise LineError('mixing "peer" and "bind" line is forbidden')
        section.peer_lines = True
    if local and section.local_origin is not None:
        raise LineError(
            f"'{line[0]} {name}' : local peer name already referenced at"
            f" {section.local_origin}. {name}"
        )
    if local and line[0] == "server":
        section.local_origin = line.origin
        if text and text not in SERVER:
            raise LineError(
                f"'server {name}/{name}' : unknown keyword '{text}'. Hint: no address was expected"
                " for this server.",
            )
        _options(context, line, 2, f"{line[0]} {name}")
        options = _server_options(context, section, line, 2)
        if options.ssl:
            section.local_tls = server_tls(options.tls, context.draft.global_.tls)
        return
    if not text:
        return  # HAProxy takes no notice
    where = _endpoint(context, line, text, f"'{line[0]} {name}'")
    if local:
        section.listen, section.local_origin = where, line.origin
    _options(context, line, 3, f"{line[0]} {name}")
    if local or where is None:
        return
    address, port = where
    if isinstance(address, LocalAddress):
        raise LineError(f"'{line[0]} {name}' : '{text}' is no address of a network.")
    options = _server_options(context, section, line)
    tls = server_tls(options.tls, context.draft.global_.tls) if options.ssl else None
    section.peers.append(Peer(name, address, port, line.origin, tls))


def _server_options(
    context: Context, section: PeersDraft, line: Line, at: int = 3
) -> ServerOptions:
    """As of any server, with what default-server lines before it say."""
    if section.servers is None:
        section.servers = ProxyDraft("peers", section.name, BACK, section.origin)
    if line[0] == "default-server":
        return read_server_options(context, section.servers, line, 1, "")
    return read_server_options(context, section.servers, line, at, line[1])


def _options(context: Context, line: Line, at: int, shown: str) -> None:
    """Words after a peer's address: HAProxy's server options, of which those of TLS are used."""
    while word := line[at]:
        if word not in SERVER:
            best = closest(word, list(SERVER))
            hint = f"; did you mean '{best}' maybe ?" if best else "."
            raise LineError(f"'{shown}' : unknown keyword '{word}'{hint}")
        if word in _USELESS:
            context.report.warn(
                line.origin,
                f"'{shown}' : init_addr, resolvers, check and agent are ignored for peers.",
            )
        at += 1 + SERVER_ARGUMENTS.get(word, 0)


def _table(context: Context, section: PeersDraft, line: Line) -> None:
    name = line[1]
    no_second_table(context, name)
    table = read_table(context, line, f"{section.name}/{name}", 2, in_peers=True)
    section.tables.append(table)


def _endpoint(
    context: Context, line: Line, text: str, shown: str
) -> tuple[Address | LocalAddress, int] | None:
    """An address with its port, or a socket of another kind. Raises LineError."""
    allowed = Allow.PORT | Allow.NAME
    if line[0] != "server":  # without a port it is one that never answers
        allowed |= Allow.PORT_NEEDED
    if line[0] == "bind":
        allowed |= Allow.SOCKET
    try:
        target = parse_address(text, allowed, context.environ)
    except AddressError as bad:
        raise LineError(f"{shown} : {bad}") from None
    local = local_address(target)
    if local is not None:
        return local, 0
    address = _address(context, target)
    if target.hostname is not None and address is None:
        raise LineError(f"{shown} : invalid address: '{target.hostname}' in '{text}'")
    return None if address is None else (address, target.low)


def _address(context: Context, target: Target) -> Address | None:
    if target.hostname is not None:
        return context.resolve(target.hostname, target.family)
    return target.address
