# SPDX-License-Identifier: Apache-2.0
"""Sample expressions: ``fetch(arguments),converter(arguments)…`` -> ``Expression`` (manual 7.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.rules.argument_values import check_converter, check_fetch
from penstock.rules.arguments import RuleError, name_end, read_arguments
from penstock.rules.model import Call, Expression
from penstock.rules.patterns import Sources
from penstock.rules.vocabulary import CONVERTERS, FETCHES, Signature, Type

_ADDRESSES: Final = (Type.ADDRESS, Type.IPV4, Type.IPV6)
_TEXTS: Final = (Type.STRING, Type.BINARY)
_FROM_TEXT: Final = (Type.BOOL, Type.INT, *_ADDRESSES, *_TEXTS, Type.METHOD)

# What a sample can be turned into; ANY both ways is left to the moment.
CASTS: Final[dict[Type, frozenset[Type]]] = {
    Type.ANY: frozenset(Type),
    Type.BOOL: frozenset({Type.ANY, Type.BOOL, Type.INT, *_TEXTS}),
    Type.INT: frozenset({Type.ANY, Type.BOOL, Type.INT, *_ADDRESSES, *_TEXTS}),
    Type.ADDRESS: frozenset({Type.ANY, Type.ADDRESS, Type.IPV4, Type.IPV6, *_TEXTS}),
    Type.IPV4: frozenset({Type.ANY, Type.BOOL, Type.INT, *_ADDRESSES, *_TEXTS}),
    Type.IPV6: frozenset({Type.ANY, Type.BOOL, *_ADDRESSES, *_TEXTS}),
    Type.STRING: frozenset({Type.ANY, *_FROM_TEXT}),
    Type.BINARY: frozenset({Type.ANY, *_TEXTS, Type.METHOD}),
    Type.METHOD: frozenset({Type.ANY, *_TEXTS, Type.METHOD}),
}


@dataclass(frozen=True, slots=True)
class Read:
    """An expression, the words it took, and the type of its sample."""

    expression: Expression
    signature: Signature
    output: Type
    next: int


def read_expression(words: list[str], at: int, sources: Sources) -> Read:
    """The expression that begins with word *at*. Raises RuleError.

    A converter may stand in a word of its own, as before HAProxy 1.5.
    """
    word = words[at] if at < len(words) else ""
    if not word:
        raise RuleError("missing fetch method")
    end = name_end(word)
    if not end:
        raise RuleError("missing fetch method")
    name = word[:end]
    signature = FETCHES.get(name)
    if signature is None:
        raise RuleError(f"unknown fetch method '{name}'")
    try:
        arguments, end = read_arguments(word, end, signature)
    except RuleError as error:
        raise RuleError(f"fetch method '{name}' : {error.message}") from None
    try:
        check_fetch(name, arguments, given="(" in word)
    except RuleError as error:
        raise RuleError(f"invalid args in fetch method '{name}' : {error.message}") from None
    converters, output = read_converters(word, end, signature.output, name, sources)
    at += 1
    while at < len(words) and (end := name_end(words[at])) and words[at][:end] in CONVERTERS:
        more, output = read_converters(words[at], -1, output, name, sources)
        converters += more
        at += 1
    return Read(Expression(Call(name, arguments), converters), signature, output, at)


def read_converters(
    word: str, at: int, kind: Type, fetch: str, sources: Sources
) -> tuple[tuple[Call, ...], Type]:
    """Converters behind the commas from *at*; -1: *word* begins with one. Raises RuleError."""
    made: list[Call] = []
    before = f"fetch keyword '{fetch}'"
    while at < len(word):
        if at >= 0 and word[at] != ",":
            raise RuleError(f"missing comma after {before}")
        at = max(at, 0)
        while at < len(word) and word[at] == ",":
            at += 1
        if at == len(word):
            break
        end = name_end(word, at)
        name = word[at:end]
        signature = CONVERTERS.get(name)
        if signature is None:
            raise RuleError(f"unknown converter '{name}'")
        if signature.input not in CASTS[kind]:
            raise RuleError(f"converter '{name}' cannot be applied")
        arguments, at = _converter_arguments(word, end, signature)
        try:
            entries = check_converter(name, arguments, sources)
        except RuleError as error:
            raise RuleError(f"invalid args in converter '{name}' : {error.message}") from None
        kind = signature.output
        before = f"converter '{name}'"
        made.append(Call(name, arguments, entries))
    return tuple(made), kind


def _converter_arguments(word: str, at: int, signature: Signature) -> tuple[tuple[str, ...], int]:
    """Arguments, with an error that says which of them is wrong. Raises RuleError."""
    try:
        return read_arguments(word, at, signature)
    except RuleError as error:
        # HAProxy counts the arguments that it has read.
        read = error.read + 1
        raise RuleError(
            f"invalid arg {read} in converter '{signature.name}' : {error.message}"
        ) from None


def output_of(expression: Expression) -> Type:
    """The type of what *expression* gives."""
    if expression.converters:
        return CONVERTERS[expression.converters[-1].name].output
    return FETCHES[expression.fetch.name].output
