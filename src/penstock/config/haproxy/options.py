# SPDX-License-Identifier: Apache-2.0
"""``option`` lines of proxy sections."""

from __future__ import annotations

from penstock.c_numbers import atol
from penstock.config.haproxy.check_options import parse_check_option
from penstock.config.haproxy.draft import (
    BACK,
    BOTH,
    FRONT,
    Capability,
    FormatLine,
    Line,
    Mode,
    Prefix,
    ProxyDraft,
    Said,
)
from penstock.config.haproxy.keywords import OPTIONS, Keyword, Status, words
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.suggest import closest
from penstock.config.haproxy.syntax import at_most, warn_without
from penstock.logs.format import TCP_FORMAT

_REMOVED = {
    "forceclose": (
        "is not supported any more since HAProxy 2.0, please just remove it, or use"
        " 'option httpclose' if absolutely needed."
    ),
    "http-tunnel": (
        "is not supported any more since HAProxy 2.1, please just remove it, it shouldn't be"
        " needed."
    ),
    "http_proxy": (
        "is not supported any more since HAProxy 2.5. This option stopped working in HAProxy 1.9"
        " and usually had nasty side effects. It can be more reliably implemented with"
        " combinations of 'http-request set-dst' and 'http-request set-uri', and even"
        " 'http-request do-resolve' if DNS resolution is desired."
    ),
}
# Options that "no" and "default" apply to, beside the three HTTP modes.
_FLAGS = tuple(  # in an order, for of equals the first one is suggested
    name
    for name in OPTIONS
    if name
    not in words(
        "httplog tcplog httpslog tcpka httpchk ssl-hello-chk smtpchk pgsql-check redis-check"
        " mysql-check ldap-check spop-check tcp-check external-check forwardfor originalto"
        " http-restrict-req-hdr-names redispatch"
    )
    and name not in _REMOVED
)
_HTTP_MODES = ("httpclose", "http-server-close", "http-keep-alive")
_LOGS = ("tcplog", "httplog", "httpslog")
_CHECKS = words(
    "httpchk ssl-hello-chk smtpchk pgsql-check redis-check mysql-check ldap-check spop-check"
    " tcp-check external-check"
)


def parse_option(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """One ``option`` line of *proxy*. Raises LineError."""
    name = line[1]
    if not name:
        raise LineError("'option' expects an option name.")
    if name in _REMOVED:
        raise LineError(f"option '{name}' {_REMOVED[name]}")
    keyword = OPTIONS.get(name)
    if keyword is None:
        _negation(line)
        best = closest(name, [*_SUGGESTED, *_FLAGS])
        hint = f"; did you mean '{best}' maybe ?" if best else "."
        raise LineError(f"unknown option '{name}'{hint}")
    if name in _HTTP_MODES:
        at_most(line, 0, option=True)
    elif name in _FLAGS:
        at_most(line, 0, option=True)
        warn_without(context, proxy, line, _side(keyword), name=name, ignore=True)
    elif name == "redispatch":
        warn_without(context, proxy, line, BACK, name=name, ignore=True)
    else:
        _negation(line)
        _valued(context, proxy, line, name)
    _record(context, proxy, line, keyword)


def _negation(line: Line) -> None:
    if line.prefix is not Prefix.NONE:
        raise LineError(f"negation/default is not supported for option '{line[1]}'.")


def _side(keyword: Keyword) -> Capability:
    front, back = "F" in keyword.where, "B" in keyword.where
    if front and back:
        return BOTH
    return FRONT if front else BACK


def _valued(context: Context, proxy: ProxyDraft, line: Line, name: str) -> None:
    if name in _LOGS:
        _log(context, proxy, line, name)
    elif name in _CHECKS:
        if name != "external-check":
            warn_without(context, proxy, line, BACK, name=name, ignore=True)
        parse_check_option(context, proxy, line)
    elif name == "tcpka":
        warn_without(context, proxy, line, BOTH, name=name)
        at_most(line, 0, option=True)
    elif name in ("forwardfor", "originalto"):
        _forwardfor(line, name)
    elif name == "http-restrict-req-hdr-names":
        if not line[2]:
            raise LineError(
                f"missing parameter. option '{name}' expects 'preserve', 'reject' or 'delete'"
                " option."
            )
        if line[2] not in ("preserve", "reject", "delete"):
            raise LineError(
                f"invalid parameter '{line[2]}'. option '{name}' expects 'preserve', 'reject' or"
                " 'delete' option."
            )


def _log(context: Context, proxy: ProxyDraft, line: Line, name: str) -> None:
    if name == "httplog" and line[2]:
        if line[2] != "clf":
            raise LineError(f"keyword '{name}' only supports option 'clf'.")
        if line[3]:
            raise LineError(f"'option {name}' cannot handle unexpected argument '{line[3]}'.")
    shown = f"option {name}" + (" clf" if line[2] == "clf" else "")
    if name == "tcplog":
        at_most(line, 0, option=True)
    set_format(context, proxy, line, FormatLine(shown, TCP_FORMAT, line.origin))


def set_format(context: Context, proxy: ProxyDraft, line: Line, said: FormatLine) -> None:
    """Remember the format that *line* sets, of lines or of structured data or errors.

    Warns where HAProxy does.
    """
    kind = said.shown if said.shown in ("log-format-sd", "error-log-format") else "log-format"
    before = proxy.log_formats.get(kind)
    if before is not None and proxy.capability & Capability.DEFAULTS:
        context.report.warn(
            line.origin,
            f"'{said.shown}' overrides previous '{before.shown}' in 'defaults' section.",
        )
    proxy.log_formats[kind] = said
    if not proxy.capability & (Capability.DEFAULTS | FRONT):
        directive = " ".join(said.shown.split()[:2])
        context.report.warn(
            line.origin,
            f"backend '{proxy.name}' : '{directive}' directive is ignored in backends.",
        )


def _forwardfor(line: Line, name: str) -> None:
    at = 2
    while word := line[at]:
        if word in ("except", "header"):
            if not line[at + 1]:
                what = "<address>[/mask]" if word == "except" else "<header_name>"
                raise LineError(f"'option {name} {word}' expects {what} as argument.")
            at += 2
        elif word == "if-none" and name == "forwardfor":
            at += 1
        else:
            allowed = (
                "'except', 'header' and 'if-none'"
                if name == "forwardfor"
                else "'except' and 'header'"
            )
            raise LineError(f"'option {name}' only supports optional values: {allowed}.")


def _record(context: Context, proxy: ProxyDraft, line: Line, keyword: Keyword) -> None:
    name = keyword.name
    if line.prefix is not Prefix.NONE:
        proxy.options.pop(name, None)
        if name == "redispatch":
            proxy.redispatch = 0
        proxy.said = [s for s in proxy.said if s.keyword is not keyword]
        return
    if name in _HTTP_MODES:
        for mode in _HTTP_MODES:
            proxy.options.pop(mode, None)
    proxy.options[name] = line.origin
    if name == "redispatch":
        proxy.redispatch = atol(line[2]) if line[2] else -1
    if keyword.status in (Status.LATER, Status.PROXY, Status.NOWHERE):
        proxy.said.append(Said(line.origin, keyword, f"option {name}"))
    elif keyword.status is Status.IGNORED and not (keyword.http and proxy.mode is Mode.HTTP):
        context.report.note(line.origin, f"'option {name}' is ignored: {keyword.text}.")


_SUGGESTED = sorted(
    words(
        "httpclose http-server-close http-keep-alive redispatch httplog tcplog tcpka httpchk"
        " ssl-hello-chk smtpchk pgsql-check redis-check mysql-check ldap-check spop-check tcp-check"
        " external-check forwardfor original-to nat"
    )
)
