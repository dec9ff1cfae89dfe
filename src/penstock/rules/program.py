# SPDX-License-Identifier: Apache-2.0
"""tcp-request and tcp-response rules made into programs that are run on a Subject (manual 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from penstock.rules.assignment import assign
from penstock.rules.evaluate import (
    Test,
    Where,
    compile_condition,
    compile_expression,
    compile_format,
    sample_of,
)
from penstock.rules.fetches import UnsupportedError
from penstock.rules.model import Expression, Stage, TcpRule
from penstock.rules.samples import Changing, Waiting, to_address, to_bytes, to_integer, to_text
from penstock.rules.subject import (
    Capture,
    Change,
    Expect,
    LogLevel,
    Mark,
    Priority,
    SetEnd,
    Subject,
    Track,
)
from penstock.terms import Origin


class Verdict(Enum):
    """What becomes of a connection."""

    ACCEPT = "accept"  # also when no rule decides
    REJECT = "reject"
    CLOSE = "close"  # of responses: the server's side, once what it sent is delivered
    DROP = "silent-drop"
    WAIT = "wait"  # for more data, then run again


@dataclass(frozen=True, slots=True)
class Outcome:
    """*next* is the rule to go on with after waiting; *origin* the rule that decided, if any."""

    verdict: Verdict
    next: int = 0
    origin: Origin | None = None


# What a rule does; a verdict ends the run.
_Step = Callable[[Subject], Verdict | None]
_VERDICTS: Final = {
    "accept": Verdict.ACCEPT,
    "reject": Verdict.REJECT,
    "close": Verdict.CLOSE,
    "silent-drop": Verdict.DROP,
}
_ACCEPTED: Final = Outcome(Verdict.ACCEPT)
_IGNORED: Final = frozenset({"set-nice"})  # a priority among HAProxy's own tasks


@dataclass(frozen=True, slots=True)
class _Compiled:
    test: Test | None
    step: _Step
    origin: Origin


@dataclass(frozen=True, slots=True)
class Program:
    """Rules of one stage."""

    rules: tuple[_Compiled, ...]

    def __bool__(self) -> bool:
        return bool(self.rules)

    def run(self, subject: Subject, start: int = 0) -> Outcome:
        """Look at the rules from *start* on. Never waits for a subject that is final."""
        for at in range(start, len(self.rules)):
            rule = self.rules[at]
            if rule.test is not None:
                holds = rule.test(subject)
                if holds is None:
                    return Outcome(Verdict.WAIT, at, rule.origin)
                if not holds:
                    continue
            verdict = rule.step(subject)
            if verdict is Verdict.WAIT:
                return Outcome(Verdict.WAIT, at, rule.origin)
            if verdict is not None:
                return Outcome(verdict, at, rule.origin)
        return _ACCEPTED


def compile_rules(
    rules: Iterable[TcpRule], stage: Stage, section: str = "", *, http: bool = False
) -> Program:
    """Those of *rules* that are looked at in *stage*; *http*: by whom a request has reached.

    Raises UnsupportedError.
    """
    where = Where(section, response=stage is Stage.RESPONSE, http=http and stage is Stage.CONTENT)
    return Program(
        tuple(
            _Compiled(
                None if rule.condition is None else compile_condition(rule.condition, where),
                compile_step(rule, where),
                rule.origin,
            )
            for rule in rules
            if rule.stage is stage
        )
    )


def compile_step(rule: TcpRule, where: Where) -> _Step:
    """What *rule* does. Raises UnsupportedError."""
    name = rule.action.name
    verdict = _VERDICTS.get(name)
    if verdict is not None:
        return lambda subject: verdict
    if name.startswith("track-sc"):
        return _track(rule, where)
    if name.startswith("sc-"):
        return _counter(rule, where)
    if name in _IGNORED:
        return lambda subject: None
    builder = _STEPS.get(name)
    if builder is None:
        raise UnsupportedError(f"`{name}`")
    return builder(rule, where)


def _expression(rule: TcpRule) -> Expression:
    if rule.expression is None:
        raise UnsupportedError(f"`{rule.action.name}` without an expression")
    return rule.expression


def _track(rule: TcpRule, where: Where) -> _Step:
    fetch = compile_expression(_expression(rule), where)
    counter = int(rule.action.name.removeprefix("track-sc") or 0)
    table = rule.table or where.section

    def step(subject: Subject) -> Verdict | None:
        if subject.tracked(counter) is not None:
            return None
        found = fetch(subject)
        if isinstance(found, Waiting | Changing) and not subject.final:
            return Verdict.WAIT
        key = sample_of(found)
        if key is not None:
            subject.act(Track(counter, table, key))
        return None

    return step


def _counter(rule: TcpRule, where: Where) -> _Step:
    name, arguments = rule.action.name, rule.action.arguments
    indexed = name in ("sc-inc-gpc", "sc-set-gpt")
    index = int(arguments[0]) if indexed else 0
    counter = int(arguments[1] if indexed else arguments[0])
    data = name.rpartition("-")[2]
    if name.startswith("sc-inc"):

        def increment(subject: Subject) -> None:
            tracked = subject.tracked(counter)
            if tracked is not None:
                subject.tables.change(*tracked, data, Change.ADD, 1, index)

        return increment
    fetch = None if rule.expression is None else compile_expression(rule.expression, where)
    constant = int(rule.text[0]) if rule.text else 0

    def assign(subject: Subject) -> None:
        tracked = subject.tracked(counter)
        sample = constant if fetch is None else sample_of(fetch(subject))
        value = None if sample is None else to_integer(sample)
        if tracked is not None and value is not None:
            subject.tables.change(*tracked, data, Change.SET, value & 0xFFFFFFFF, index)

    return assign


def _set_variable(rule: TcpRule, where: Where) -> _Step:
    name, *conditions = rule.action.arguments
    fetch = compile_expression(_expression(rule), where)

    def step(subject: Subject) -> None:
        sample = sample_of(fetch(subject))
        if sample is not None:
            assign(subject, name, sample, conditions)

    return step


def _set_format(rule: TcpRule, where: Where) -> _Step:
    name, *conditions = rule.action.arguments
    format_ = compile_format(rule.format, where)
    return lambda subject: assign(subject, name, format_(subject), conditions)


def _unset_variable(rule: TcpRule, where: Where) -> _Step:
    name = rule.action.arguments[0]
    return lambda subject: subject.set_variable(name, None)


def _set_address(rule: TcpRule, where: Where) -> _Step:
    fetch = compile_expression(_expression(rule), where)
    source = rule.action.name == "set-src"

    def step(subject: Subject) -> None:
        sample = sample_of(fetch(subject))
        address = None if sample is None else to_address(sample)
        if address is not None:
            # The port stays, too (manual 4.2), where the address's family allows it.
            subject.act(SetEnd(source, address))

    return step


def _set_port(rule: TcpRule, where: Where) -> _Step:
    fetch = compile_expression(_expression(rule), where)
    source = rule.action.name == "set-src-port"

    def step(subject: Subject) -> None:
        sample = sample_of(fetch(subject))
        port = None if sample is None else to_integer(sample)
        if port is not None:
            subject.act(SetEnd(source, port=port & 0xFFFF))

    return step


def _mark(rule: TcpRule, where: Where) -> _Step:
    text = rule.text[0]
    value = int(text, 16) if text[:2].lower() == "0x" else int(text)
    mark = Mark(value & 0xFFFFFFFF, tos=rule.action.name == "set-tos")
    return lambda subject: subject.act(mark)


def _expect(rule: TcpRule, where: Where) -> _Step:
    expect = Expect(rule.action.name)
    return lambda subject: subject.act(expect)


def _capture(rule: TcpRule, where: Where) -> _Step:
    fetch = compile_expression(_expression(rule), where)
    length = int(rule.text[1])

    def step(subject: Subject) -> None:
        sample = sample_of(fetch(subject))
        if sample is not None:
            found = to_bytes(to_text(sample))[:length]
            subject.act(Capture(found.decode("utf-8", "surrogateescape"), rule.origin))

    return step


def _priority(rule: TcpRule, where: Where) -> _Step:
    fetch = compile_expression(_expression(rule), where)
    offset = rule.action.name == "set-priority-offset"
    # Manual 4.2: classes from -2047 to 2047, offsets from -524287 to 524287.
    limit = 524287 if offset else 2047

    def step(subject: Subject) -> None:
        sample = sample_of(fetch(subject))
        value = None if sample is None else to_integer(sample)
        if value is not None:
            subject.act(Priority(min(max(value, -limit), limit), offset))

    return step


def _log_level(rule: TcpRule, where: Where) -> _Step:
    level = LogLevel(rule.text[0])
    return lambda subject: subject.act(level)


_STEPS: Final[dict[str, Callable[[TcpRule, Where], _Step]]] = {
    "set-var": _set_variable,
    "set-var-fmt": _set_format,
    "unset-var": _unset_variable,
    "set-src": _set_address,
    "set-dst": _set_address,
    "set-src-port": _set_port,
    "set-dst-port": _set_port,
    "set-mark": _mark,
    "set-tos": _mark,
    "expect-proxy": _expect,
    "expect-netscaler-cip": _expect,
    "capture": _capture,
    "set-priority-class": _priority,
    "set-priority-offset": _priority,
    "set-log-level": _log_level,
}
