# SPDX-License-Identifier: Apache-2.0
"""Log formats: text -> ``Format`` (manual 8.2.4). The words of errors are HAProxy's.

A format may stand for several sections: what its variables mean is asked when a line is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from penstock.logs.model import AT_THE_END, BLANK, Blank, Format, Part, Sampled, Shape, Variable
from penstock.rules.arguments import RuleError
from penstock.rules.expressions import read_expression
from penstock.rules.formats import expression_end
from penstock.rules.patterns import Sources
from penstock.rules.vocabulary import FETCHES, Checkpoint


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TCP_FORMAT: Final = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq"

_BEFORE: Final = _words(
    "H ST T Tl Ts b bi bp ci cp f fi fp ft hr hrl hs hsl lc ms pid rt s si sp sslc sslv t tsc"
)
VARIABLES: Final = AT_THE_END | _BEFORE  # that mode tcp has
_OF_HTTP: Final = _words("CC CS HM HP HPO HQ HU HV Ta Ti Tq Tr TR Trg Trl r tr trg trl")
_FLAGS: Final = {
    "M": Shape.MANDATORY,
    "Q": Shape.QUOTED,
    "X": Shape.HEXADECIMAL,
    "E": Shape.ESCAPED,
}
_SETTING = "o"  # stands for all that follow


class FormatError(ValueError):
    """A format that HAProxy refuses, in its words; *begun*: what stands before makes sense."""

    def __init__(self, message: str, *, begun: bool = False) -> None:
        super().__init__(message)
        self.begun = begun


@dataclass(frozen=True, slots=True)
class Reading:
    """What a format may ask for, and how."""

    checkpoints: tuple[Checkpoint, ...]  # at one of which its samples have to be there
    sources: Sources
    shape: Shape = Shape.MANDATORY
    warn: Callable[[str], None] = lambda message: None
    http: bool = False  # variables of HTTP may be asked for


def read_format(text: str, reading: Reading) -> Format:
    """Raises FormatError."""
    parts: list[Part] = []
    literal = ""
    shape = reading.shape
    at = 0

    def say() -> None:
        nonlocal literal
        if literal:
            parts.append(literal)
            literal = ""

    while at < len(text):
        char = text[at]
        if char == " ":
            say()
            if not (parts and isinstance(parts[-1], Blank)):
                parts.append(BLANK)
            at += 1
        elif char != "%":
            literal += char
            at += 1
        elif text[at + 1 : at + 2] == "%":
            literal += "%"
            at += 2
        else:
            try:
                part, at, shape = _item(text, at + 1, shape, reading)
            except FormatError as error:
                error.begun = error.begun or bool(parts or literal)
                raise
            if isinstance(part, str):
                literal += part
            elif part is not None:
                say()
                parts.append(part)
    say()
    return Format(tuple(parts))


def _item(text: str, at: int, shape: Shape, reading: Reading) -> tuple[Part | None, int, Shape]:
    """What follows a ``%``, where it ends, and the shape of what comes behind it."""
    if at == len(text):
        raise FormatError("truncated line after '%'")
    own = shape
    if text[at] == "{":
        end = text.find("}", at)
        if end < 0:
            raise FormatError(f"truncated line after '{text[at + 1 :]}'")
        flags = text[at + 1 : end]
        own = _shaped(flags, shape)
        at = end + 1
        if text[at : at + 1] != "[" and not _names(text[at : at + 1]):
            raise FormatError(f"parse argument modifier without variable name near '%{{{flags}}}'")
    elif text[at].isascii() and (text[at].isdigit() or text[at] in " \t"):
        raise FormatError(
            f"unexpected variable name near '{text[at]}' at position {at} line : '{text}'. Maybe"
            " you want to write a single '%', use the syntax '%%'"
        )
    if text[at] == "[":
        part, end = _sampled(text, at + 1, own, reading)
        return part, end, shape
    if not _names(text[at]):
        return "", at, shape  # as HAProxy, which goes on behind a lone "%"
    end = at
    while end < len(text) and _names(text[end]):
        end += 1
    name = text[at:end]
    if name == _SETTING:
        return None, end, own
    if name in VARIABLES or (name in _OF_HTTP and reading.http):
        return Variable(name, own), end, shape
    if name in _OF_HTTP:
        raise FormatError(f"format variable '{name}' is reserved for HTTP mode")
    raise FormatError(
        f"no such format variable '{name}'. If you wanted to emit the '%' character verbatim, you"
        " need to use '%%'"
    )


def _names(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _shaped(flags: str, shape: Shape) -> Shape:
    """*shape* with what ``{+Q,-X}`` says; HAProxy lets pass what it does not know."""
    for one in flags.split(","):
        # What follows the last sign counts.
        at = max(one.rfind("+"), one.rfind("-"))
        flag = _FLAGS.get(one[at + 1 :]) if at >= 0 else None
        if flag is not None:
            shape = shape | flag if one[at] == "+" else shape & ~flag
    return shape


def _sampled(text: str, at: int, shape: Shape, reading: Reading) -> tuple[Sampled, int]:
    end = expression_end(text, at)
    try:
        read = read_expression([text[at:end]], 0, reading.sources)
    except RuleError as error:
        raise FormatError(
            f"failed to parse sample expression <{text[at:]}> : {error.message}"
        ) from None
    signature = FETCHES[read.expression.fetch.name]
    if not any(map(signature.at, reading.checkpoints)):
        raise FormatError(
            f"sample fetch <{text[at:]}> may not be reliably used here because it needs"
            f" '{signature.source}' which is not available here"
        )
    if reading.shape & Shape.ENCODED and signature.source in _LAYER6:
        reading.warn(f"L6 sample fetch <{text[at:]}> ignored in HTTP log-format string.")
    if end == len(text):
        raise FormatError(f"missing ']' after '{text[at:end]}'", begun=True)
    if text[end] != "]":
        raise FormatError(
            f"expected ']' after '{text[at:end]}', but found '{text[end]}'", begun=True
        )
    return Sampled(read.expression, shape), end + 1


_LAYER6: Final = ("request buffer", "response buffer")


# What can be said of a connection that was carried by packets: fetches, and converters that look at
# more than their sample.
_OF_PACKETS: Final = _words(
    "src src_port dst dst_port fc_src fc_src_port fc_dst fc_dst_port bc_src bc_src_port bc_dst"
    " bc_dst_port fe_id fe_name fe_defbe be_name srv_name date date_us hostname int str bool bin"
    " ipv4 ipv6 env rand uuid always_true always_false var ssl_fc fc_rcvd_proxy nbproc proc thread"
    " stopping wait_end"
)
_LOOKING_AROUND: Final = _words("in_table srv_queue nbsrv set-var unset-var")


def beyond_packets(made: Format) -> str | None:
    """The first fetch or converter that only a proxy can answer; None: there is none."""
    for part in made.parts:
        if isinstance(part, Sampled):
            if part.expression.fetch.name not in _OF_PACKETS:
                return part.expression.fetch.name
            for one in part.expression.converters:
                if one.name in _LOOKING_AROUND or one.name.startswith("table_"):
                    return one.name
    return None
