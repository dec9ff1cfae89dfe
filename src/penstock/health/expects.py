# SPDX-License-Identifier: Apache-2.0
"""Whether an answer is the expected one: bytes in, verdict out. Pure.

The words are HAProxy's (its src/tcpcheck.c), which tools and people know from its logs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from penstock.checks import ldap, mysql, spop
from penstock.checks.codes import CheckCode, Outcome
from penstock.checks.model import (
    Comparison,
    Custom,
    Expect,
    Family,
    Formatted,
    Header,
    Regex,
    Statuses,
    StatusRegex,
    Text,
    Wanted,
)
from penstock.health.subject import CheckSubject, compile_sample, compile_text
from penstock.health.verdict import Verdict
from penstock.rules.evaluate import sample_of
from penstock.rules.patterns import read_regex
from penstock.rules.samples import to_integer
from penstock.wire.http_answer import Answer

EMPTY_FORMAT = "log-format string evaluated to an empty string"
_NOT_HEXADECIMAL = "Failed to parse hexastring resulting of eval of a log-format string"
_NO_BODY = "HTTP content check could not find a response body"


class Sofar(Enum):
    """What can be said of an answer that is not wrong."""

    WAIT = "wait"  # more bytes may decide it
    RIGHT = "right"


@dataclass(slots=True)
class Received:
    """What a server has sent since the last step that sent or connected."""

    data: bytes = b""
    over: bool = False  # no more will be read
    broken: bool = False  # it is no HTTP, and a check of HTTP reads it
    answer: Answer | None = None
    number: int = 0  # what the answer's code is, to be told with the result


class Failure(Exception):
    """The answer is wrong, or cannot be judged; *info* None: as the pattern says."""

    def __init__(self, code: CheckCode, info: str | None = None, *, matched: bool = False) -> None:
        super().__init__(info or code.description)
        self.code = code
        self.info = info
        self.matched = matched


# Whether it matches; None: that may change. Raises Failure.
_Match = Callable[[Received, CheckSubject], bool | None]
Judge = Callable[[Received, CheckSubject], "Sofar | Verdict"]


def compile_expect(step: Expect, family: Family, section: str, *, last: bool) -> Judge:
    """*last*: no expect, send or connect comes after it. Raises UnsupportedError, RuleError."""
    if isinstance(step.pattern, Custom):
        return _custom(step, step.pattern, last=last)
    matches = _http(step, section) if family is Family.HTTP else _plain(step, section)
    on_error = compile_text(step.on_error, section)
    number = compile_number(step, section)

    def judge(received: Received, subject: CheckSubject) -> Sofar | Verdict:
        try:
            matched = matches(received, subject)
            if matched is None:
                return Sofar.WAIT
            if matched is not step.negated:
                return Sofar.RIGHT
            raise _mismatch(step, received, family, matched=matched)
        except Failure as failure:
            info = failure.info
            if not info:
                info = on_error(subject) if step.on_error else None
            if info is None:
                info = _said(step, received, family, matched=failure.matched)
            if step.comment:
                info += f" comment: {step.comment}"
            return Verdict(failure.code, info, number(received, subject))

    return judge


def compile_number(step: Expect, section: str) -> Callable[[Received, CheckSubject], int]:
    """The number to tell with a result. Raises UnsupportedError."""
    if step.status_code is None:
        return lambda received, subject: received.number
    fetch = compile_sample(step.status_code, section)

    def number(received: Received, subject: CheckSubject) -> int:
        sample = sample_of(fetch(subject))
        if isinstance(sample, bytes):
            sample = sample.decode(errors="surrogateescape")
        value = None if sample is None else to_integer(sample)
        return received.number if value is None else value

    return number


def _mismatch(step: Expect, received: Received, family: Family, *, matched: bool) -> Failure:
    if family is not Family.HTTP:
        return Failure(step.error or CheckCode.L7RSP, matched=matched)
    pattern = step.pattern
    if isinstance(pattern, Text | Regex | Formatted):
        wrong = "HTTP content check did not match"
        if step.negated:
            wrong = "HTTP check matched unwanted content"
        return Failure(step.error or CheckCode.L7RSP, None if step.on_error else wrong)
    reason = received.answer.reason if received.answer is not None else ""
    return Failure(step.error or CheckCode.L7STS, None if step.on_error else reason)


def _said(step: Expect, received: Received, family: Family, *, matched: bool) -> str:
    """What tcp-checks say of themselves; those of a protocol say nothing."""
    if not received.data and family is not Family.HTTP:
        return f"TCPCHK got an empty response at step {step.number}"
    if family is not Family.TCP:
        return ""
    found = "TCPCHK matched unwanted content" if matched else "TCPCHK did not match content"
    return f"{found}{_kind(step)} at step {step.number}"


def _kind(step: Expect) -> str:
    match step.pattern:
        case Text(data, binary=False):
            return f" '{data.decode(errors='surrogateescape')}'"
        case Text():
            return " (binary)"
        case Regex(binary=False):
            return " (regex)"
        case Regex():
            return " (binary regex)"
        case Formatted(binary=False):
            return " (log-format string)"
        case _:
            return " (log-format binary)"


def waiting_for(step: Expect) -> str:
    """What a tcp-check was waiting for when its time was up, as in "(expect string 'x')"."""
    match step.pattern:
        case Text(data, binary):
            shown = data.decode(errors="surrogateescape")
            return f"(expect {'binary' if binary else 'string'} '{shown}')"
        case Regex(binary=binary):
            return f"(expect {'binary ' if binary else ''}regex)"
        case Formatted(binary=binary):
            return f"(expect log-format {'binary' if binary else 'string'})"
        case _:
            return "(expect custom function)"


# -- bytes -----------------------------------------------------------------------------


def _plain(step: Expect, section: str) -> _Match:
    pattern = step.pattern
    find: Callable[[bytes, CheckSubject], bool | None]
    least = max(step.min_recv, 0)
    match pattern:
        case Text(wanted):
            least = max(least, len(wanted))

            def find(data: bytes, subject: CheckSubject) -> bool | None:
                return wanted in data

        case Regex(text, binary):
            expression = read_regex(text)

            def find(data: bytes, subject: CheckSubject) -> bool | None:
                return bool(expression.search(data.hex().upper().encode() if binary else data))

        case Formatted():
            find = _formatted(pattern, section)
        case _:
            raise AssertionError(f"{pattern} is for HTTP")

    def matches(received: Received, subject: CheckSubject) -> bool | None:
        if not received.over and len(received.data) < least:
            return None
        found = find(received.data, subject)
        if found is None:
            return False if received.over else None
        if not found and not received.over and step.min_recv == -1:
            return None
        return found

    return matches


def _formatted(pattern: Formatted, section: str) -> Callable[[bytes, CheckSubject], bool | None]:
    text = compile_text(pattern.format, section)

    def find(data: bytes, subject: CheckSubject) -> bool | None:
        wanted = text(subject).encode(errors="surrogateescape")
        if not wanted:
            raise Failure(CheckCode.L7RSP, EMPTY_FORMAT)
        if pattern.binary:
            try:
                wanted = bytes.fromhex(wanted.decode())
            except ValueError:
                raise Failure(CheckCode.L7RSP, _NOT_HEXADECIMAL) from None
        return None if len(data) < len(wanted) else wanted in data

    return find


# -- HTTP ------------------------------------------------------------------------------


def _http(step: Expect, section: str) -> _Match:
    of_answer = _of_answer(step, section)

    def matches(received: Received, subject: CheckSubject) -> bool | None:
        if received.broken:
            raise Failure(CheckCode.L7RSP)
        answer = received.answer
        if answer is None:
            return None
        received.number = answer.status
        return of_answer(received, answer, subject)

    return matches


def _of_answer(
    step: Expect, section: str
) -> Callable[[Received, Answer, CheckSubject], bool | None]:
    pattern = step.pattern
    match pattern:
        case Statuses(ranges):
            return lambda received, answer, subject: any(
                low <= answer.status <= high for low, high in ranges
            )
        case StatusRegex(text):
            expression = read_regex(text)
            return lambda received, answer, subject: bool(
                expression.search(str(answer.status).encode())
            )
        case Header():
            return _header(pattern, section)
        case _:
            return _body(step, section)


def _body(step: Expect, section: str) -> Callable[[Received, Answer, CheckSubject], bool | None]:
    plain = _plain(step, section)

    def matches(received: Received, answer: Answer, subject: CheckSubject) -> bool | None:
        over = received.over or answer.whole
        if not answer.body:
            if not over:
                return None
            raise Failure(step.error or CheckCode.L7RSP, None if step.on_error else _NO_BODY)
        return plain(Received(answer.body, over), subject)

    return matches


def _header(
    pattern: Header, section: str
) -> Callable[[Received, Answer, CheckSubject], bool | None]:
    has_name = _comparison(pattern.name, section, ignore_case=True)
    has_value = None if pattern.value is None else _comparison(pattern.value, section)

    def matches(received: Received, answer: Answer, subject: CheckSubject) -> bool:
        name_is, value_is = has_name(subject), has_value(subject) if has_value else None
        for name in dict.fromkeys(name for name, _ in answer.fields):
            if not name_is(name):
                continue
            if value_is is None:
                return True
            values = answer.lines(name) if pattern.whole else answer.items(name)
            if any(map(value_is, values)):
                return True
        return False

    return matches


def _comparison(
    wanted: Wanted, section: str, *, ignore_case: bool = False
) -> Callable[[CheckSubject], Callable[[bytes], bool]]:
    """Made anew for each answer: the text may be a format."""
    if wanted.comparison is Comparison.REG:
        assert isinstance(wanted.text, str)  # noqa: S101  # the reader refuses others
        expression = read_regex(wanted.text, ignore_case=ignore_case)
        return lambda subject: lambda found: bool(expression.search(found))
    if isinstance(wanted.text, str):
        literal = wanted.text
        text: Callable[[CheckSubject], str] = lambda subject: literal  # noqa: E731
    else:
        text = compile_text(wanted.text, section)

    def compare(subject: CheckSubject) -> Callable[[bytes], bool]:
        sought = text(subject).encode(errors="surrogateescape")
        if not sought and not isinstance(wanted.text, str):
            raise Failure(CheckCode.L7RSP, EMPTY_FORMAT)
        if ignore_case:
            sought = sought.lower()
        match wanted.comparison:
            case Comparison.BEG:
                return lambda found: found.startswith(sought)
            case Comparison.END:
                return lambda found: found.endswith(sought)
            case Comparison.SUB:
                return lambda found: sought in found
            case _:
                return lambda found: found == sought

    return compare


# -- protocols -------------------------------------------------------------------------


def _custom(step: Expect, kind: Custom, *, last: bool) -> Judge:
    read = {
        Custom.MYSQL_GREETING: mysql.greeting,
        Custom.MYSQL_OK: mysql.after_greeting,
        Custom.LDAP_BIND: ldap.bind_response,
        Custom.SPOP_HELLO: spop.agent_hello,
    }[kind]

    def judge(received: Received, subject: CheckSubject) -> Sofar | Verdict:
        if not received.over and len(received.data) < step.min_recv:
            return Sofar.WAIT
        result = read(received.data, over=received.over)
        if result is None:
            return Sofar.WAIT
        if result.code.outcome is Outcome.PASSED and not last:
            return Sofar.RIGHT
        return Verdict(step.ok or result.code, result.info, result.number)

    return judge
