# SPDX-License-Identifier: Apache-2.0
"""stick-table and stick lines: words -> specifications, with HAProxy's errors (manual 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.c_numbers import atol
from penstock.config.haproxy.draft import BACK, Capability, Line, ProxyDraft, StickLine
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.rules import read_condition, sources
from penstock.config.haproxy.syntax import not_in_defaults, warn_without
from penstock.config.haproxy.units import (
    DurationError,
    SizeError,
    parse_size,
    parse_time,
    trailing_message,
)
from penstock.rules.arguments import RuleError
from penstock.rules.expressions import read_expression
from penstock.rules.vocabulary import Checkpoint
from penstock.stick.data import ALIASES, DATA_TYPES, MAX_ARRAY, DataType, Kind
from penstock.stick.model import KeyType, ServerKey, StickKind, StickRule, Stored, TableSpec

_SIZE_MASK = 0xFFFFFFFF  # of an unsigned int
# Pairs that HAProxy does not let stand together, and its words for them.
_EXCLUSIVE = (
    (("gpt",), ("gpt0",), "'gpt' and 'gpt0'", "'gpt' overrides 'gpt0'"),
    (("gpc",), ("gpc0", "gpc1"), "'gpc' and 'gpc[0/1]'", "'gpc' overrides 'gpc[0/1]'"),
    (
        ("gpc_rate",),
        ("gpc0_rate", "gpc1_rate"),
        "'gpc_rate' and 'gpc[0/1]_rate'",
        "'gpc_rate' overrides 'gpc[0/1]_rate'",
    ),
)


_KINDS = {"store": StickKind.STORE_REQUEST, **{kind.value: kind for kind in StickKind}}


def parse_stick(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, "stick")
    warn_without(context, proxy, line, BACK, ignore=True)
    kind = _KINDS.get(line[1])
    if kind is None:
        raise LineError("'stick' expects 'on', 'match', or 'store'.")
    if not line[2]:
        raise LineError("'stick' expects a fetch method.")
    try:
        read = read_expression(line.words, 2, sources(context, line.origin))
    except RuleError as error:
        raise LineError(f"'stick': {error.message}") from None
    response = kind is StickKind.STORE_RESPONSE
    checkpoint = Checkpoint.STORE if response else Checkpoint.SERVER
    if not read.signature.at(checkpoint):
        when = "for 'store-response'" if response else "during request"
        raise LineError(
            f"'stick': fetch method '{read.signature.name}' extracts information from"
            f" '{read.signature.source}', none of which is available {when}."
        )
    at, table = read.next, None
    if line[at] == "table":
        table = line[at + 1]
        at += 2
    condition = None
    if line[at] in ("if", "unless"):
        try:
            condition = read_condition(context, proxy, line, at, checkpoint)
        except RuleError as error:
            raise LineError(
                f"'stick': error detected while parsing sticking condition : {error.message}."
            ) from None
    elif line[at]:
        raise LineError(f"'stick': unknown keyword '{line[at]}'.")
    proxy.sticks.append(
        StickLine(StickRule(kind, read.expression, table, condition, line.origin), read.output)
    )


def parse_stick_table(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if proxy.capability & Capability.DEFAULTS:
        raise LineError("'stick-table' is not supported in 'defaults' section.")
    no_second_table(context, proxy.name, proxy)
    proxy.stick_table = read_table(context, line, proxy.name, 1)
    proxy.rules["stick-table"] = line.origin


def no_second_table(context: Context, name: str, current: ProxyDraft | None = None) -> None:
    """Refuse a table of a name that a proxy has given one. Raises LineError."""
    for other in (*context.draft.proxies, *((current,) if current is not None else ())):
        first = other.rules.get("stick-table")
        if other.name == name and first is not None:
            raise LineError(
                f"stick-table name '{name}' conflicts with table declared in {other.describe}"
                f" '{name}' at {first}."
            )


@dataclass(slots=True)
class _Draft:
    """What has been read of a table so far."""

    key: KeyType | None = None
    key_length: int = 0
    size: int = 0
    expire: int = 0
    nopurge: bool = False
    peers: str | None = None
    server_key: ServerKey = ServerKey.NAME
    stored: dict[str, Stored] = field(default_factory=dict)


def read_table(
    context: Context, line: Line, name: str, at: int, *, in_peers: bool = False
) -> TableSpec:
    """The table that the words from *at* describe. Raises LineError."""
    draft = _Draft()
    keyword = line[0]
    while line[at]:
        at = _argument(context, draft, line, at, in_peers=in_peers)
    if not draft.size:
        raise LineError(f"{keyword}: missing size.")
    if draft.key is None:
        raise LineError(f"{keyword}: missing type.")
    return TableSpec(
        name=name,
        key=draft.key,
        size=draft.size,
        key_length=draft.key_length,
        expire=draft.expire or None,
        nopurge=draft.nopurge,
        stored=tuple(draft.stored.values()),
        peers=draft.peers,
        server_key=draft.server_key,
        origin=line.origin,
    )


def _argument(context: Context, draft: _Draft, line: Line, at: int, *, in_peers: bool) -> int:
    """Read the argument at *at*; where the next one is."""
    word, value = line[at], line[at + 1]
    match word:
        case "size":
            draft.size = _size(line, word, value)
        case "peers" if not in_peers:
            draft.peers = _needed(line, word, value)
        case "expire":
            draft.expire = _expire(context, line, word, value)
        case "nopurge":
            draft.nopurge = True
            return at + 1
        case "type":
            return _type(draft, line, at + 1)
        case "store":
            for option in _options(line, value):
                _store(context, draft, line, *option)
            _exclusive(draft, line)
        case "srvkey":
            if value not in tuple(ServerKey):
                raise LineError(f"{line[0]} : unknown server key type '{value}'.")
            draft.server_key = ServerKey(value)
        case _:
            raise LineError(f"{line[0]}: unknown argument '{word}'.")
    return at + 2


def _needed(line: Line, word: str, value: str) -> str:
    if not value:
        raise LineError(f"{line[0]}: missing argument after '{word}'.")
    return value


def _size(line: Line, word: str, value: str) -> int:
    try:
        return parse_size(_needed(line, word, value)) & _SIZE_MASK
    except SizeError as bad:
        raise LineError(
            f"{line[0]}: unexpected character '{bad.char}' in argument of '{word}'."
        ) from None


def _expire(context: Context, line: Line, word: str, value: str) -> int:
    try:
        result, rest = parse_time(_needed(line, word, value))
    except DurationError as bad:
        if bad.char is None:
            raise LineError(
                f"{line[0]}: timer overflow in argument <{value}> to <{word}>, maximum value is"
                " 2147483647 ms (~24.8 days)."
            ) from None
        raise LineError(
            f"{line[0]}: unexpected character '{bad.char}' in argument of '{word}'."
        ) from None
    if rest:
        context.report.warn(line.origin, trailing_message(value, rest), parsing=False)
    return result


def _type(draft: _Draft, line: Line, at: int) -> int:
    """Read the type at *at*, and its length; where the next word is."""
    if line[at] not in tuple(KeyType):
        raise LineError(f"{line[0]}: unknown type '{line[at]}'.")
    draft.key = KeyType(line[at])
    draft.key_length = 0
    at += 1
    if draft.key in (KeyType.STRING, KeyType.BINARY) and line[at] == "len":
        draft.key_length = atol(line[at + 1])
        if draft.key_length <= 0:
            raise LineError(f"{line[0]}: unknown type '{line[at + 1]}'.")
        at += 2
    return at


def _options(line: Line, text: str) -> list[tuple[str, list[str]]]:
    """``a,b(1),c(2,3s)`` -> names with their arguments. What follows a ``)`` is not looked at."""
    found: list[tuple[str, list[str]]] = []
    at = 0
    while at < len(text):
        end = at
        while end < len(text) and text[end] not in ",(":
            end += 1
        name = text[at:end]
        arguments: list[str] = []
        if text[end : end + 1] == "(":
            close = text.find(")", end)
            if close < 0:
                raise LineError(
                    f"{line[0]}: missing closing parenthesis after store option '{name}'."
                )
            arguments = text[end + 1 : close].split(",")
            comma = text.find(",", close)
            end = len(text) if comma < 0 else comma
        found.append((name, arguments))
        at = end + 1
    return found


def _store(context: Context, draft: _Draft, line: Line, shown: str, arguments: list[str]) -> None:
    name = ALIASES.get(shown, shown)
    data = DATA_TYPES.get(name)
    if data is None:
        raise LineError(f"{line[0]}: unknown store option '{shown}'.")
    if name in draft.stored:
        context.report.warn(
            line.origin, f"{line[0]}: store option '{shown}' already enabled, ignored."
        )
        return
    size, rest = 1, arguments
    if data.array:
        if not arguments:
            raise LineError(f"{line[0]}: missing argument to store option '{shown}'.")
        size = atol(arguments[0])
        if not 1 <= size <= MAX_ARRAY:
            raise LineError(
                f"{line[0]}: array size is out of allowed range (1-{MAX_ARRAY}) for store option"
                f" '{shown}'."
            )
        rest = arguments[-1:] if len(arguments) > 1 else []
    period = _period(context, line, data, shown, rest)
    draft.stored[name] = Stored(name, period, size)


def _period(context: Context, line: Line, data: DataType, shown: str, arguments: list[str]) -> int:
    if data.kind is not Kind.RATE:
        if arguments:
            raise LineError(f"{line[0]}: unexpected argument to store option '{shown}'.")
        return 0
    if not arguments:
        raise LineError(f"{line[0]}: missing argument to store option '{shown}'.")
    try:
        period, rest = parse_time(arguments[0])
    except DurationError:
        raise LineError(f"{line[0]}: error when processing store option '{shown}'.") from None
    if rest:
        context.report.warn(line.origin, trailing_message(arguments[0], rest), parsing=False)
    return period


def _exclusive(draft: _Draft, line: Line) -> None:
    for arrays, singles, what, why in _EXCLUSIVE:
        if any(name in draft.stored for name in arrays) and any(
            name in draft.stored for name in singles
        ):
            raise LineError(
                f"{line[0]}: simultaneous usage of {what} in a same table is not permitted as"
                f" {why}."
            )
