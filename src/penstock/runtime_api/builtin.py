# SPDX-License-Identifier: Apache-2.0
"""Commands about the conversation itself: help, prompt, levels, timeouts."""

from __future__ import annotations

from ipaddress import IPv6Address

from penstock.config.haproxy.units import DurationError, TimeUnit, parse_time
from penstock.proxied import LocalAddress
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, Message, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.usage import usage
from penstock.runtime_sockets import AccessLevel, RuntimeSocket, SeverityOutput


def _help(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    session = context.session
    visible = [
        one
        for one in context.runtime.registry.commands
        if (session.expert or not one.expert) and (session.experimental or not one.experimental)
    ]
    return Message(usage(visible, arguments))


def _prompt(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    context.session.interactive = not context.session.interactive
    return ""


def _quit(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    context.session.closing = True
    return ""


def _lower(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    session = context.session
    session.bare = arguments[1] == "-"
    wanted = AccessLevel[arguments[0].upper()]
    if session.level < wanted:
        raise CommandFailed("Permission denied")
    session.level = wanted
    session.expert = session.experimental = False
    return ""


def _mode(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    session, name = context.session, arguments[0]
    attribute = "expert" if name == "expert-mode" else "experimental"
    if not arguments[1]:
        return Message(f"{name} is {'ON' if getattr(session, attribute) else 'OFF'}")
    setattr(session, attribute, arguments[1] == "on")
    return ""


def _set_timeout(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    if arguments[2] != "cli":
        raise CommandFailed("'set timeout' only supports 'cli'.")
    if not arguments[3]:
        raise CommandFailed("Expects an integer value.")
    try:
        seconds, rest = parse_time(arguments[3], TimeUnit.S)
    except DurationError:
        seconds, rest = 0, ""
    if seconds < 1 or rest:
        raise CommandFailed("Invalid timeout value.")
    context.session.timeout = float(seconds)
    return ""


def _set_severity(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    try:
        context.session.severity = SeverityOutput(arguments[2])
    except ValueError:
        raise CommandFailed("one of 'none', 'number', 'string' is a required argument") from None
    return ""


def _show_level(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    return Message(context.session.level.name.lower())


def _show_sockets(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    lines = ["# socket lvl processes"]
    for one in context.runtime.sockets:
        lines.append(f"{socket_name(one)} {one.level.name.lower()} all")
    return "\n".join(lines) + "\n"


def socket_name(one: RuntimeSocket) -> str:
    """Where it listens, with the kind of the address in front."""
    listener = one.listener
    where = listener.address
    if isinstance(where, LocalAddress):
        return f"{where.kind}@{where.name}"
    port = listener.ports.first if listener.ports is not None else 0
    if isinstance(where, IPv6Address):
        return f"ipv6@[{where}]:{port}"
    return f"ipv4@{where}:{port}"


COMMANDS = (
    command("help", "", _help),
    command("prompt", "", _prompt),
    command("quit", "", _quit),
    command(
        "operator",
        "operator                                :"
        " lower the level of the current CLI session to operator",
        _lower,
    ),
    command(
        "user",
        "user                                    :"
        " lower the level of the current CLI session to user",
        _lower,
    ),
    command("expert-mode", "", _mode, AccessLevel.ADMIN),
    command("experimental-mode", "", _mode, AccessLevel.ADMIN),
    command(
        "set timeout",
        "set timeout [cli] <delay>               : change a timeout setting",
        _set_timeout,
    ),
    command(
        "set severity-output",
        "set severity-output [none|number|string]:"
        " set presence of severity level in feedback information",
        _set_severity,
    ),
    command(
        "show cli level",
        "show cli level                          : display the level of the current CLI session",
        _show_level,
    ),
    command(
        "show cli sockets",
        "show cli sockets                        : dump list of cli sockets",
        _show_sockets,
    ),
)
