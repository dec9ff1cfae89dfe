# SPDX-License-Identifier: Apache-2.0
"""What arguments of fetches and converters must be beyond their type, in HAProxy's words."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Final

from penstock.rules.arguments import RuleError, is_int64
from penstock.rules.model import Matching
from penstock.rules.patterns import (
    Sources,
    lines_of,
    read_binary,
    read_network,
    read_patterns,
)
from penstock.wire import fix, mqtt

_SCOPE: Final = re.compile(r"(proc|sess|txn|req|res|check)\.(?=.)")
_BOOLS: Final = ("true", "false", "0", "1")
_TCP_INFO: Final = frozenset(
    {
        *("fc_rtt", "fc_rttvar", "fc_unacked", "fc_sacked", "fc_retrans", "fc_fackets"),
        *("fc_lost", "fc_reordering"),
    }
)
_ARITHMETIC: Final = frozenset(
    {
        *("add", "sub", "mul", "div", "mod", "and", "or", "xor"),
    }
)
_COUNTED: Final = frozenset(
    f"{before}{after}"
    for before in ("", "req.", "res.", "s")
    for after in ("hdr", "hdr_ip", "hdr_val", "fhdr")
)
_WAY_BACK: Final = 10  # HAProxy's MAX_HDR_HISTORY
_ENCODINGS: Final = ("ascii", "utf8", "utf8s", "utf8p", "utf8ps")
_SHA2: Final = ("224", "256", "384", "512")


_CONDITIONS: Final = frozenset(
    {
        *("ifexists", "ifnotexists", "ifempty", "ifnotempty"),
        *("ifset", "ifnotset", "ifgt", "iflt"),
    }
)


def check_variable(name: str) -> None:
    """Refuse a variable's name that has no scope, or other characters. Raises RuleError."""
    if not name:
        raise RuleError("Empty variable name cannot be accepted")
    scope = _SCOPE.match(name)
    if scope is None:
        raise RuleError(
            f"invalid variable name '{name}'. A variable name must be start by its scope. The"
            " scope can be 'proc', 'sess', 'txn', 'req', 'res' or 'check'"
        )
    for at in range(scope.end(), len(name)):
        if not (name[at].isascii() and (name[at].isalnum() or name[at] in "_.")):
            raise RuleError(f"invalid syntax at char '{name[at:]}'")


def is_variable(name: str) -> bool:
    try:
        check_variable(name)
    except RuleError:
        return False
    return True


def check_fetch(name: str, arguments: tuple[str, ...], *, given: bool) -> None:
    """Raises RuleError. *given*: there are parentheses, be they empty."""
    first = arguments[0] if arguments else ""
    if name == "bool" and first.lower() not in _BOOLS:
        raise RuleError("Expects 'true', 'false', '0' or '1'")
    if name == "bin":
        read_binary(first)
    if name in _COUNTED and len(arguments) > 1 and int(arguments[1] or 0) < -_WAY_BACK:
        raise RuleError(f"header occurrence must be >= -{_WAY_BACK}")
    if name == "var":
        check_variable(first)
    if name in _TCP_INFO and given and first not in ("us", "ms"):
        raise RuleError(f"expects 'us' or 'ms', got '{first}'")
    if name == "date" and len(arguments) > 1 and arguments[1] not in ("s", "ms", "us"):
        raise RuleError(f"expects 's', 'ms' or 'us', got '{arguments[1]}'")
    if name == "uuid" and arguments and first != "4":
        raise RuleError(f"Unsupported UUID version: '{first}'")
    if name.endswith("payload_lv"):
        check_payload_lv(arguments)
    if name.startswith("distcc_") and len(first) != 4:
        raise RuleError("token name must be exactly 4 characters")


def check_payload_lv(arguments: tuple[str, ...]) -> None:
    if int(arguments[0]) < 0:
        raise RuleError("payload offset1 must be >= 0")
    if int(arguments[1]) < 1:
        raise RuleError("payload length must be > 0")
    if len(arguments) > 2:
        if not is_int64(arguments[2]):
            raise RuleError("payload offset2 is not a number")
        if arguments[2][:1] not in "+-" and int(arguments[2]) < 0:
            raise RuleError("payload offset2 too negative")


def check_converter(
    name: str, arguments: tuple[str, ...], sources: Sources
) -> tuple[tuple[str, str], ...]:
    """Raises RuleError. Gives what is in the file of a map."""
    check = _CONVERTERS.get(name)
    if check is not None:
        check(arguments)
    elif name in _ARITHMETIC:
        if not is_int64(arguments[0]) and not is_variable(arguments[0]):
            raise RuleError("expects an integer or a variable name")
    elif name.startswith("map"):
        return read_map(name, arguments[0], sources)
    return ()


def _variable_at(index: int) -> Callable[[tuple[str, ...]], None]:
    def check(arguments: tuple[str, ...]) -> None:
        if len(arguments) > index and arguments[index] and not is_variable(arguments[index]):
            raise RuleError(f"failed to register variable name '{arguments[index]}'")

    return check


def _sha2(arguments: tuple[str, ...]) -> None:
    if arguments and arguments[0] not in _SHA2:
        raise RuleError(f"Unsupported number of bits: '{arguments[0]}'")


def _index(arguments: tuple[str, ...]) -> None:
    if int(arguments[0]) == 0:
        raise RuleError("Unexpected value 0 for index")


def _json(arguments: tuple[str, ...]) -> None:
    if arguments[0] not in ("", *_ENCODINGS):
        raise RuleError(
            "Unexpected input code type. Allowed value are 'ascii', 'utf8', 'utf8s', 'utf8p' and"
            " 'utf8ps'"
        )


def _url_enc(arguments: tuple[str, ...]) -> None:
    if arguments[0] not in ("", "query"):
        raise RuleError("Unexpected encode type. Allowed value is 'query'")


def _digest(arguments: tuple[str, ...]) -> None:
    try:
        hashlib.new(arguments[0], usedforsecurity=False)
    except (ValueError, TypeError):
        raise RuleError("algorithm must be a valid OpenSSL message digest name.") from None


def _mqtt(arguments: tuple[str, ...]) -> None:
    packet, field = arguments
    try:
        kind = mqtt.packet_type(packet)
    except ValueError:
        raise RuleError(f"Unknown MQTT type '{packet}'") from None
    try:
        mqtt.check_name(kind, field)
    except (ValueError, KeyError):
        raise RuleError(f"Unknown MQTT field name '{field}' for packet type '{packet}'") from None


def _fix(arguments: tuple[str, ...]) -> None:
    if fix.tag_number(arguments[0]) is None:
        raise RuleError(f"Unknown FIX tag name '{arguments[0]}'")


def _hmac(arguments: tuple[str, ...]) -> None:
    _digest(arguments)
    if is_variable(arguments[1]):
        return
    try:
        base64.b64decode(arguments[1], validate=True)
    except (binascii.Error, ValueError):
        raise RuleError(
            "failed to parse key : argument needs to be base64 encoded, and can either be a string"
            " or a variable"
        ) from None


def _regsub(arguments: tuple[str, ...]) -> None:
    for flag in arguments[2] if len(arguments) > 2 else "":
        if flag not in "ig":
            raise RuleError(f"invalid regex flag '{flag}', only 'i' and 'g' are supported")


def check_conditions(words: Sequence[str]) -> None:
    """Refuse one under which no variable is set. Raises RuleError."""
    for word in words:
        if word not in _CONDITIONS:
            raise RuleError(f'unknown condition "{word}"')


def _variable_set(arguments: tuple[str, ...]) -> None:
    check_variable(arguments[0])
    check_conditions(arguments[1:])


_CONVERTERS: Final[dict[str, Callable[[tuple[str, ...]], None]]] = {
    "concat": _variable_at(1),
    "strcmp": _variable_at(0),
    "secure_memcmp": _variable_at(0),
    "sha2": _sha2,
    "word": _index,
    "field": _index,
    "json": _json,
    "url_enc": _url_enc,
    "digest": _digest,
    "hmac": _hmac,
    "fix_tag_value": _fix,
    "mqtt_field_value": _mqtt,
    "regsub": _regsub,
    "set-var": _variable_set,
    "unset-var": lambda arguments: check_variable(arguments[0]),
}


def map_kinds(name: str) -> tuple[Matching, str]:
    """How ``map_MATCH_OUTPUT`` compares, and what it gives: str, int or ip."""
    parts = name.split("_")[1:]
    matching = parts[0] if parts else "str"
    return Matching(matching), parts[1] if len(parts) > 1 else "str"


def read_map(name: str, file: str, sources: Sources) -> tuple[tuple[str, str], ...]:
    """Keys and values of a map's file, checked for the converter *name*. Raises RuleError."""
    text = sources.read(file)
    if text is None:
        raise RuleError(f"failed to open pattern file <{file}>")
    matching, output = map_kinds(name)
    made = []
    for number, line in lines_of(text):
        key, _, value = line.replace("\t", " ").partition(" ")
        value = value.strip(" ")
        try:
            read_patterns(matching, [key], versions=False, sources=sources)
        except RuleError as error:
            raise RuleError(f"{error.message} at line {number} of file '{file}'") from None
        good = True
        if output == "int":
            good = is_int64(value)
        elif output == "ip":
            try:
                read_network(value, sources.resolve)
            except RuleError:
                good = False
        if not good:
            raise RuleError(f"unable to parse '{value}' at line {number} of file '{file}'")
        made.append((key, value))
    return tuple(made)
