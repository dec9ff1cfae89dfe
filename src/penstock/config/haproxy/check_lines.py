# SPDX-License-Identifier: Apache-2.0
"""``tcp-check``, ``http-check`` and ``external-check`` lines (HAProxy manual 4.2)."""

from __future__ import annotations

from collections.abc import Callable

from penstock.checks.model import Connect, Expect, SetVar
from penstock.config.haproxy.check_draft import Comment, HttpRequest, Rule
from penstock.config.haproxy.check_expect import read_expect
from penstock.config.haproxy.check_steps import (
    read_comment,
    read_connect,
    read_http_send,
    read_send,
    read_variable,
)
from penstock.config.haproxy.check_words import Reader
from penstock.config.haproxy.draft import BACK, Line, ProxyDraft
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.syntax import warn_without

_VARIABLES = ("set-var", "set-var-fmt", "unset-var")
_SHOWN = "'set-var-fmt(*)', 'set-var(*)', 'unset-var(*)'"
_SENDS = ("send", "send-binary", "send-lf", "send-binary-lf")


def parse_tcp_check(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """Raises LineError."""
    warn_without(context, proxy, line, BACK)
    rules = proxy.checks.tcp
    kind = line[1]
    if kind.partition("(")[0] not in (*_SENDS, *_VARIABLES, "connect", "expect", "comment"):
        raise LineError(
            "'tcp-check' only supports 'comment', 'connect', 'send', 'send-binary', 'expect',"
            f" {_SHOWN}. but got '{kind}'"
        )
    reader = Reader(context, line)
    rules.append(_headed(line, lambda: _tcp_rule(reader, rules)))
    proxy.rules.setdefault("tcp-check", line.origin)


def _tcp_rule(reader: Reader, rules: list[Rule]) -> Rule:
    number = len(rules) + 1
    kind = reader.line[1]
    if kind == "connect":
        return read_connect(reader, rules, number)
    if kind in _SENDS:
        return read_send(reader, number)
    if kind == "expect":
        return read_expect(reader, number, http=False)
    if kind == "comment":
        return read_comment(reader)
    return read_variable(reader)


def parse_http_check(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """Raises LineError."""
    warn_without(context, proxy, line, BACK)
    checks, kind = proxy.checks, line[1]
    if kind in ("disable-on-404", "send-state"):
        if line[2]:
            raise LineError(f"'http-check' cannot handle unexpected argument '{line[2]}'.")
        checks.keep_404 |= kind == "disable-on-404"
        checks.send_state |= kind == "send-state"
        return
    if kind.partition("(")[0] not in (*_VARIABLES, "connect", "send", "expect", "comment"):
        raise LineError(
            "'http-check' only supports 'disable-on-404', 'send-state', 'comment', 'connect',"
            f" 'send', 'expect', {_SHOWN}. but got '{kind}'"
        )
    reader = Reader(context, line)
    number = checks.http_places + 1
    rule = _headed(line, lambda: _http_rule(reader, checks.http, number))
    if checks.option == "httpchk":
        _headed(line, lambda: _refuse_order(rule, checks.http, number))
    checks.http.append(rule)
    proxy.rules.setdefault("http-check", line.origin)


def _http_rule(reader: Reader, rules: list[Rule], number: int) -> Rule:
    match reader.line[1]:
        case "connect":
            return read_connect(reader, rules, number)
        case "send":
            return read_http_send(reader, number)
        case "expect":
            return read_expect(reader, number, http=True)
        case "comment":
            return read_comment(reader)
        case _:
            return read_variable(reader)


def _refuse_order(rule: Rule, rules: list[Rule], number: int) -> Rule:
    """A request follows a connection, an answer follows a request, and so on."""
    steps = [one for one in rules if not isinstance(one, Comment | SetVar)]
    if not steps:
        return rule
    last = steps[-1]
    wanted = None
    if isinstance(rule, HttpRequest) and not isinstance(last, Connect):
        wanted = "send", "connect"
    elif isinstance(rule, Expect) and not isinstance(last, HttpRequest | Expect):
        wanted = "expect", "send"
    elif isinstance(rule, Connect) and not isinstance(last, Expect):
        wanted = "connect", "expect"
    if wanted is not None:
        raise LineError(
            f"unable to add http-check {wanted[0]} rule at step {number} (missing"
            f" {wanted[1]} rule)."
        )
    return rule


def _headed(line: Line, read: Callable[[], Rule]) -> Rule:
    """What *read* gives; its errors with the words that HAProxy puts in front of them."""
    try:
        return read()
    except LineError as error:
        raise LineError(f"'{line[0]} {line[1]}' : {error.message}.") from None


def parse_external_check(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """Raises LineError."""
    if not line[1]:
        raise LineError("missing argument after 'external-check'.")
    if line[1] not in ("command", "path"):
        raise LineError(
            f"'external-check' only supports 'command' and 'path'. but got '{line[1]}'."
        )
    if line[3]:
        raise LineError(f"'external-check' cannot handle unexpected argument '{line[3]}'.")
    if not line[2]:
        raise LineError(f"missing argument after '{line[1]}'.")
    if line[1] == "command":
        proxy.external_command = line[2]
    else:
        proxy.checks.external_path = line[2]
    proxy.rules.setdefault(f"external-check {line[1]}", line.origin)
