# SPDX-License-Identifier: Apache-2.0
"""ACLs and maps: ``show``, ``get``, ``add``, ``set``, ``del``, ``clear`` and their versions.

Management guide, 9.3; HAProxy's src/map.c. What is changed holds until the next reload, which reads
the files again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from penstock.c_numbers import atol
from penstock.control.listed import References
from penstock.rules.arguments import RuleError
from penstock.rules.references import Entry, Reference, VersionError
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, Command, CommandFailed, Message, command
from penstock.runtime_api.request import Arguments

_PAGE = 200  # entries made at a time


@dataclass(frozen=True, slots=True)
class Kind:
    """ACLs or maps."""

    map: bool

    @property
    def word(self) -> str:
        return "map" if self.map else "acl"

    @property
    def shown(self) -> str:
        return "map" if self.map else "ACL"

    @property
    def unknown(self) -> str:
        return f"Unknown {self.shown} identifier. Please use #<id> or <file>."


ACLS, MAPS = Kind(map=False), Kind(map=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The words after the command: a version, if there is one, and all others."""

    version: int | None
    words: Arguments


def _asked(arguments: Arguments) -> _Asked:
    if arguments[2].startswith("@"):
        return _Asked(atol(arguments[2][1:]), Arguments(arguments[3:]))
    return _Asked(None, Arguments(arguments[2:]))


def _find(context: Context, kind: Kind, name: str, unknown: str = "") -> Reference:
    found = context.controller.references.find(name, maps=kind.map)
    if found is None:
        raise CommandFailed(unknown or kind.unknown)
    return found


def _show(kind: Kind, context: Context, arguments: Arguments, payload: str | None) -> Answer:
    asked = _asked(arguments)
    if not asked.words[0]:
        return _listing(kind, context.controller.references)
    reference = _find(context, kind, asked.words[0])
    return _dump(reference.of_version(asked.version))


def _listing(kind: Kind, references: References) -> str:
    lines = ["# id (file) description\n"]
    lines += [
        f"{one.number} ({one.file}) {one.description}. curr_ver={one.current}"
        f" next_ver={one.prepared} entry_cnt={len(one.entries)}\n"
        for one in references
        if (one.map if kind.map else one.acl)
    ]
    return "".join(lines)


def _dump(entries: list[Entry]) -> Iterator[str]:
    for at in range(0, len(entries), _PAGE):
        yield "".join(map(_line, entries[at : at + _PAGE]))


def _line(entry: Entry) -> str:
    value = "" if entry.value is None else f" {entry.value}"
    return f"{entry.place:#x} {entry.key}{value}\n"


def _get(kind: Kind, context: Context, arguments: Arguments, payload: str | None) -> Answer:
    if not arguments[2] or not arguments[3]:
        raise CommandFailed(f"Missing {kind.shown} identifier and/or key.")
    reference = _find(context, kind, arguments[2])
    return "".join(
        reference.answer(reader, arguments[3])
        for reader in reference.readers
        if (reader.output is not None) is kind.map
    )


def _add(kind: Kind, context: Context, arguments: Arguments, payload: str | None) -> Answer:
    asked = _asked(arguments)
    name, key, value = asked.words[0], asked.words[1], asked.words[2]
    if kind.map:
        whole = name and (payload is not None or (key and value))
        if not whole:
            raise CommandFailed(
                "'add map' expects three parameters (map identifier, key and value) or one"
                " parameter (map identifier) and a payload"
            )
    elif not name or not key:
        raise CommandFailed("'add acl' expects two parameters: ACL identifier and pattern.")
    reference = _find(context, kind, name)
    if asked.version is not None and asked.version > reference.prepared:
        raise CommandFailed(
            f"Version number in the future, please use 'prepare {kind.word}' before."
        )
    version = reference.current if asked.version is None else asked.version
    pairs: Iterator[tuple[str, str | None]]
    if kind.map and payload is not None:
        pairs = _pairs(payload)
    else:
        pairs = iter([(key, value if kind.map else None)])
    failed: CommandFailed | None = None
    try:
        for one, what in pairs:
            reference.check(one, what)
            reference.entries.append(context.controller.references.places.entry(one, what, version))
            reference.changed |= version == reference.current
    except RuleError as error:
        failed = CommandFailed(f"{error.message}.")
    except CommandFailed as error:  # what stands before it holds, as in HAProxy
        failed = error
    context.controller.lists_have_changed()
    if failed is not None:
        raise failed
    return ""


def _pairs(payload: str) -> Iterator[tuple[str, str]]:
    """The lines of a payload, each a key and what follows it."""
    for line in payload.split("\n"):
        words = line.strip(" \t").replace("\t", " ")
        if not words:
            continue
        key, _, value = words.partition(" ")
        value = value.strip(" ")
        if not value:
            raise CommandFailed(f"Missing value for key '{key}'.")
        yield key, value


def _delete(kind: Kind, context: Context, arguments: Arguments, payload: str | None) -> Answer:
    if not arguments[2] or not arguments[3]:
        raise CommandFailed(
            f"This command expects two parameters: {kind.shown} identifier and key."
        )
    # HAProxy's sentence is that of maps for both.
    reference = _find(context, kind, arguments[2], MAPS.unknown)
    if not reference.remove(arguments[3]):
        raise CommandFailed("Key not found.")
    context.controller.lists_have_changed()
    return ""


def _set(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    if not (arguments[2] and arguments[3] and arguments[4]):
        raise CommandFailed("'set map' expects three parameters: map identifier, key and value.")
    reference = _find(context, MAPS, arguments[2])
    found = reference.find(arguments[3])
    if not found:
        by_place = arguments[3].startswith("#")
        raise CommandFailed("key or pattern not found." if by_place else "entry not found.")
    try:
        reference.check(found[0].key, arguments[4])
    except RuleError:
        return ""  # HAProxy says nothing either, and keeps what there was
    reference.assign(arguments[3], arguments[4])
    context.controller.lists_have_changed()
    return ""


def _clear(kind: Kind, context: Context, arguments: Arguments, payload: str | None) -> Answer:
    asked = _asked(arguments)
    if not asked.words[0]:
        raise CommandFailed(f"Missing {kind.shown} identifier.")
    _find(context, kind, asked.words[0]).clear(asked.version)
    context.controller.lists_have_changed()
    return ""


def _prepare(kind: Kind, context: Context, arguments: Arguments, payload: str | None) -> Answer:
    return Message(f"New version created: {_find(context, kind, arguments[2]).prepare()}")


def _commit(kind: Kind, context: Context, arguments: Arguments, payload: str | None) -> Answer:
    asked = _asked(arguments)
    if asked.version is None:
        raise CommandFailed("Missing version number.")
    reference = _find(context, kind, asked.words[0])
    try:
        reference.commit(asked.version)
    except VersionError as error:
        raise CommandFailed(str(error)) from None
    context.controller.lists_have_changed()
    return ""


_Handler = Callable[[Context, Arguments, str | None], Answer]


def _both(verb: str, usage: tuple[str, str], act: Callable[..., Answer]) -> tuple[Command, Command]:
    """A row for ACLs and one for maps."""
    acl: _Handler = partial(act, ACLS)
    map_: _Handler = partial(act, MAPS)
    return (
        command(f"{verb} acl", usage[0], acl),
        command(f"{verb} map", usage[1], map_),
    )


COMMANDS = (
    *_both(
        "add",
        (
            "add acl [@<ver>] <acl> <pattern>        : add an acl entry",
            "add map [@<ver>] <map> <key> <val>      :"
            " add a map entry (payload supported instead of key/val)",
        ),
        _add,
    ),
    *_both(
        "clear",
        (
            "clear acl [@<ver>] <acl>                : clear the contents of this acl",
            "clear map [@<ver>] <map>                : clear the contents of this map",
        ),
        _clear,
    ),
    *_both(
        "commit",
        (
            "commit acl @<ver> <acl>                 : commit the ACL at this version",
            "commit map @<ver> <map>                 : commit the map at this version",
        ),
        _commit,
    ),
    *_both(
        "del",
        (
            "del acl <acl> [<key>|#<ref>]            : delete acl entries matching <key>",
            "del map <map> [<key>|#<ref>]            : delete map entries matching <key>",
        ),
        _delete,
    ),
    *_both(
        "get",
        (
            "get acl <acl> <value>                   :"
            " report the patterns matching a sample for an ACL",
            "get map <acl> <value>                   :"
            " report the keys and values matching a sample for a map",
        ),
        _get,
    ),
    *_both(
        "prepare",
        (
            "prepare acl <acl>                       :"
            " prepare a new version for atomic ACL replacement",
            "prepare map <acl>                       :"
            " prepare a new version for atomic map replacement",
        ),
        _prepare,
    ),
    command(
        "set map",
        "set map <map> [<key>|#<ref>] <value>    : modify a map entry",
        _set,
    ),
    *_both(
        "show",
        (
            "show acl [@<ver>] <acl>]                :"
            " report available acls or dump an acl's contents",
            "show map [@ver] [map]                   :"
            " report available maps or dump a map's contents",
        ),
        _show,
    ),
)
