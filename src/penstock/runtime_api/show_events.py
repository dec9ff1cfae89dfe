# SPDX-License-Identifier: Apache-2.0
"""``show events``: what the rings hold."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.events import Level
from penstock.logs.ring import Reader
from penstock.logs.rings import RingError
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, Message, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel

_FILES = (("stdout", "standard output (fd#1)"), ("stderr", "standard output (fd#2)"))
_WAITING = frozenset({"-w", "-nw", "-wn"})
_NEW = frozenset({"-n", "-nw", "-wn"})


def _show_events(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    rings = context.runtime.rings
    name = arguments[2]
    if not name:
        return Message(_sinks(context), Level.WARNING)
    if context.session.level < AccessLevel.OPERATOR:
        raise CommandFailed("Permission denied")
    if any(name == one for one, _ in _FILES):
        return Message("Nothing to report for this sink", Level.NOTICE)
    try:
        ring = rings.ring(name) if rings is not None else None
    except RingError:
        ring = None
    if ring is None:
        raise CommandFailed("No such event sink")
    said = set(arguments[3:])
    if not said <= _WAITING | _NEW:
        raise CommandFailed("unknown option")
    if said & _WAITING:
        raise CommandFailed("'show events' does not wait for events here: ask again without -w")
    return _events(ring.reader(new_only=bool(said & _NEW)))


def _sinks(context: Context) -> str:
    rings = context.runtime.rings
    lines = ["Supported events sinks are listed below. Add -w(wait), -n(new). Any key to stop"]
    lines += [f"    {name:<10} : type=fd, 0 dropped, {what}" for name, what in _FILES]
    for one in rings.specs() if rings is not None else ():
        dropped = rings.ring(one.name).dropped if rings is not None else 0
        lines.append(f"    {one.name:<10} : type=buffer, {dropped} dropped, {one.description}")
    return "\n".join(lines) + "\n"


def _events(reader: Reader) -> Iterator[str]:
    """In pieces; what comes while they are taken is shown too."""
    try:
        while (event := reader.take()) is not None:
            yield event.decode("utf-8", "surrogateescape") + "\n"
    finally:
        reader.close()


COMMANDS = (
    command(
        "show events",
        "show events [<sink>] [-w] [-n]          : show event sink state",
        _show_events,
    ),
)
