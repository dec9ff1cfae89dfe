# SPDX-License-Identifier: Apache-2.0
"""``show resolvers``: how name servers answer (HAProxy's src/resolvers.c)."""

from __future__ import annotations

from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, command
from penstock.runtime_api.request import Arguments

_COUNTS = (
    *("sent", "snd_error", "valid", "update", "cname", "cname_error", "any_err", "nx", "timeout"),
    *("refused", "other", "invalid", "too_big", "truncated", "outdated"),
)
_DEFAULT = "default"  # of resolv.conf's name servers: HAProxy has it where nobody declares it


def _show_resolvers(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    # What asks name servers takes its time to import.
    from penstock.config.resolve import labels, system_nameservers  # noqa: PLC0415

    found = {one.name: labels(one) for one in context.controller.resolvers}
    if _DEFAULT not in found and (system := system_nameservers()):
        found[_DEFAULT] = system
    wanted = arguments[2]
    if wanted:
        if wanted not in found:
            raise CommandFailed("Can't find that resolvers section\n")
        found = {wanted: found[wanted]}
    if not found:
        return "No resolvers found\n"
    ledger = context.controller.ledger
    lines = []
    for section, nameservers in found.items():
        lines.append(f"Resolvers section {section}\n")
        for one in nameservers:
            counts = ledger.of(section, one)
            lines.append(f" nameserver {one}:\n")
            lines += [f"  {f'{what}:':<12} {counts.get(what, 0)}\n" for what in _COUNTS]
    return "".join(lines)


COMMANDS = (
    command(
        "show resolvers",
        "show resolvers [id]                     :"
        " dumps counters from all resolvers section and associated name servers",
        _show_resolvers,
    ),
)
