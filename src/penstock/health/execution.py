# SPDX-License-Identifier: Apache-2.0
"""One run of a ruleset, step by step: bytes and events in, what to do next out. Pure.

Whoever runs it does as it is told (connect, write, read) and tells it what came of that, until it
gets a Verdict. The order of things, and every word, are those of HAProxy's tcp-checks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from penstock.checks.codes import CheckCode
from penstock.checks.model import (
    Connect,
    Expect,
    Family,
    Format,
    Ruleset,
    Send,
    SendHttp,
    SetVar,
)
from penstock.health.expects import (
    Judge,
    Received,
    Sofar,
    compile_expect,
    compile_number,
    waiting_for,
)
from penstock.health.subject import CheckSubject, compile_sample, compile_text
from penstock.health.verdict import Verdict
from penstock.rules.assignment import assign
from penstock.rules.evaluate import sample_of
from penstock.rules.model import Expression
from penstock.rules.samples import Sample, to_integer
from penstock.wire.http_answer import NotHttpError, parse
from penstock.wire.http_check_request import request

if TYPE_CHECKING:
    from penstock.wire.http2_check import Http2

MOST_BYTES = 16384  # that are looked at; HAProxy's tune.bufsize
_PORTS = 0xFFFF  # what of a sample is one, as in HAProxy
_LONGEST_INFO = 127  # bytes; HAProxy's buffer for it


class Layer(Enum):
    """How far a connection had come when it failed."""

    SOCKET = "socket"  # there was none
    L4 = "4"
    L6 = "6"
    L7 = "7"  # it was open


@dataclass(frozen=True, slots=True)
class Open:
    """Connect, closing the connection before if there is one. *port* None: as usual."""

    step: Connect
    port: int | None


@dataclass(frozen=True, slots=True)
class Write:
    data: bytes


class Read(Enum):
    """Wait for bytes, or for the end of them."""

    READ = "read"


READ = Read.READ
Action = Open | Write | Read | Verdict

_Text = Callable[[CheckSubject], str]


class _Request(NamedTuple):
    method: str
    uri: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Ready:
    """A step made ready to run: *work* is what its kind needs."""

    step: Connect | Send | SendHttp | Expect | SetVar
    send: Callable[[CheckSubject], bytes | None] | None = None
    request: Callable[[CheckSubject], _Request] | None = None
    judge: Judge | None = None
    number: Callable[[Received, CheckSubject], int] | None = None
    on_success: _Text | None = None
    sample: Callable[[CheckSubject], Sample | None] | None = None
    port: Callable[[CheckSubject], int | None] | None = None
    head: int = 0  # of an Expect: where to go on when more bytes have come


class Script:
    """A ruleset, made ready once for all its runs in one pool."""

    def __init__(self, ruleset: Ruleset, pool: str, *, keep_404: bool = False) -> None:
        """*keep_404*: ``http-check disable-on-404``. Raises UnsupportedError, RuleError."""
        self.family = ruleset.family
        self.keep_404 = keep_404
        self.steps = [self._ready(ruleset, at, pool) for at in range(len(ruleset.steps))]

    def _ready(self, ruleset: Ruleset, at: int, pool: str) -> _Ready:
        step = ruleset.steps[at]
        match step:
            case Connect(port=Expression() as port):
                fetch = compile_sample(port, pool)
                return _Ready(step, port=lambda subject: _integer(sample_of(fetch(subject))))
            case Connect():
                return _Ready(step)
            case Send():
                return _Ready(step, send=_sender(step, pool))
            case SendHttp():
                return _Ready(step, request=_requester(step, pool))
            case Expect():
                last = not any(
                    isinstance(one, Expect | Connect | Send | SendHttp)
                    for one in ruleset.steps[at + 1 :]
                )
                return _Ready(
                    step,
                    judge=compile_expect(step, ruleset.family, pool, last=last),
                    number=compile_number(step, pool),
                    on_success=compile_text(step.on_success, pool),
                    head=_head(ruleset, at),
                )
            case SetVar():
                return _Ready(step, sample=_value(step, pool))


def _head(ruleset: Ruleset, at: int) -> int:
    """The first of the negated expects that stand before the one at *at*, else itself."""
    head = at
    for before in range(at - 1, -1, -1):
        step = ruleset.steps[before]
        if isinstance(step, Expect):
            if step.negated:
                head = before
        elif not isinstance(step, SetVar):
            break
    return head


def _integer(sample: Sample | None) -> int | None:
    return None if sample is None else to_integer(sample)


def _value(step: SetVar, pool: str) -> Callable[[CheckSubject], Sample | None]:
    if step.value is None:
        return lambda subject: None
    if isinstance(step.value, Expression):
        fetch = compile_sample(step.value, pool)
        return lambda subject: sample_of(fetch(subject))
    return compile_text(step.value, pool)


def _bytes(data: bytes | Format, pool: str) -> Callable[[CheckSubject], bytes]:
    if isinstance(data, bytes):
        return lambda subject: data
    text = compile_text(data, pool)
    return lambda subject: text(subject).encode(errors="surrogateescape")


class _UnsendableError(Exception):
    pass


def _sender(step: Send, pool: str) -> Callable[[CheckSubject], bytes | None]:
    made = _bytes(step.data, pool)
    if not step.hexadecimal:
        return made

    def send(subject: CheckSubject) -> bytes:
        try:
            return bytes.fromhex(made(subject).decode())
        except ValueError:
            raise _UnsendableError from None

    return send


def _requester(step: SendHttp, pool: str) -> Callable[[CheckSubject], _Request]:
    uri = step.uri
    where = (lambda subject: uri) if isinstance(uri, str) else compile_text(uri, pool)
    headers = [(name, compile_text(value, pool)) for name, value in step.headers]
    body = _bytes(step.body, pool)

    def asked(subject: CheckSubject) -> _Request:
        said = [(name, value(subject)) for name, value in headers]
        if subject.state is not None:
            said.append(("x-haproxy-server-state", subject.state))
        return _Request(
            step.method,
            where(subject) or "/",
            step.version,
            [(name, value) for name, value in said if value],
            body(subject),
        )

    return asked


def _http2() -> Http2:
    """Its library is imported where a check speaks it."""
    from penstock.wire.http2_check import Http2  # noqa: PLC0415

    return Http2()


class Execution:
    """One run. ``begin()`` and every event give what to do next."""

    def __init__(self, script: Script, subject: CheckSubject, *, up: bool) -> None:
        """*up*: whether the server is, for only then a 404 can mean that it wants to stop."""
        self._script = script
        self._subject = subject
        self._keep_404 = script.keep_404 and up
        self._at = 0
        self._current: Connect | Send | SendHttp | Expect | None = None
        self._received = Received()
        self._must_read = True
        self._to_head = False  # the last request was HEAD
        self._secure = False
        self._http2: Http2 | None = None  # what speaks it on this connection
        self._acknowledges = False  # what is being written is for it, and no step

    def begin(self) -> Action:
        return self._go_on()

    def opened(self, *, secure: bool, http2: bool = False) -> Action:
        """The connection is open, *secure*: TLS is spoken on it; *http2*: so is that."""
        self._secure = secure
        self._http2 = _http2() if http2 and self._script.family is Family.HTTP else None
        self._at += 1
        return self._go_on()

    def wrote(self) -> Action:
        if self._acknowledges:
            self._acknowledges = False
            return READ
        self._at += 1
        return self._go_on()

    def came(self, data: bytes) -> Action:
        """*data*: b"" when there will be no more."""
        received = self._received
        if self._http2 is not None:
            return self._came_in_frames(self._http2, data)
        if data:
            received.data += data[: MOST_BYTES - len(received.data)]
        received.over = received.over or not data or len(received.data) >= MOST_BYTES
        self._subject.response = received.data
        if not received.data and self._script.family is not Family.HTTP:
            return self._empty()
        if self._script.family is Family.HTTP:
            self._read_http()
        self._must_read = False
        return self._go_on()

    def lost(self, number: int) -> Action:
        """Reading failed with *number*, an errno; what has come before is still judged."""
        if self._received.data or (self._http2 is not None and self._http2.answer is not None):
            return self.came(b"")
        return self.failed(Layer.L7, os.strerror(number) if number else "")

    def failed(self, layer: Layer, message: str) -> Verdict:
        """The connection did; *message* says how, and is told with the step."""
        code = {
            Layer.L4: CheckCode.L4CON,
            Layer.L6: CheckCode.L6RSP,
        }.get(layer, CheckCode.SOCKERR)
        return self._verdict(code, message + self._where())

    def expired(self, layer: Layer) -> Verdict:
        code = {Layer.L4: CheckCode.L4TOUT, Layer.L6: CheckCode.L6TOUT}.get(layer)
        if code is None:
            step = self._current
            code = CheckCode.L7TOUT
            if isinstance(step, Expect) and step.timeout is not None:
                code = step.timeout
        return self._verdict(code, self._where())

    # -- the steps -------------------------------------------------------------------------

    def _go_on(self) -> Action:
        while self._at < len(self._script.steps):
            ready = self._script.steps[self._at]
            action = self._step(ready)
            if action is not None:
                return action
            self._at += 1
        return self._finish()

    def _step(self, ready: _Ready) -> Action | None:
        step = ready.step
        match step:
            case Connect():
                self._current = step
                self._received = Received()
                self._subject.response, self._subject.answer = b"", None
                self._must_read = True
                port = step.port if isinstance(step.port, int) else None
                if ready.port is not None:
                    port = (ready.port(self._subject) or 0) & _PORTS or None
                return Open(step, port)
            case Send() | SendHttp():
                self._current = step
                self._received = Received()
                self._subject.response, self._subject.answer = b"", None
                self._must_read = True
                self._to_head = isinstance(step, SendHttp) and step.method == "HEAD"
                return self._send(ready)
            case Expect():
                return self._expect(ready, step)
            case SetVar():
                assert ready.sample is not None  # noqa: S101  # made with the step
                sample = ready.sample(self._subject)
                if step.value is None:
                    self._subject.set_variable(step.name, None)
                elif sample is not None:
                    assign(self._subject, step.name, sample, step.conditions)
                return None

    def _send(self, ready: _Ready) -> Action | None:
        if ready.request is not None:
            asked = ready.request(self._subject)
            if self._http2 is None:
                return Write(request(*asked))
            http2 = self._http2
            said = http2.request(asked.method, asked.uri, asked.headers, asked.body)
            return self.failed(Layer.L7, "") if http2.failed else Write(said)
        assert ready.send is not None  # noqa: S101  # made with the step
        try:
            data = ready.send(self._subject)
        except _UnsendableError:
            return self._verdict(
                CheckCode.L7RSP,
                "tcp-check send : failed to build log-format string at step"
                f" {self._number(self._current)}",
            )
        return Write(data) if data else None

    def _expect(self, ready: _Ready, step: Expect) -> Action | None:
        self._current = step
        if self._must_read:
            return self._read()
        assert ready.judge is not None  # noqa: S101  # made with the step
        answer = self._received.answer
        if self._keep_404 and answer is not None and answer.status == 404:
            self._received.number = answer.status
            return None
        result = ready.judge(self._received, self._subject)
        if result is Sofar.WAIT:
            self._at = ready.head
            self._must_read = True
            return self._read()
        if isinstance(result, Verdict):
            return self._verdict(result.code, result.info, result.number)
        return None

    def _finish(self) -> Verdict:
        step = self._current
        tcp = self._script.family is Family.TCP
        if isinstance(step, Expect):
            if self._keep_404 and self._received.number == 404:
                return self._verdict(CheckCode.L7OKC, "", 404)
            ready = next(one for one in self._script.steps if one.step is step)
            assert ready.on_success is not None and ready.number is not None  # noqa: S101, PT018
            info = ready.on_success(self._subject) if step.on_success else ""
            if not step.on_success and tcp:
                info = "(tcp-check)"
            number = ready.number(self._received, self._subject)
            return self._verdict(step.ok or CheckCode.L7OK, info, number)
        if isinstance(step, Connect):
            code = CheckCode.L6OK if self._secure else CheckCode.L4OK
            return self._verdict(code, "(tcp-check)" if step.number else "")
        return self._verdict(CheckCode.L7OK, "(tcp-check)")

    # -- what is received ------------------------------------------------------------------

    def _read(self) -> Action:
        """Wait for more, having said what HTTP/2 wants to be said meanwhile."""
        data = self._http2.unsent() if self._http2 is not None else b""
        self._acknowledges = bool(data)
        return Write(data) if data else READ

    def _came_in_frames(self, http2: Http2, data: bytes) -> Action:
        received = self._received
        http2.receive(data)
        answer = http2.answer
        if answer is None and http2.failed:
            return self.failed(Layer.L7, "")
        if answer is None and not data:
            return self._empty()
        full = answer is not None and len(answer.body) >= MOST_BYTES
        received.over = received.over or not data or http2.over or full
        received.broken = http2.broken
        received.answer = self._subject.answer = answer
        self._must_read = False
        return self._go_on()

    def _read_http(self) -> None:
        received = self._received
        try:
            received.answer = parse(received.data, ended=received.over, to_head=self._to_head)
        except NotHttpError:
            received.broken = True
            received.answer = None
        self._subject.answer = received.answer

    def _empty(self) -> Verdict:
        step = self._current
        comment = step.comment if step is not None else None
        info = f"TCPCHK got an empty response at step {self._number(step)}"
        if comment:
            info += f" comment: '{comment}'"
        code = step.error if isinstance(step, Expect) and step.error else CheckCode.L7RSP
        return self._verdict(code, info)

    # -- what is said ----------------------------------------------------------------------

    @staticmethod
    def _number(step: Connect | Send | SendHttp | Expect | None) -> int:
        return 1 if step is None else step.number

    def _where(self) -> str:
        """Where a tcp-check was when its connection failed, or its time was up."""
        if self._script.family is not Family.TCP:
            return ""
        step = self._current
        number = self._number(step)
        if not number:
            return " at initial connection step of tcp-check"
        said = f" at step {number} of tcp-check"
        match step:
            case Connect(port=int() as port):
                said += f" (connect port {port})"
            case Connect():
                said += " (connect)"
            case Expect():
                said += f" {waiting_for(step)}"
            case Send() | SendHttp():
                said += " (send)"
            case None:
                pass
        if step is not None and step.comment:
            said += f" comment: '{step.comment}'"
        return said

    @staticmethod
    def _verdict(code: CheckCode, info: str, number: int = 0) -> Verdict:
        encoded = info.encode(errors="surrogateescape").partition(b"\0")[0]
        return Verdict(code, encoded[:_LONGEST_INFO].decode(errors="surrogateescape"), number)
