# SPDX-License-Identifier: Apache-2.0
"""``get var`` and ``set var``: variables of the whole process (management guide, 9.3).

The proxy engine's first worker has them, as it has all rules that set them; with ``set var`` all
workers are told.
"""

from __future__ import annotations

import random
import time
from ipaddress import IPv4Address, IPv6Address
from typing import Final, cast

from penstock.engine.api import Variables
from penstock.facts import ProcessFacts
from penstock.rules.arguments import RuleError
from penstock.rules.evaluate import compile_expression, compile_format, sample_of
from penstock.rules.expressions import read_expression
from penstock.rules.fetches import UnsupportedError
from penstock.rules.formats import read_format
from penstock.rules.model import Expression
from penstock.rules.patterns import Sources
from penstock.rules.samples import Sample, to_text
from penstock.rules.subject import Subject
from penstock.rules.vocabulary import FETCHES
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, Message, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel

_CLI: Final = 21  # the bit of fetches that HAProxy has here
_CONSTANT: Final = frozenset(
    words
    for line in (
        "always_false always_true bin bool date date_us env hostname int ipv4 ipv6 meth nbproc",
        "proc rand str thread uuid",
    )
    for words in line.split()
)
_MISSING: Final = "Missing process-wide variable identifier."


class _Nobody:
    """What an expression is evaluated on where there is no connection: the process alone."""

    final = True

    def __init__(self, variables: Variables) -> None:
        self._variables = variables
        self.process = ProcessFacts(0, 1)

    def variable(self, name: str) -> Sample | None:
        """Raises DatapathError where nobody answers."""
        return self._variables.get(name) if name.startswith("proc.") else None

    def set_variable(self, name: str, value: Sample | None) -> None:
        if name.startswith("proc.") and value is not None:
            self._variables.put(name, value)

    def microseconds(self) -> int:
        return time.time_ns() // 1000

    def random(self) -> int:
        return random.getrandbits(32)  # to spread, as HAProxy's rand()


def _get(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    name = arguments[2]
    if not name:
        raise CommandFailed(_MISSING)
    sample = context.controller.variables.get(name)
    if sample is None:
        raise CommandFailed("Variable not found.")
    text = "".join(char if " " <= char <= "~" else "." for char in to_text(sample))
    return Message(f"{name}: type={_type(sample)} value=<{text}>", bare=True)


def _type(sample: Sample) -> str:
    match sample:
        case bool():
            return "bool"
        case int():
            return "sint"
        case IPv4Address():
            return "ipv4"
        case IPv6Address():
            return "ipv6"
        case bytes():
            return "bin"
    return "str"


def _set(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    name = arguments[2]
    if not name:
        raise CommandFailed(_MISSING)
    if not arguments[3]:
        raise CommandFailed("Missing either 'expr', 'fmt' or expression.")
    if arguments[4] and arguments[3] not in ("fmt", "expr"):
        raise CommandFailed(
            f"'set var': arg type must be either 'expr' or 'fmt' but got '{arguments[3]}'.",
            bare=True,
        )
    if not name.startswith("proc."):
        raise CommandFailed(
            f"'set var': cannot set variable '{name}', only scope 'proc' is permitted here.",
            bare=True,
        )
    text = arguments[4] or arguments[3]
    nobody = _Nobody(context.controller.variables)
    try:
        if arguments[4] and arguments[3] == "fmt":
            parts = read_format(text, Sources())
            for part in parts:
                if not isinstance(part, str):
                    _needs_nobody(part, name)
            sample: Sample | None = compile_format(parts)(cast("Subject", nobody))
        else:
            expression = read_expression([text], 0, Sources()).expression
            _needs_nobody(expression, name)
            fetch = compile_expression(expression)
            sample = sample_of(fetch(cast("Subject", nobody)))
    except RuleError as error:
        raise CommandFailed(error.message, bare=True) from None
    except UnsupportedError as error:
        raise CommandFailed(f"{error} is not carried out") from None
    if sample is not None:
        context.controller.variables.put(name, sample)
    return ""


def _needs_nobody(expression: Expression, name: str) -> None:
    """Raises CommandFailed where a sample is taken from a connection."""
    signature = FETCHES[expression.fetch.name]
    if not signature.checkpoints >> _CLI & 1:
        raise CommandFailed(
            f"fetch method 'set-var({name})' extracts information from"
            f" '{signature.source or 'client address'}', none of which is available here",
            bare=True,
        )
    if expression.fetch.name not in _CONSTANT:
        raise CommandFailed(f"`{expression.fetch.name}` cannot be asked for here")


COMMANDS = (
    command(
        "get var",
        "get var <name>                          : retrieve contents of a process-wide variable",
        _get,
        AccessLevel.OPERATOR,
    ),
    command(
        "set var",
        "set var <name> [fmt|expr] {<fmt>|<expr>}: set variable from an expression or a format",
        _set,
        AccessLevel.OPERATOR,
        experimental=True,
    ),
)
