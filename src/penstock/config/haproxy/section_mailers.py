# SPDX-License-Identifier: Apache-2.0
"""mailers sections: who takes the mails that ``email-alert`` asks for (manual 3.6)."""

from __future__ import annotations

from penstock.config.haproxy.address import AddressError, Allow, parse_address
from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.lexer import invalid_char
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, StopError
from penstock.config.haproxy.section_drafts import MailersDraft
from penstock.config.haproxy.syntax import duration
from penstock.mail.model import Mailer
from penstock.terms import Address


def parse_mailers(context: Context, line: Line) -> None:
    """One line of a mailers section."""
    if line[0] == "mailers":
        _head(context, line)
        return
    section = context.draft.mailers[-1]
    match line[0]:
        case "mailer":
            section.mailers.append(_mailer(context, line))
        case "timeout":
            section.patience = _timeout(context, line)
        case unknown:
            raise LineError(f"unknown keyword '{unknown}' in 'mailers' section")


def _head(context: Context, line: Line) -> None:
    name = line[1]
    if not name:
        raise StopError("missing name for mailers section.")
    if (char := invalid_char(name)) is not None:
        raise StopError(f"character '{char}' is not permitted in 'mailers' name '{name}'.")
    for other in context.draft.mailers:
        if other.name == name:
            # HAProxy reads on, in a section of its own.
            context.report.error(
                line.origin,
                f"mailers section '{name}' has the same name as another mailers section declared"
                f" at {other.origin}.",
            )
    context.draft.mailers.append(MailersDraft(name, line.origin))


def _mailer(context: Context, line: Line) -> Mailer:
    name, text = line[1], line[2]
    if not text:
        raise LineError("'mailer' expects <name> and <addr>[:<port>] as arguments.")
    if (char := invalid_char(name)) is not None:
        raise LineError(f"character '{char}' is not permitted in server name '{name}'.")
    try:
        target = parse_address(text, Allow.PORT | Allow.PORT_NEEDED | Allow.NAME, context.environ)
    except AddressError as bad:
        raise LineError(f"'mailer {name}' : {bad}") from None
    address: Address | None = target.address
    if target.hostname is not None:
        address = context.resolve(target.hostname, target.family)
        if address is None:
            raise LineError(f"'mailer {name}' : invalid address: '{target.hostname}' in '{text}'")
    if address is None:
        raise LineError(f"'mailer {name}' : TCP not supported for this address family.")
    return Mailer(name, address, target.low)


def _timeout(context: Context, line: Line) -> int:
    if not line[1]:
        raise LineError("'timeout' expects 'mail' and <time> as arguments.")
    if line[1] != "mail":
        raise LineError(f"'timeout' expects 'mail' and <time> as arguments got '{line[1]}'.")
    if not line[2]:
        raise LineError("'timeout mail' expects <time> as argument.")
    return duration(context, line, line[2], "timeout mail")
