# SPDX-License-Identifier: Apache-2.0
"""Converters (manual 7.3.1): each made once into a function of a sample and its subject.

Those that need no subject are in ``sample_converters``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from typing import Final, cast

from penstock.rules.argument_values import is_variable
from penstock.rules.arguments import is_int64
from penstock.rules.assignment import assign
from penstock.rules.calendar import civil_time
from penstock.rules.counters import table_converter
from penstock.rules.fetches import UnsupportedError
from penstock.rules.maps import compile_map
from penstock.rules.model import Call
from penstock.rules.sample_converters import BUILDERS
from penstock.rules.samples import (
    CAST,
    Sample,
    Waiting,
    to_bytes,
    to_integer,
    to_text,
)
from penstock.rules.subject import Subject
from penstock.rules.vocabulary import CONVERTERS, Type

Convert = Callable[[Sample, Subject], Sample | Waiting | None]

# What they say of a protocol's first bytes stands, however many follow; else they wait.
DECIDING: Final = frozenset({"fix_is_valid", "fix_tag_value", "mqtt_is_valid", "mqtt_field_value"})


def compile_converter(call: Call, section: str) -> Convert:
    """*call*, with its input turned into the type that it takes. Raises UnsupportedError."""
    convert = _compile(call, section)
    kind = CONVERTERS[call.name].input
    if kind is Type.ANY:
        return convert
    to_input = CAST[kind]

    def converted(sample: Sample, subject: Subject) -> Sample | Waiting | None:
        given = to_input(sample)
        return None if given is None else convert(given, subject)

    return converted


def _compile(call: Call, section: str) -> Convert:
    name, arguments = call.name, call.arguments
    if name in _ARITHMETIC:
        return _arithmetic(_ARITHMETIC[name], arguments[0])
    if name.startswith("map"):
        look_up = compile_map(call)
        return lambda sample, subject: look_up(sample)
    of_table = table_converter(name, arguments, section)
    if of_table is not None:
        return of_table
    special = _SPECIAL.get(name)
    if special is not None:
        return special(arguments)
    builder = BUILDERS.get(name)
    if builder is None:
        raise UnsupportedError(f"the converter `{name}`")
    convert = builder(arguments)
    return lambda sample, subject: convert(sample)


# -- with variables, servers and tables ------------------------------------------------------


def _quotient(a: int, b: int) -> int:
    """Rounded towards 0, as C has it; division by 0 gives the largest number."""
    if not b:
        return (1 << 63) - 1
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _remainder(a: int, b: int) -> int:
    return a - _quotient(a, b) * b if b else 0


def _clamped(number: int) -> int:
    return min(max(number, -(1 << 63)), (1 << 63) - 1)


_ARITHMETIC: Final[dict[str, Callable[[int, int], int]]] = {
    "add": lambda a, b: _clamped(a + b),
    "sub": lambda a, b: _clamped(a - b),
    "mul": lambda a, b: _clamped(a * b),
    "div": _quotient,
    "mod": _remainder,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}


def _arithmetic(operation: Callable[[int, int], int], argument: str) -> Convert:
    if is_int64(argument):
        operand = int(argument)
        return lambda sample, subject: operation(cast("int", sample), operand)

    def with_variable(sample: Sample, subject: Subject) -> Sample | None:
        value = subject.variable(argument)
        number = None if value is None else to_integer(value)
        return None if number is None else operation(cast("int", sample), number)

    return with_variable


def _set_variable(arguments: tuple[str, ...]) -> Convert:
    name, *conditions = arguments

    def convert(sample: Sample, subject: Subject) -> Sample:
        assign(subject, name, sample, conditions)
        return sample

    return convert


def _unset_variable(arguments: tuple[str, ...]) -> Convert:
    name = arguments[0]

    def convert(sample: Sample, subject: Subject) -> Sample:
        subject.set_variable(name, None)
        return sample

    return convert


def _concat(arguments: tuple[str, ...]) -> Convert:
    start, name, end = (*arguments, "", "", "")[:3]

    def convert(sample: Sample, subject: Subject) -> Sample:
        value = subject.variable(name) if name else None
        return to_text(sample) + start + ("" if value is None else to_text(value)) + end

    return convert


def _strcmp(arguments: tuple[str, ...]) -> Convert:
    name = arguments[0]

    def convert(sample: Sample, subject: Subject) -> Sample | None:
        value = subject.variable(name)
        if value is None:
            return None
        mine, other = to_bytes(sample), to_bytes(value)
        for a, b in zip(mine, other, strict=False):
            if a != b:
                return a - b
        return (len(mine) > len(other)) - (len(mine) < len(other))

    return convert


def _secure_memcmp(arguments: tuple[str, ...]) -> Convert:
    name = arguments[0]

    def convert(sample: Sample, subject: Subject) -> Sample | None:
        value = subject.variable(name)
        return None if value is None else hmac.compare_digest(to_bytes(sample), to_bytes(value))

    return convert


def _hmac(arguments: tuple[str, ...]) -> Convert:
    """The key is Base64, in a variable or as it stands."""
    name, key = arguments
    written = None if is_variable(key) else base64.b64decode(key)

    def convert(sample: Sample, subject: Subject) -> Sample | None:
        secret = written
        if secret is None:
            value = subject.variable(key)
            try:
                secret = None if value is None else base64.b64decode(to_bytes(value), validate=True)
            except (binascii.Error, ValueError):
                return None
        return None if secret is None else hmac.digest(secret, to_bytes(sample), name)

    return convert


def _add_item(arguments: tuple[str, ...]) -> Convert:
    delimiter, name, suffix = (*arguments, "", "")[:3]

    def convert(sample: Sample, subject: Subject) -> Sample:
        text = to_text(sample)
        value = subject.variable(name) if name else None
        if value is None and not suffix:
            return text
        shown = "" if value is None else to_text(value)
        return (text + delimiter if text else "") + shown + suffix

    return convert


def _usable_servers(arguments: tuple[str, ...]) -> Convert:
    return lambda sample, subject: subject.traffic.usable_servers(to_text(sample))


def _server_queue(arguments: tuple[str, ...]) -> Convert:
    def convert(sample: Sample, subject: Subject) -> Sample | None:
        pool, slash, server = to_text(sample).partition("/")
        if not slash:
            own = subject.pool
            if own is None:
                return None
            pool, server = own[1], pool
        return subject.traffic.server_queue(pool, server)

    return convert


def _local_time(arguments: tuple[str, ...]) -> Convert:
    offset = int(arguments[1]) if len(arguments) > 1 else 0

    def convert(sample: Sample, subject: Subject) -> Sample:
        seconds = cast("int", sample) + offset
        return civil_time(seconds, arguments[0], subject.process.utc_offset(seconds))

    return convert


_SPECIAL: Final[dict[str, Callable[[tuple[str, ...]], Convert]]] = {
    "ltime": _local_time,
    "set-var": _set_variable,
    "unset-var": _unset_variable,
    "concat": _concat,
    "strcmp": _strcmp,
    "secure_memcmp": _secure_memcmp,
    "hmac": _hmac,
    "add_item": _add_item,
    "nbsrv": _usable_servers,
    "srv_queue": _server_queue,
}
