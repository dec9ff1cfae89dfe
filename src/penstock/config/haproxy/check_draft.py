# SPDX-License-Identifier: Apache-2.0
"""What a section says of health checks, before it is a ruleset.

HAProxy keeps a section's own tcp-check and http-check rules apart from those of its defaults: own
ones replace the others as a whole (its manual 4.2, "option tcp-check", "option httpchk").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from penstock.checks.model import (
    Connect,
    Expect,
    Family,
    Format,
    Ruleset,
    Send,
    SendHttp,
    SetVar,
    Statuses,
    Step,
)


@dataclass(frozen=True, slots=True)
class Comment:
    """``tcp-check comment``: it belongs to the steps that follow."""

    text: str


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An ``http-check send``, or what ``option httpchk`` says of one; None: nothing."""

    number: int = 0
    method: str | None = None
    uri: str | Format | None = None
    version: str | None = None
    headers: tuple[tuple[str, Format], ...] = ()
    body: bytes | Format | None = None
    comment: str | None = None

    def over(self, other: HttpRequest) -> HttpRequest:
        """This one, and where it says nothing the *other*."""
        return HttpRequest(
            self.number or other.number,
            self.method or other.method,
            self.uri if self.uri is not None else other.uri,
            self.version or other.version,
            self.headers or other.headers,
            self.body if self.body is not None else other.body,
            self.comment or other.comment,
        )

    def step(self) -> SendHttp:
        return SendHttp(
            self.number,
            self.method or "OPTIONS",
            self.uri or "/",
            self.version or "HTTP/1.0",
            self.headers,
            self.body or b"",
            self.comment,
        )


Rule = Connect | Send | HttpRequest | Expect | SetVar | Comment


@dataclass(slots=True)
class CheckDraft:
    """*option* is the one that counts: "tcp-check", "httpchk", "mysql-check"…"""

    option: str | None = None
    own_option: bool = False  # it stands in this section
    ruleset: Ruleset | None = None  # of an option whose steps are fixed
    implicit: HttpRequest | None = None  # of option httpchk
    tcp: list[Rule] = field(default_factory=list)
    http: list[Rule] = field(default_factory=list)
    keep_404: bool = False
    send_state: bool = False
    external_path: str | None = None
    above: CheckDraft | None = None  # that of the defaults section

    def handed_down(self) -> CheckDraft:
        """What a section begins with whose defaults these are."""
        return CheckDraft(
            option=self.option,
            ruleset=self.ruleset,
            keep_404=self.keep_404,
            send_state=self.send_state,
            external_path=self.external_path,
            above=self,
        )

    def choose(self, option: str, ruleset: Ruleset | None = None) -> None:
        """An option of this section's."""
        self.option, self.ruleset, self.own_option = option, ruleset, True

    @property
    def tcp_rules(self) -> list[Rule]:
        """Those of ``option tcp-check``: own ones, or else those of the defaults."""
        if not self.tcp and self.above is not None and self.above.option == "tcp-check":
            return self.above.tcp_rules
        return self.tcp

    @property
    def http_rules(self) -> list[Rule]:
        """Those of ``option httpchk``, with the request that the option stands for."""
        above = self.above
        if not self.own_option and not self.http and above is not None:
            return above.http_rules if above.option == "httpchk" else []
        return _with_implicit(self.http, self.implicit)

    @property
    def begins_with_request(self) -> bool:
        """The option's request is in no rule that is written here."""
        written = any(isinstance(one, HttpRequest) for one in self.http)
        return self.option == "httpchk" and self.implicit is not None and not written

    @property
    def http_places(self) -> int:
        """How many places the http-check rules take: HAProxy counts one request as the option's."""
        requests = [at for at, one in enumerate(self.http) if isinstance(one, HttpRequest)]
        merged = self.implicit is not None and bool(requests) and requests[0] > 0
        return len(self.http) - merged

    @property
    def lacks_request(self) -> bool:
        """Own http-check rules stand without the request of the defaults' ``option httpchk``."""
        own = [one for one in self.http if not isinstance(one, Comment | SetVar)]
        return (
            self.option == "httpchk"
            and not self.own_option
            and bool(own)
            and not any(isinstance(one, HttpRequest) for one in own)
        )

    def finished(self) -> Ruleset | None:
        """The ruleset; None: a connection is enough, or a program checks."""
        match self.option:
            case "tcp-check":
                return Ruleset(Family.TCP, tuple(_settled(self.tcp_rules)))
            case "httpchk":
                rules = self.http_rules
                steps = [one for one in rules if not isinstance(one, Comment | SetVar)]
                if steps and isinstance(steps[-1], HttpRequest):
                    implied = Expect(_after_request(steps), Statuses(((200, 399),)))
                    rules = [*rules, implied]
                return Ruleset(Family.HTTP, tuple(_settled(rules)))
            case _:
                return self.ruleset


def _after_request(steps: Sequence[Rule]) -> int:
    """The number of what comes after the last of *steps*, a request.

    The first request keeps the place of the option's, which is the first one; an option's that
    comes after a connect has its own (HAProxy's src/tcpcheck.c, check_proxy_tcpcheck()).
    """
    requests = [one for one in steps if isinstance(one, HttpRequest)]
    if len(requests) > 1:
        return requests[-1].number + 1
    return 3 if not requests[0].number and isinstance(steps[0], Connect) else 2


def _with_implicit(rules: list[Rule], implicit: HttpRequest | None) -> list[Rule]:
    """*rules* with the option's request: in the first one that is written, or before all."""
    if implicit is None:
        return rules
    steps = [at for at, one in enumerate(rules) if not isinstance(one, Comment | SetVar)]
    first = next(iter(steps), None)
    if first is not None and isinstance(rules[first], Connect):
        after = first + 1
        first = next((at for at in steps if at > first), None)
    else:
        after = 0
    if first is not None and isinstance(written := rules[first], HttpRequest):
        return [*rules[:first], written.over(implicit), *rules[first + 1 :]]
    return [*rules[:after], implicit, *rules[after:]]


def _settled(rules: list[Rule]) -> list[Step]:
    """Steps alone; a comment goes with those of one kind that follow it."""
    steps: list[Step] = []
    comment: str | None = None
    before: type[Rule] = Comment
    for rule in rules:
        kind = HttpRequest if isinstance(rule, Send) else type(rule)
        if kind is not before and before is not Comment:
            comment = None
        before = kind
        if isinstance(rule, Comment):
            comment = rule.text
            continue
        if isinstance(rule, SetVar):
            comment = None
            steps.append(rule)
            continue
        if comment is not None and rule.comment is None:
            rule = replace(rule, comment=comment)  # noqa: PLW2901  # the rule with its comment
        if isinstance(rule, Connect):
            comment = None
        steps.append(rule.step() if isinstance(rule, HttpRequest) else rule)
    return steps
