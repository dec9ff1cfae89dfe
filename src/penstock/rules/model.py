# SPDX-License-Identifier: Apache-2.0
"""What conditions and rules say, parsed: frozen, and known to make sense.

The words are HAProxy's (manual 7.1 "ACL basics", 7.3 "samples", 4.2 "tcp-request"). Who evaluates
them is ``evaluate.py``, in the proxy engine; those on addresses and rates alone are given to the
datapath as *admission* rules (``penstock.admission``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from penstock.terms import Network, Origin


@dataclass(frozen=True, slots=True)
class Call:
    """A fetch or a converter with its arguments, as ``src_conn_rate(table)`` or ``lower``."""

    name: str
    arguments: tuple[str, ...] = ()
    entries: tuple[tuple[str, str], ...] = ()  # of a map: what its file said


@dataclass(frozen=True, slots=True)
class Expression:
    """A sample: where it is fetched and what is then made of it."""

    fetch: Call
    converters: tuple[Call, ...] = ()


TextFormat = tuple[str | Expression, ...]
"""A log format (manual 8.2.4): its parts are put one after another."""


class Matching(StrEnum):
    """How a sample is compared with patterns (``-m``; manual 7.1.1)."""

    FOUND = "found"
    BOOL = "bool"
    INT = "int"
    IP = "ip"
    BIN = "bin"
    LEN = "len"
    STR = "str"
    BEG = "beg"
    SUB = "sub"
    END = "end"
    DIR = "dir"
    DOM = "dom"
    REG = "reg"
    REGM = "regm"


@dataclass(frozen=True, slots=True)
class IntRange:
    """Inclusive bounds; None: none on that side."""

    low: int | None
    high: int | None


# IP: networks; INT and LEN: ranges; BIN: bytes; all else: text (REG: the expression).
Pattern = Network | IntRange | bytes | str


@dataclass(frozen=True, slots=True)
class PatternList:
    """Patterns as they were written: in a file, or (no *file*) where the ACL stands."""

    file: str = ""
    texts: tuple[str, ...] = ()
    number: int | None = None  # what ``-u`` says that operators call it


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of an ACL, or an anonymous one: an expression and what it is to match.

    *lists* are what *patterns* were made of, in order.
    """

    expression: Expression
    matching: Matching
    patterns: tuple[Pattern, ...] = ()
    ignore_case: bool = False
    methods: bool = False  # of HTTP: the usual ones are in capitals, whatever is ignored
    keyword: str = ""  # as written: ``hdr_beg``, where the fetch is ``req.hdr``
    lists: tuple[PatternList, ...] = field(default=(), repr=False, compare=False)
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class Term:
    """True when one of *criteria* is (lines of one ACL name add up), or with ``!`` when none is."""

    criteria: tuple[Criterion, ...]
    negated: bool = False
    name: str = ""  # of the ACL; "": it is an anonymous one


@dataclass(frozen=True, slots=True)
class Condition:
    """True when all terms of one alternative are; the reverse with ``unless``."""

    alternatives: tuple[tuple[Term, ...], ...]
    unless: bool = False


class Stage(StrEnum):
    """When a rule is looked at."""

    CONNECTION = "tcp-request connection"
    SESSION = "tcp-request session"
    CONTENT = "tcp-request content"
    RESPONSE = "tcp-response content"


@dataclass(frozen=True, slots=True)
class TcpRule:
    """One tcp-request or tcp-response rule.

    *action* is the keyword with what stands in its parentheses: ``reject``, ``track-sc0``,
    ``sc-inc-gpc0(0)``, ``set-var(txn.name)``. *expression* is its sample, *table* what follows the
    word ``table``, *format* the log format, *text* whatever else it takes.
    """

    stage: Stage
    action: Call
    expression: Expression | None = None
    table: str | None = None
    text: tuple[str, ...] = ()
    condition: Condition | None = None
    format: TextFormat = ()
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class Route:
    """``use_backend NAME [if COND]``: the pool of whoever it holds for first.

    With *format* that makes the name for each connection, and *pool* is how it was written.
    """

    pool: str
    condition: Condition | None = None
    format: TextFormat = ()
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class ServerRule:
    """``use-server NAME if COND``: that server, if it is there; *format* as in a Route."""

    server: str
    condition: Condition
    format: TextFormat = ()
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class PersistRule:
    """``force-persist`` (to a server that is down, too) or ``ignore-persist``."""

    force: bool
    condition: Condition
    origin: Origin = Origin()
