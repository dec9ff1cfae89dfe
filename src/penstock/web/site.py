# SPDX-License-Identifier: Apache-2.0
"""What one service of mode http answers: the order of things is HAProxy's.

First the monitor's question, then for the frontend and for the backend it chooses: rules, the
statistics, redirections. What is left gets what HAProxy says of a backend without servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from penstock.http_service import DEFAULT_REALM, HttpSection, HttpService, StatsPage
from penstock.rules.evaluate import Test, Where, compile_condition
from penstock.rules.model import Stage
from penstock.rules.program import Program, Verdict
from penstock.rules.program import compile_rules as compile_tcp_rules
from penstock.rules.subject import Subject
from penstock.statistics.schema import SCHEMA
from penstock.web import page as html
from penstock.web import prometheus
from penstock.web.accounts import accounts
from penstock.web.admin import FormError, carry_out, read_form
from penstock.web.asked import Asked, Caller
from penstock.web.credentials import is_one_of
from penstock.web.errors import page as error_page
from penstock.web.errors import unauthorized
from penstock.web.http1 import Answer, Hangup, Request, Response
from penstock.web.rules import Metrics, Rules, compile_rules
from penstock.web.statistics import Statistics, dumped, selected_by, within
from penstock.web.stats_uri import Format, Outcome, StatsQuery, read_query, redirection

_METHODS = ("GET", "HEAD", "POST")
_NOBODY_SERVES = 503
_TYPES = {
    Format.HTML: "text/html; charset=utf-8",
    Format.JSON: "application/json",
    Format.SCHEMA: "application/json",
}


@dataclass(frozen=True, slots=True)
class _Page:
    """The statistics of a section."""

    said: StatsPage
    admin: tuple[Test, ...]
    rules: Rules


@dataclass(frozen=True, slots=True)
class _Section:
    said: HttpSection
    rules: Rules
    page: _Page | None
    redirects: Rules


class Site:
    """Called with each request. Pure but for what *statistics* does."""

    def __init__(self, service: HttpService, statistics: Statistics) -> None:
        self._service = service
        self._statistics = statistics
        users = accounts(service.users)
        where = Where(service.name, final=True, http=True, users=users)
        self._front = _section(service.front, where)
        self._routes = tuple(
            (
                compile_condition(route.condition, where),
                _section(route.section, replace(where, section=route.section.name)),
            )
            for route in service.routes
        )
        self._fails = tuple(compile_condition(one, where) for one in service.monitor_fail)
        self._stages = {
            stage: compile_tcp_rules(service.tcp_rules, stage, service.name, http=True)
            for stage in (Stage.CONNECTION, Stage.SESSION, Stage.CONTENT)
        }

    def admits(self, caller: Caller) -> bool:
        """Whether tcp-request rules let *caller* in."""
        subject = self._asked(caller, None)
        programs = (self._stages[Stage.CONNECTION], self._stages[Stage.SESSION])
        return all(_accepts(program, subject) for program in programs)

    def __call__(self, request: Request, caller: Caller) -> Answer:
        if caller.proxied and not self.admits(caller):
            return Hangup.SILENT
        subject = self._asked(caller, request)
        if not _accepts(self._stages[Stage.CONTENT], subject):
            return Hangup.SILENT
        if self._is_monitor(request):
            failing = any(test(subject) for test in self._fails)
            return error_page(_NOBODY_SERVES if failing else 200)
        answer = self._of(self._front, subject, request)
        if answer is not None:
            return answer
        for test, section in self._routes:
            if test(subject):
                return self._of(section, subject, request) or error_page(_NOBODY_SERVES)
        return error_page(_NOBODY_SERVES)

    def _asked(self, caller: Caller, request: Request | None) -> Asked:
        service = self._service
        return Asked(caller, (service.front.id, service.name), self._statistics.traffic, request)

    def _is_monitor(self, request: Request) -> bool:
        uri = self._service.monitor_uri
        if uri is None:
            return False
        head = request.head
        return head.target == uri or (uri.startswith("/") and head.path == uri)

    def _of(self, section: _Section, subject: Subject, request: Request) -> Answer | None:
        """What *section* answers; None: the next one is asked."""
        decided = section.rules.run(subject, request)
        if isinstance(decided, Metrics):
            return prometheus.answer(request, self._statistics)
        if decided is not None:
            return decided
        if section.page is not None and request.head.method in _METHODS:
            uri = section.page.said.uri
            where = request.head.path if uri.startswith("/") else request.head.target
            query = read_query(section.page.said, where)
            if query is not None:
                return self._statistics_page(
                    section.said.name, section.page, query, subject, request
                )
        answer = section.redirects.run(subject, request)
        return answer if not isinstance(answer, Metrics) else None

    def _statistics_page(
        self, own: str, page: _Page, query: StatsQuery, subject: Subject, request: Request
    ) -> Answer:
        said = page.said
        if said.users and not is_one_of(request.head, said.users):
            return unauthorized(said.realm or DEFAULT_REALM)
        decided = page.rules.run(subject, request)
        if decided is not None and not isinstance(decided, Metrics):
            return decided
        admin = any(test(subject) for test in page.admin)
        if request.head.method == "POST":
            outcome = self._posted(request) if admin else Outcome.DENY
            return Response(
                303,
                b"",
                (
                    ("cache-control", "no-cache"),
                    ("content-type", "text/plain"),
                    ("location", redirection(said, query, outcome)),
                ),
            )
        return self._shown(own, said, query, admin=admin)

    def _posted(self, request: Request) -> Outcome:
        if request.excess:
            return Outcome.EXCD
        try:
            form = read_form(request.body)
        except FormError:
            return Outcome.ERRP
        return Outcome.NONE if form is None else carry_out(form, self._statistics.run)

    def _shown(self, own: str, said: StatsPage, query: StatsQuery, *, admin: bool) -> Response:
        fields = [
            ("cache-control", "no-cache"),
            ("content-type", _TYPES.get(query.format, "text/plain")),
        ]
        if said.refresh and query.refreshes:
            fields.append(("refresh", str(said.refresh)))
        if query.format is Format.SCHEMA:
            return Response(200, SCHEMA.encode(), tuple(fields))
        selected, wanted = selected_by(said, query), within(said, query, own)
        pieces: Iterator[str]
        if query.format is Format.CSV:
            pieces = self._statistics.csv(selected, wanted)
        elif query.format is Format.HTML:
            fields.append(html.POLICY)
            rows = self._statistics.rows(selected, wanted)
            pieces = html.render(said, query, rows, self._statistics.info(), admin=admin)
        else:
            pieces = dumped(self._statistics.rows(selected, wanted), query.format)
        return Response(200, fields=tuple(fields), pieces=pieces)


def site(service: HttpService, statistics: Statistics) -> tuple[Site, Callable[[Caller], bool]]:
    """What answers for *service*, and whom it lets connect."""
    made = Site(service, statistics)
    return made, made.admits


def _section(said: HttpSection, where: Where) -> _Section:
    page = None
    if said.page is not None:
        page = _Page(
            said.page,
            tuple(compile_condition(one, where) for one in said.page.admin),
            compile_rules(said.page.rules, where),
        )
    return _Section(
        said,
        compile_rules(said.rules, where, realm=said.name),
        page,
        compile_rules(said.redirects, where),
    )


def _accepts(program: Program, subject: Subject) -> bool:
    return program.run(subject).verdict is Verdict.ACCEPT
