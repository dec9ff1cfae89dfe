# SPDX-License-Identifier: Apache-2.0
"""tcp-request and tcp-response lines -> ``TcpRule``, with HAProxy's errors (manual 4.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Final

from penstock.rules.arguments import RuleError, is_int64
from penstock.rules.assignment import read_assignment
from penstock.rules.conditions import read_condition
from penstock.rules.expressions import Read, read_expression
from penstock.rules.formats import read_format
from penstock.rules.model import Call, Criterion, Expression, Stage, TcpRule, TextFormat
from penstock.rules.patterns import Sources
from penstock.rules.vocabulary import Checkpoint
from penstock.terms import Origin

_COUNTERS = "'sc-inc-gpc(*)', 'sc-inc-gpc0(*)', 'sc-inc-gpc1(*)', 'sc-set-gpt(*)', 'sc-set-gpt0(*)'"
_VARIABLES = "'set-var-fmt(*)', 'set-var(*)', 'unset-var(*)'"
_EARLY = (
    f"'accept', 'reject', 'capture', 'expect-proxy', 'expect-netscaler-cip',"
    f" 'track-sc0' ... 'track-sc2', {_COUNTERS}, {_VARIABLES}, 'set-dst', 'set-dst-port',"
    " 'set-mark', 'set-src', 'set-src-port', 'set-tos', 'silent-drop'"
)
_CONTENT = (
    "'accept', 'reject', 'capture', 'expect-proxy', 'expect-netscaler-cip',"
    " 'track-sc0' ... 'track-sc2', 'ot-group', 'set-log-level', 'set-nice', 'switch-mode',"
    f" 'use-service', {_COUNTERS}, 'send-spoe-group', 'do-resolve(*)', {_VARIABLES}, 'set-src',"
    " 'set-src-port', 'set-dst', 'set-dst-port', 'set-mark', 'set-tos', 'silent-drop',"
    " 'set-priority-class', 'set-priority-offset'"
)
_RESPONSE = (
    "'accept', 'close', 'reject', 'ot-group', 'set-log-level', 'set-nice',"
    f" {_COUNTERS}, 'send-spoe-group', {_VARIABLES}, 'set-mark', 'set-tos', 'silent-drop'"
)
ACTIONS: Final = {
    Stage.CONNECTION: _EARLY,
    Stage.SESSION: _EARLY,
    Stage.CONTENT: _CONTENT,
    Stage.RESPONSE: _RESPONSE,
}
_LAST_COUNTER: Final = 2  # MAX_SESS_STKCTR - 1
_LEVELS: Final = frozenset(
    {
        *("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "silent"),
    }
)
_RESOLVE_USAGE: Final = (
    "Expects 'do-resolve(<varname>,<resolvers>[,<options>]) <expr>'. Available options are"
    " 'ipv4' and 'ipv6'"
)
_VARIABLE_USAGE: Final = (
    "Expects 'set-var(<var-name>)', 'set-var-fmt(<var-name>)' or 'unset-var(<var-name>)'"
)
_COUNTED: Final = {"sc-inc-gpc": "gpc", "sc-set-gpt": "gpt"}


class UnknownActionError(RuleError):
    """The action is none of ``ACTIONS``."""


@dataclass(frozen=True, slots=True)
class Line:
    """What reading one line needs: its words, and what stands around it."""

    words: list[str]  # from tcp-request on
    stage: Stage
    where: str  # the section, as messages name it
    checkpoints: tuple[Checkpoint, ...]  # one for each side of the section
    acls: MutableMapping[str, tuple[Criterion, ...]]
    sources: Sources
    origin: Origin

    def word(self, at: int) -> str:
        return self.words[at] if at < len(self.words) else ""


@dataclass(frozen=True, slots=True)
class _Action:
    call: Call
    next: int  # the word after it
    expression: Expression | None = None
    table: str | None = None
    text: tuple[str, ...] = ()
    format: TextFormat = ()


def read_tcp_rule(line: Line) -> TcpRule:
    """The rule on *line*. Raises RuleError."""
    word = line.word(2)
    reader = _reader(word, ACTIONS[line.stage])
    if reader is None:
        raise UnknownActionError(
            f"'{line.stage}' expects {ACTIONS[line.stage]} in {line.where} (got '{word}')."
        )
    action = reader(line)
    head = f"{line.stage} {word}"
    condition = None
    polarity = line.word(action.next)
    if polarity in ("if", "unless"):
        try:
            condition = read_condition(
                line.words[action.next + 1 :],
                line.acls,
                line.sources,
                line.origin,
                unless=polarity == "unless",
            )
        except RuleError as error:
            raise RuleError(
                f"'{head}' : error detected in {line.where} while parsing '{polarity}' condition :"
                f" {error.message}"
            ) from None
    elif polarity:
        raise RuleError(
            f"'{head}' only accepts 'if' or 'unless', in {line.where} (got '{polarity}')"
        )
    return TcpRule(
        line.stage,
        action.call,
        action.expression,
        action.table,
        action.text,
        condition,
        action.format,
        line.origin,
    )


def _reader(word: str, allowed: str) -> Callable[[Line], _Action] | None:
    if word.startswith("track-sc"):
        return _track if "'track-sc0'" in allowed else None
    if f"'{word}'" in allowed:
        return _PLAIN[word]
    return _WITH_NAMES.get(_prefix(word, allowed))


def _prefix(word: str, allowed: str) -> str:
    """The longest action that takes arguments and begins *word*, as HAProxy looks for it."""
    base = word.split("(", 1)[0]
    return max(
        (one for one in _WITH_NAMES if base.startswith(one) and f"'{one}(*)'" in allowed),
        key=len,
        default="",
    )


def _bare(line: Line) -> _Action:
    return _Action(Call(line.word(2)), 3)


def _expect(line: Line) -> _Action:
    word = line.word(2)
    if line.word(3) != "layer4":
        raise RuleError(
            f"'{line.stage} {word}' only supports 'layer4' in {line.where} (got '{line.word(3)}')"
        )
    if line.stage is not Stage.CONNECTION:
        raise RuleError(f"'{word} layer4' is not allowed in '{line.stage}' rules in {line.where}")
    return _Action(Call(word), 4, text=("layer4",))


def _track(line: Line) -> _Action:
    word = line.word(2)
    head = f"'{line.stage} {word}' : "
    number = word.removeprefix("track-sc")
    if number and not number.isdigit():
        raise RuleError(f"{head}Wrong track-sc number '{number}'")
    if int(number or 0) > _LAST_COUNTER:
        raise RuleError(
            f"{head}{number} track-sc number exceeding {_LAST_COUNTER} (MAX_SESS_STKCTR-1) value"
        )
    try:
        read = read_expression(line.words, 3, line.sources)
        _available(read, line, read.signature.name)
    except RuleError as error:
        raise RuleError(head + error.message) from None
    at, table = read.next, None
    if line.word(at) == "table":
        table = line.word(at + 1)
        at += 2
    return _Action(Call(word), at, read.expression, table)


def _available(read: Read, line: Line, shown: str) -> None:
    """Refuse a sample that none of the sides of the section has."""
    if not any(read.signature.at(one) for one in line.checkpoints):
        raise RuleError(
            f"fetch method '{shown}' extracts information from '{read.signature.source}', none of"
            " which is available here"
        )


def _arguments(word: str) -> list[str] | None:
    """What stands in the parentheses; None: there are none."""
    _, opened, rest = word.partition("(")
    if not opened or not rest.endswith(")"):
        return None
    return rest[:-1].split(",")


def _counter(line: Line) -> _Action:
    word = line.word(2)
    name = _prefix(word, ACTIONS[line.stage])
    setting = name.startswith("sc-set")
    if name in _COUNTED:
        arguments = _two_numbers(word, name, _COUNTED[name].upper())
    else:
        arguments = _one_number(word, name, setting)
    if not setting:
        return _Action(Call(name, arguments), 3)
    value = line.word(3)
    if is_int64(value):
        return _Action(Call(name, arguments), 4, text=(value,))
    if not value:
        return _Action(Call(name, arguments), 3, text=("0",))
    read = read_expression(line.words, 3, line.sources)
    if line.stage is Stage.CONNECTION:
        # HAProxy 2.6 forgot this stage; only numbers can be set here.
        raise RuleError("internal error, unexpected rule->from=0, please report this bug!")
    _available(read, line, line.word(2))
    return _Action(Call(name, arguments), read.next, read.expression)


def _one_number(word: str, name: str, setting: bool) -> tuple[str, ...]:
    """The counter in ``sc-inc-gpc0(0)``. Without parentheses HAProxy takes the first one."""
    if word == name:
        return ("0",)
    number = re.fullmatch(r"[^(]*\(([0-9]+)\)", word)
    if number is None:
        if setting:
            raise RuleError(f"invalid stick table track ID '{word}'. Expects {name}(<Track ID>)")
        raise RuleError(f"invalid stick table track ID. Expects {word}(<Track ID>)")
    if int(number[1]) > _LAST_COUNTER:
        shown = f" '{word}'" if setting else ""
        raise RuleError(
            f"invalid stick table track ID{shown}. The max allowed ID is {_LAST_COUNTER}"
        )
    return (number[1],)


def _two_numbers(word: str, name: str, kind: str) -> tuple[str, ...]:
    usage = f"Expects {name}(<{kind} ID>,<Track ID>)"
    lower = kind.lower()
    if word == name:
        raise RuleError(f"invalid {lower} ID '{word}'. {usage}")
    found = re.match(r"[^(]*\(([0-9]+),", word)
    if found is None:
        raise RuleError(f"Missing {lower} ID '{word}'. {usage}")
    track = word[found.end() :]
    if not re.fullmatch(r"[0-9]+\)", track):
        raise RuleError(f"invalid stick table track ID '{word}'. {usage}")
    if int(track[:-1]) > _LAST_COUNTER:
        raise RuleError(
            f"invalid stick table track ID '{word}'. The max allowed ID is {_LAST_COUNTER}"
        )
    return (found[1], track[:-1])


def _variable(line: Line) -> _Action:
    word = line.word(2)
    base = word.partition("(")[0]
    if base not in ("set-var", "set-var-fmt", "unset-var"):
        raise RuleError(f"invalid or incomplete action '{word}'. {_VARIABLE_USAGE}")
    name, conditions = read_assignment(word, _VARIABLE_USAGE)
    call = Call(base, (name, *conditions))
    if base == "unset-var":
        return _Action(call, 3)
    if base == "set-var-fmt":
        text = line.word(3)
        format_ = read_format(text, line.sources)
        return _Action(call, 4 if text else 3, text=(text,), format=format_)
    read = read_expression(line.words, 3, line.sources)
    _available(read, line, word)
    return _Action(call, read.next, read.expression)


def _address(line: Line) -> _Action:
    read = read_expression(line.words, 3, line.sources)
    return _Action(Call(line.word(2)), read.next, read.expression)


def _priority(line: Line) -> _Action:
    read = read_expression(line.words, 3, line.sources)
    _available(read, line, line.words[0])
    return _Action(Call(line.word(2)), read.next, read.expression)


def _capture(line: Line) -> _Action:
    head = f"'{line.stage} capture' : "
    if line.stage is not Stage.CONTENT:
        raise RuleError(
            f"'capture {line.word(3)}' is not allowed in '{line.stage}' rules in {line.where}"
        )
    try:
        read = read_expression(line.words, 3, line.sources)
        _available(read, line, read.signature.name)
    except RuleError as error:
        raise RuleError(head + error.message) from None
    if Checkpoint.FRONT_CONTENT not in line.checkpoints:
        name = line.where.split(" ", 1)[1]
        raise RuleError(f"{head}proxy {name} has no frontend capability")
    if line.word(read.next) != "len":
        raise RuleError(f"{head}a positive 'len' argument is mandatory")
    length = line.word(read.next + 1)
    digits = re.match(r"[0-9]*", length)
    if digits is None or int(digits[0] or 0) <= 0:
        raise RuleError(f"{head}length must be > 0")
    return _Action(Call("capture"), read.next + 2, read.expression, text=("len", digits[0]))


def _number(line: Line) -> _Action:
    """``set-mark`` and ``set-tos``."""
    text = line.word(3)
    if not text:
        raise RuleError("expects exactly 1 argument (integer/hex value)")
    found = re.match(r"0[xX][0-9a-fA-F]+|[0-9]+", text)
    end = found.end() if found else 0
    if end < len(text):
        raise RuleError(
            f"invalid character starting at '{text[end:]}' (integer/hex value expected)"
        )
    return _Action(Call(line.word(2)), 4, text=(text,))


def _level(line: Line) -> _Action:
    if line.word(3) not in _LEVELS:
        raise RuleError("expects exactly 1 argument (log level name or 'silent')")
    return _Action(Call("set-log-level"), 4, text=(line.word(3),))


def _nice(line: Line) -> _Action:
    if not line.word(3):
        raise RuleError("expects exactly 1 argument (integer value)")
    return _Action(Call("set-nice"), 4, text=(line.word(3),))


def _switch(line: Line) -> _Action:
    mode = line.word(3)
    if not mode:
        raise RuleError(f"'{line.words[0]} switch-mode' expects a mode as argument.")
    if mode != "http":
        raise RuleError(f"'{line.words[0]} switch-mode' expects a valid mode (got '{mode}').")
    at = 6 if line.word(4) == "proto" else 4
    return _Action(Call("switch-mode"), at, text=(mode,))


def _resolve(line: Line) -> _Action:
    word = line.word(2)
    arguments = _arguments(word) or []
    wrong = RuleError(f"Can't parse '{word}'. {_RESOLVE_USAGE}")
    if not 2 <= len(arguments) <= 3 or (
        len(arguments) == 3 and arguments[2] not in ("ipv4", "ipv6")
    ):
        raise wrong
    if not line.word(3):
        raise RuleError(f"Can't parse ''. {_RESOLVE_USAGE}")
    read = read_expression(line.words, 3, line.sources)
    return _Action(Call("do-resolve", tuple(arguments)), read.next, read.expression)


def _group(line: Line) -> _Action:
    if not line.word(3) or not line.word(4):
        raise RuleError("expects 2 arguments: <engine-id> <group-id>")
    return _Action(Call(line.word(2)), 5, text=(line.word(3), line.word(4)))


def _service(line: Line) -> _Action:
    if not line.word(3):
        raise RuleError(f"'{line.words[0]}' expects a service name.")
    # Services are Lua's.
    raise RuleError(f"'{line.words[1]}' unknown service name.")


_PLAIN: Final[dict[str, Callable[[Line], _Action]]] = {
    **dict.fromkeys(("accept", "reject", "close", "silent-drop"), _bare),
    **dict.fromkeys(("expect-proxy", "expect-netscaler-cip"), _expect),
    **dict.fromkeys(("set-src", "set-src-port", "set-dst", "set-dst-port"), _address),
    **dict.fromkeys(("set-mark", "set-tos"), _number),
    **dict.fromkeys(("set-priority-class", "set-priority-offset"), _priority),
    **dict.fromkeys(("ot-group", "send-spoe-group"), _group),
    "capture": _capture,
    "set-log-level": _level,
    "set-nice": _nice,
    "switch-mode": _switch,
    "use-service": _service,
}
_WITH_NAMES: Final[dict[str, Callable[[Line], _Action]]] = {
    **dict.fromkeys(
        ("sc-inc-gpc", "sc-inc-gpc0", "sc-inc-gpc1", "sc-set-gpt", "sc-set-gpt0"), _counter
    ),
    **dict.fromkeys(("set-var", "set-var-fmt", "unset-var"), _variable),
    "do-resolve": _resolve,
}
