# SPDX-License-Identifier: Apache-2.0
"""What samples in a check's steps look at: its server, its connection, what has been received.

As HAProxy's checks have it: no client, no frontend, variables of their own. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from penstock.rules.evaluate import Where, compile_expression, compile_parts, with_converters
from penstock.rules.fetches import Fetch
from penstock.rules.http_samples import HttpFetch, http_fetch
from penstock.rules.model import Expression
from penstock.rules.samples import WAITING, Found, Sample
from penstock.rules.subject import Act, Process, Subject, Tables, Traffic
from penstock.terms import Address, Origin
from penstock.wire.http_answer import Answer

Ends = tuple[Address | None, int, Address | None, int]


@dataclass(frozen=True, slots=True)
class World:
    """What is around all checks: the clock, chance, this process."""

    microseconds: Callable[[], int]  # since 1970
    random: Callable[[], int]  # 32 bits
    process: Process


class CheckSubject:
    """One run of a check, as rules see it (``rules.subject.Subject``)."""

    def __init__(self, pool: tuple[int, str], server: tuple[int, str], world: World) -> None:
        self._world = world
        self._variables: dict[str, Sample] = {}
        self.pool: tuple[int, str] | None = pool
        self.server: tuple[int, str] | None = server
        self.server_ends: Ends | None = None
        self.response = b""
        self.answer: Answer | None = None
        self.request = b""
        self.state: str | None = None  # what ``http-check send-state`` tells the server

    final = True
    method: str | None = None
    source: Address | None = None
    source_port = 0
    destination: Address | None = None
    destination_port = 0
    socket_ends: Ends = (None, 0, None, 0)
    listener = (0, "")
    frontend = (0, "CHECKS-FE")
    default_pool = ""

    @property
    def traffic(self) -> Traffic:
        raise AssertionError("samples of traffic are refused when a check is read")

    @property
    def tables(self) -> Tables:
        raise AssertionError("samples of tables are refused when a check is read")

    @property
    def process(self) -> Process:
        return self._world.process

    def tracked(self, counter: int) -> tuple[str, Sample] | None:
        return None

    def variable(self, name: str) -> Sample | None:
        return self._variables.get(name)

    def set_variable(self, name: str, value: Sample | None) -> None:
        if value is None:
            self._variables.pop(name, None)
        else:
            self._variables[name] = value

    def microseconds(self) -> int:
        return self._world.microseconds()

    def random(self) -> int:
        return self._world.random()

    def tls(self, fetch: str, arguments: tuple[str, ...]) -> Sample | None:
        return None

    def captured(self, at: int) -> None:
        return None

    def unique_id(self) -> None:
        return None

    def decided_by(self) -> Origin | None:
        return None

    def header(self, fetch: str) -> Sample | None:
        return None

    def tcp_info(self, fetch: str) -> int | None:
        return None

    def timeout(self, fetch: str) -> int | None:
        return None

    def act(self, act: Act) -> NoReturn:
        raise AssertionError("checks have no such rules")


def compile_sample(expression: Expression, section: str) -> Fetch:
    """A sample of a check in *section*. Raises UnsupportedError."""
    call = expression.fetch
    of_answer = http_fetch(call.name, call.arguments)
    if of_answer is None:
        return compile_expression(expression, Where(section, response=True))
    return with_converters(_from_answer(of_answer), expression.converters, Where(section))


def _from_answer(fetch_answer: HttpFetch) -> Fetch:
    def fetch(subject: Subject) -> Found:
        answer = subject.answer if isinstance(subject, CheckSubject) else None
        return WAITING if answer is None else fetch_answer(answer)

    return fetch


def compile_text(format_: tuple[str | Expression, ...], section: str) -> Callable[[Subject], str]:
    """A log format of a check in *section*. Raises UnsupportedError."""
    return compile_parts(
        [part if isinstance(part, str) else compile_sample(part, section) for part in format_]
    )
