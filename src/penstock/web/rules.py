# SPDX-License-Identifier: Apache-2.0
"""``http-request`` rules made into functions of a request (manual 4.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.http_service import DEFAULT_REALM, HttpAction, HttpRule, Redirection
from penstock.rules.evaluate import Test, Where, compile_condition
from penstock.rules.subject import Subject
from penstock.web.errors import page, unauthorized
from penstock.web.http1 import Answer, Hangup, Request, Response


@dataclass(frozen=True, slots=True)
class Metrics:
    """The rule hands the request to the Prometheus exporter."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a section, in order."""

    rules: tuple[tuple[Test, HttpRule], ...]
    realm: str  # of ``auth`` without one

    def run(self, subject: Subject, request: Request) -> Answer | Metrics | None:
        """What the first one that decides gives; None: the request is allowed."""
        for test, rule in self.rules:
            if rule.action is HttpAction.NOTHING or not test(subject):
                continue
            match rule.action:
                case HttpAction.ALLOW:
                    return None
                case HttpAction.PROMETHEUS:
                    return Metrics()
                case HttpAction.AUTH:
                    return unauthorized(rule.text or self.realm)
                case HttpAction.DENY:
                    return _denied(rule)
                case HttpAction.RETURN:
                    return Response(rule.status, rule.text.encode(), _type(rule))
                case HttpAction.REDIRECT:
                    return redirected(rule, request)
                case HttpAction.REJECT:
                    return Hangup.SILENT
        return None


def compile_rules(rules: Iterable[HttpRule], where: Where, realm: str = DEFAULT_REALM) -> Rules:
    return Rules(tuple((compile_condition(rule.condition, where), rule) for rule in rules), realm)


def _type(rule: HttpRule) -> tuple[tuple[str, str], ...]:
    return (("content-type", rule.content_type),) if rule.content_type else ()


def _denied(rule: HttpRule) -> Response:
    if rule.text:
        return Response(rule.status, rule.text.encode(), _type(rule))
    return page(rule.status)


def redirected(rule: HttpRule, request: Request) -> Response:
    """Where *rule* sends the client to."""
    head = request.head
    host = (head.values("host") or [""])[-1]
    match rule.redirection:
        case Redirection.LOCATION:
            target = rule.text
        case Redirection.PREFIX:
            target = ("" if rule.text == "/" else rule.text) + head.path
        case Redirection.SCHEME:
            target = f"{rule.text}://{host}{head.path}"
    return Response(rule.status, b"", (("location", target),))
