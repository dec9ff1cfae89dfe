# SPDX-License-Identifier: Apache-2.0
"""resolvers sections, and those of which only the keywords are checked."""

from __future__ import annotations

from penstock.c_numbers import atol
from penstock.config.haproxy.address import AddressError, Allow, parse_address
from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.keywords import OTHER, RESOLVERS, SECTIONS, Status
from penstock.config.haproxy.lexer import invalid_char
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, StopError
from penstock.config.haproxy.section_drafts import NameServer, ResolversDraft
from penstock.config.haproxy.syntax import duration

_MISSING_NAME = {
    "peers": "missing name for peers section.",
    "http-errors": "missing name for http-errors section.",
    "fcgi-app": "'fcgi-app' expects <name> as argument.",
}
_HOLDS = ("nx", "timeout", "refused", "other", "valid", "obsolete")


def parse_resolvers(context: Context, line: Line) -> None:
    """One line of a resolvers section."""
    if line[0] == "resolvers":
        _resolvers_head(context, line)
        return
    section = context.draft.resolvers[-1] if context.draft.resolvers else None
    if line[0] not in RESOLVERS:
        raise LineError(f"unknown keyword '{line[0]}' in '{context.section}' section")
    if section is None:
        return
    match line[0]:
        case "nameserver":
            _nameserver(context, section, line)
        case "parse-resolv-conf":
            section.parse_resolv_conf = True
        case "hold":
            _hold(context, section, line)
        case "timeout":
            _timeout(context, section, line)
        case "resolve_retries":
            if not line[1]:
                raise LineError("'resolve_retries' expects <nb> as argument.")
            section.resolve_retries = atol(line[1])
        case "accepted_payload_size":
            if not line[1]:
                raise LineError("'accepted_payload_size' expects <nb> as argument.")
            size = atol(line[1])
            if not 12 <= size <= 65535:
                raise LineError(
                    "'accepted_payload_size' must be between 12 and 65535 inclusive"
                    f" (was {line[1]})."
                )
            section.accepted_payload_size = size


def _resolvers_head(context: Context, line: Line) -> None:
    name = line[1]
    if not name:
        raise StopError("missing name for resolvers section.")
    if (char := invalid_char(name)) is not None:
        raise StopError(f"character '{char}' is not permitted in 'resolvers' name '{name}'.")
    for other in context.draft.resolvers:
        if other.name == name:
            raise StopError(
                f"resolvers '{name}' has same name as another resolvers (declared at"
                f" {other.origin})."
            )
    context.draft.resolvers.append(ResolversDraft(name, line.origin))


def _nameserver(context: Context, section: ResolversDraft, line: Line) -> None:
    name, text = line[1], line[2]
    if not text:
        raise LineError("'nameserver' expects <name> and <addr>[:<port>] as arguments.")
    if (char := invalid_char(name)) is not None:
        raise LineError(f"character '{char}' is not permitted in server name '{name}'.")
    for other in section.nameservers:
        if other.name == name:
            # HAProxy reads on, so that a third one is told of both.
            context.report.error(
                line.origin,
                f"nameserver '{name}' has same name as another nameserver (declared at"
                f" {other.origin}).",
            )
    stream = text.removeprefix("tcp@").removeprefix("udp@")
    try:
        target = parse_address(stream, Allow.PORT | Allow.PORT_NEEDED, context.environ)
    except AddressError as bad:
        raise LineError(f"'nameserver {name}' : {bad}") from None
    if target.address is None:
        raise LineError(f"'nameserver {name}' : a UNIX socket is no name server")
    section.nameservers.append(NameServer(name, target.address, target.low, line.origin))


def _hold(context: Context, section: ResolversDraft, line: Line) -> None:
    if not line[2]:
        context.report.error(line.origin, "'hold' expects an <event> and a <time> as arguments.")
        raise LineError(
            "<event> can be either 'valid', 'nx', 'refused', 'timeout', or 'other'", parsing=False
        )
    value = duration(context, line, line[2], "hold")
    if line[1] not in _HOLDS:
        raise LineError(
            f"'hold' unknown <event>: '{line[1]}', expects either 'nx', 'timeout', 'valid',"
            " 'obsolete' or 'other'."
        )
    section.hold[line[1]] = value


def _timeout(context: Context, section: ResolversDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("'timeout' expects 'retry' or 'resolve' and <time> as arguments.")
    if line[1] not in ("retry", "resolve"):
        raise LineError(
            f"'timeout' expects 'retry' or 'resolve' and <time> as arguments got '{line[1]}'."
        )
    if not line[2]:
        raise LineError(f"'timeout {line[1]}' expects <time> as argument.")
    section.timeouts[line[1]] = duration(context, line, line[2], f"timeout {line[1]}")


def parse_other(context: Context, line: Line) -> None:
    """One line of a section that has no effect here."""
    name = context.section
    if line[0] == name:
        section = SECTIONS[name]
        if section.status is Status.REFUSED:
            raise LineError(f"'{name}' is not supported: {section.text}.")
        if not line[1]:
            raise StopError(_MISSING_NAME[name])
        if line[2] and name != "http-errors":
            raise LineError(f"'{name}' cannot handle unexpected argument '{line[2]}'.")
        if name == "http-errors":
            context.draft.http_errors.add(line[1])
        if section.status is Status.LATER:
            context.report.warn(
                line.origin,
                f"section '{name} {line[1]}' is not carried out: {section.text}.",
                own=True,
            )
        else:
            context.report.note(line.origin, f"section '{name}' is ignored: {section.text}.")
        return
    known = OTHER.get(name)
    if known is None:
        return  # the section itself was refused
    if line[0] not in known:
        raise LineError(f"unknown keyword '{line[0]}' in '{name}' section")
