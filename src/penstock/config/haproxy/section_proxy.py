# SPDX-License-Identifier: Apache-2.0
"""defaults, frontend, backend and listen sections: their heads, and who reads which keyword."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from penstock.c_numbers import atol
from penstock.config.haproxy import (
    check_lines,
    http_lines,
    rules,
    section_stats,
    settings,
    stick_lines,
)
from penstock.config.haproxy.bind_line import parse_bind
from penstock.config.haproxy.draft import (
    BACK,
    BOTH,
    FRONT,
    RETRIES_OF_FAST_OPEN,
    TRAFFIC_RULES,
    Capability,
    Line,
    Mode,
    Prefix,
    ProxyDraft,
    Said,
)
from penstock.config.haproxy.http_rules import STATUSES_WITH_PAGES
from penstock.config.haproxy.keywords import PROXY, Status, in_order, words
from penstock.config.haproxy.lexer import invalid_char
from penstock.config.haproxy.options import parse_option
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, StopError
from penstock.config.haproxy.server_line import parse_server
from penstock.config.haproxy.suggest import closest
from penstock.config.haproxy.syntax import (
    at_most,
    not_in_defaults,
    warn_without,
)

_CAPABILITY = {
    "defaults": Capability.DEFAULTS | BOTH,
    "frontend": FRONT,
    "backend": BACK,
    "listen": BOTH,
}


# What HAProxy 2.6 takes a misspelt keyword for: those of its modules (-dKcfg), then the others.
_SUGGESTED = in_order(
    "clitcpka-cnt clitcpka-idle clitcpka-intvl clitimeout compression contimeout declare"
    " errorfile errorfiles errorloc errorloc302 errorloc303 external-check filter http-check"
    " http-error max-keep-alive-queue rate-limit retry-on srvtcpka-cnt srvtcpka-idle"
    " srvtcpka-intvl srvtimeout tcp-check tcp-request tcp-response timeout use-fcgi-app listen"
    " frontend backend defaults server default-server server-template bind monitor-net monitor-uri"
    " mode id description disabled enabled bind-process acl dynamic-cookie-key cookie email-alert"
    " persist appsession load-server-state-from-file server-state-file-name max-session-srv-conns"
    " capture retries http-request http-response http-after-response http-send-name-header block"
    " redirect use_backend use-server force-persist ignore-persist stick-table stick stats option"
    " default_backend http-reuse monitor transparent maxconn backlog fullconn dispatch balance"
    " hash-type hash-balance-factor unique-id-format unique-id-header log-format log-format-sd"
    " log-tag log source usesrc error-log-format"
)


_ALL_RETRIES = "all-retryable-errors"
_RETRIES = words(
    f"{_ALL_RETRIES} conn-failure empty-response response-timeout 401 403 404 408 425 500 501 502"
    " 503 504 0rtt-rejected junk-response none"
)


def parse_proxy(context: Context, line: Line) -> None:
    """One line of a defaults or proxy section."""
    if line[0] in _CAPABILITY:
        context.proxy = None
        _head(context, line, _CAPABILITY[line[0]])
        return
    proxy = context.proxy
    if proxy is None:
        raise LineError("'listen' or 'defaults' expected.")
    keyword = PROXY.get(line[0])
    if keyword is None:
        best = closest(line[0], _SUGGESTED)
        hint = f"; did you mean '{best}' maybe ?" if best else ""
        raise LineError(f"unknown keyword '{line[0]}' in '{context.section}' section{hint}")
    if keyword.status is Status.REMOVED:
        _removed(context, proxy, line)
    handler = _HANDLERS.get(line[0])
    if handler is not None:
        decides = handler(context, proxy, line)
        if decides is False:
            return
    else:
        _side_warning(context, proxy, line, keyword.where)
    if line.prefix is not Prefix.NONE:
        return
    if keyword.status in (Status.LATER, Status.PROXY, Status.NOWHERE):
        proxy.said.append(Said(line.origin, keyword, " ".join(line.words[:2])))
    elif keyword.status is Status.IGNORED and not (keyword.http and proxy.mode is Mode.HTTP):
        context.report.note(line.origin, f"'{line[0]}' is ignored: {keyword.text}.")


def _side_warning(context: Context, proxy: ProxyDraft, line: Line, where: str) -> None:
    if "F" in where and "B" not in where:
        warn_without(context, proxy, line, FRONT)
    elif "B" in where and "F" not in where:
        warn_without(context, proxy, line, BACK)


# -- section heads ---------------------------------------------------------------------------


def _head(context: Context, line: Line, capability: Capability) -> None:
    kind, name = line[0], line[1]
    defaults = bool(capability & Capability.DEFAULTS)
    section = ProxyDraft(kind, name, capability, line.origin)
    if not defaults:
        if not name:
            raise StopError(f"'{kind}' expects an <id> argument")
        if (char := invalid_char(name)) is not None:
            context.report.error(
                line.origin, f"character '{char}' is not permitted in '{kind}' name '{name}'."
            )
        _duplicate(context, section)
        if line[2] and (not line[3] or line[2] != "from"):
            if capability & FRONT:
                raise LineError("please use the 'bind' keyword for listening addresses.")
            return
        if line[4]:
            raise LineError(f"'{kind}' cannot handle unexpected argument '{line[4]}'.")
    at = 2
    if defaults and name == "from" and line[2] and not line[3]:
        at, section.name = 1, ""
    parent = None if defaults else context.last_defaults
    if line[at] == "from":
        parent = _named_defaults(context, section, line[at + 1])
        parent.explicit_reference = True
    elif parent is not None:
        parent.implicit_reference = True
    if parent is not None:
        _check_parent(context, section, parent)
        section.inherit(parent)
    context.proxy = section
    if defaults:
        context.draft.defaults.append(section)
        context.last_defaults = section
    else:
        context.draft.proxies.append(section)


def _duplicate(context: Context, section: ProxyDraft) -> None:
    side = FRONT if section.capability & FRONT else BACK
    other = context.draft.proxy(section.name, side)
    if other is not None:
        context.report.error(
            section.origin,
            f"{section.describe} '{section.name}' has the same name as {other.describe}"
            f" '{other.name}' declared at {other.origin}.",
        )


def _named_defaults(context: Context, section: ProxyDraft, name: str) -> ProxyDraft:
    found = [parent for parent in context.draft.defaults if parent.name == name and name]
    if not found:
        raise StopError(
            f"defaults section '{name}' not found for {section.describe} '{section.name}'."
        )
    if len(found) > 1:
        context.report.error(
            section.origin,
            f"ambiguous defaults section name '{name}' referenced by {section.describe}"
            f" '{section.name}' exists at least at {found[0].origin} and {found[1].origin}.",
        )
    if (char := invalid_char(name)) is not None:
        context.report.error(
            section.origin,
            f"character '{char}' is not permitted in defaults section name '{name}' when"
            f" designated by its name (section found at {found[0].origin}).",
        )
    return found[0]


def _check_parent(context: Context, section: ProxyDraft, parent: ProxyDraft) -> None:
    if parent.explicit_reference and parent.implicit_reference:
        context.report.warn(
            section.origin,
            f"defaults section '{parent.name}' (declared at {parent.origin}) is explicitly"
            " referenced by another proxy and implicitly used here. To avoid any ambiguity don't"
            " mix both usage. Add a last defaults section not explicitly used or always use"
            " explicit references.",
        )
    if not TRAFFIC_RULES.intersection(parent.rules):
        return
    if section.capability & Capability.DEFAULTS:
        raise StopError(
            "a defaults section cannot inherit from a defaults section defining TCP/HTTP rules"
            f" (defaults section at {parent.origin})."
        )
    if section.capability & BOTH == BOTH:
        raise StopError(
            "a listen section cannot inherit from a defaults section defining TCP/HTTP rules."
        )
    if section.capability & BACK and {"tcp-request connection", "tcp-request session"}.intersection(
        parent.rules
    ):
        raise StopError(
            "a backend section cannot inherit from a defaults section defining 'tcp-request"
            f" connection' or 'tcp-request session' rules (defaults section at {parent.origin})."
        )
    if section.capability & FRONT and "tcp-response content" in parent.rules:
        raise StopError(
            "a frontend section cannot inherit from a defaults section defining 'tcp-response"
            f" content' rules (defaults section at {parent.origin})."
        )


# -- removed keywords ------------------------------------------------------------------------

_REPLACED = {
    "cliexp": "'http-request replace-path', 'http-request replace-uri' or"
    " 'http-request replace-header'",
    "reqrep": "'http-request replace-path', 'http-request replace-uri' or"
    " 'http-request replace-header'",
    "reqdel": "'http-request del-header'",
    "reqallow": "'http-request allow'",
    "reqtarpit": "'http-request tarpit'",
    "reqirep": "'http-request replace-header'",
    "reqidel": "'http-request del-header'",
    "reqideny": "'http-request deny'",
    "reqiallow": "'http-request allow'",
    "reqitarpit": "'http-request tarpit'",
    "reqadd": "'http-request add-header'",
    "srvexp": "'http-response replace-header'",
    "rsprep": "'http-response replace-header'",
    "rspdeny": "'http-response deny'",
    "rspirep": "'http-response replace-header'",
    "rspidel": "'http-response del-header'",
    "rspideny": "'http-response deny'",
    "rspadd": "'http-response add-header'",
}


def _removed(context: Context, proxy: ProxyDraft, line: Line) -> None:
    name = line[0]
    match name:
        case "clitimeout" | "contimeout" | "srvtimeout":
            settings.parse_removed_timeout(context, proxy, line)
        case "appsession":
            raise LineError("'appsession' is not supported anymore since HAProxy 1.6.")
        case "block":
            raise LineError(
                "The 'block' directive is not supported anymore since HAProxy 2.1."
                " Use 'http-request deny' which uses the exact same syntax."
            )
        case "redispatch" | "redisp":
            raise LineError(
                f"keyword '{name}' directive is not supported anymore since HAProxy 2.1."
                " Use 'option redispatch'."
            )
        case "grace":
            raise LineError(
                "the 'grace' keyword is not supported any more since HAProxy version 2.5."
            )
        case "monitor-net":
            raise LineError(
                "'monitor-net' doesn't exist anymore. Please use 'http-request return status 200"
                f" if {{ src {line[1]} }}' instead."
            )
        case "usesrc":
            raise LineError("'usesrc' only allowed after a 'source' statement.")
        case "reqdeny":
            raise LineError(
                "The 'reqdeny' not supported anymore since HAProxy 2.1."
                " Use 'http-request deny' instead."
            )
        case "reqpass":
            raise LineError("The 'reqpass' not supported anymore since HAProxy 2.1.")
        case "reqipass":
            raise LineError("The 'reqipass' directive is not supported anymore since HAProxy 2.1.")
        case "rspdel":
            raise LineError(
                "The 'rspdel' directive is not supported anymore since HAProxy 2.1."
                " Use 'http-response del-header' ."
            )
    raise LineError(
        f"The '{name}' directive is not supported anymore since HAProxy 2.1."
        f" Use {_REPLACED[name]} instead."
    )


def _transparent(context: Context, proxy: ProxyDraft, line: Line) -> None:
    at_most(line, 0)
    proxy.said = [said for said in proxy.said if said.keyword.name != "transparent"]
    proxy.options.pop("transparent", None)
    if line.prefix is Prefix.NONE:
        proxy.options["transparent"] = line.origin


def _cookie(context: Context, proxy: ProxyDraft, line: Line) -> None:
    warn_without(context, proxy, line, BACK)
    if not line[1]:
        what = "<cookie_name>" if line[0] == "cookie" else "<secret_key>"
        raise LineError(f"'{line[0]}' expects {what} as argument.")
    if line[0] == "cookie":
        proxy.cookie_name = line[1]
        proxy.rules.setdefault("cookie", line.origin)


def _capture(context: Context, proxy: ProxyDraft, line: Line) -> None:
    warn_without(context, proxy, line, FRONT)
    if line[1] not in ("cookie", "request", "response"):
        raise LineError("'capture' expects 'cookie' or 'request header' or 'response header'.")
    not_in_defaults(proxy, f"capture {line[1]}")
    proxy.rules.setdefault(f"capture {line[1]}", line.origin)


def _http_reuse(context: Context, proxy: ProxyDraft, line: Line) -> None:
    warn_without(context, proxy, line, BACK)
    if line[1] not in ("never", "safe", "aggressive", "always"):
        raise LineError("'http-reuse' only supports 'never', 'safe', 'aggressive', 'always'.")


def _name_header(context: Context, proxy: ProxyDraft, line: Line) -> None:
    warn_without(context, proxy, line, BACK)
    if not line[1]:
        raise LineError("'http-send-name-header' requires a header string.")


def _bind_process(context: Context, proxy: ProxyDraft, line: Line) -> None:
    context.report.warn(
        line.origin,
        "'bind-process' has no effect, is deprecated, and will be removed in version 2.7.",
    )


def _errorfile(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """HAProxy reads the file, whoever would answer with it."""
    if not line[1] or not line[2]:
        raise LineError("errorfile : expects <status_code> and <file> as arguments.")
    status = atol(line[1])
    if status not in STATUSES_WITH_PAGES:
        raise LineError(f"errorfile : status code '{status}' not handled.")
    if not context.exists(line[2]):
        raise LineError(f"errorfile : error opening file '{line[2]}'.")


def _errorfiles(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("errorfiles : expects <name> as argument.")
    proxy.errorfiles += ((line[1], line.origin),)


def _retry_on(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("'retry-on' needs at least one keyword to specify when to retry")
    if not proxy.capability & BACK:
        raise LineError("'retry-on' only available in backend or listen section")
    kinds = list(takewhile(bool, line.words[1:]))
    for kind in kinds:
        if kind not in _RETRIES:
            raise LineError(f"'retry-on': unknown keyword '{kind}'")
        if kind == "none" and len(kinds) > 1:
            raise LineError("'retry-on' 'none' keyworld only usable alone")
    asked = set(kinds) & RETRIES_OF_FAST_OPEN
    proxy.retry_on = RETRIES_OF_FAST_OPEN if _ALL_RETRIES in kinds else frozenset(asked)


def _keep_alive_queue(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if not proxy.capability & BACK:
        context.report.warn(
            line.origin,
            f"max-keep-alive-queue will be ignored because {proxy.describe} '{proxy.name}' has no"
            " backend capability",
        )


# A handler returns False when its line decides nothing, whatever the keyword's status.
_HANDLERS: dict[str, Callable[[Context, ProxyDraft, Line], bool | None]] = {
    "bind": parse_bind,
    "server": parse_server,
    "default-server": parse_server,
    "server-template": parse_server,
    "option": parse_option,
    "mode": settings.parse_mode,
    "id": settings.parse_id,
    "description": settings.parse_description,
    "disabled": settings.parse_switch,
    "enabled": settings.parse_switch,
    "default_backend": settings.parse_default_backend,
    "maxconn": settings.parse_number,
    "fullconn": settings.parse_number,
    "backlog": settings.parse_number,
    "retries": settings.parse_number,
    **dict.fromkeys(
        (f"{side}tcpka-{what}" for side in ("cli", "srv") for what in ("cnt", "idle", "intvl")),
        settings.parse_keepalive,
    ),
    "balance": settings.parse_balance_line,
    "hash-type": settings.parse_hash_type_line,
    "hash-balance-factor": settings.parse_hash_balance_factor,
    "timeout": settings.parse_timeout,
    "source": settings.parse_source_line,
    "dispatch": settings.parse_dispatch,
    "log": settings.parse_log_line,
    "log-format": settings.parse_log_format,
    "log-format-sd": settings.parse_log_format,
    "error-log-format": settings.parse_log_format,
    "unique-id-format": settings.parse_log_format,
    "log-tag": settings.parse_log_tag,
    "unique-id-header": settings.parse_unique_id_header,
    "stats": section_stats.parse_stats,
    "monitor-uri": section_stats.parse_monitor,
    "monitor": section_stats.parse_monitor,
    "load-server-state-from-file": settings.parse_server_state,
    "server-state-file-name": settings.parse_server_state,
    "email-alert": settings.parse_email_alert,
    "udp-check": settings.parse_udp_check,
    "tcp-check": check_lines.parse_tcp_check,
    "http-check": check_lines.parse_http_check,
    "external-check": check_lines.parse_external_check,
    "transparent": _transparent,
    "cookie": _cookie,
    "dynamic-cookie-key": _cookie,
    "capture": _capture,
    "acl": rules.parse_acl,
    "use_backend": rules.parse_use_backend,
    "use-server": rules.parse_use_server,
    "force-persist": rules.parse_persist_rule,
    "ignore-persist": rules.parse_persist_rule,
    "persist": rules.parse_persist,
    "rate-limit": rules.parse_rate_limit,
    "stick": stick_lines.parse_stick,
    "stick-table": stick_lines.parse_stick_table,
    "tcp-request": rules.parse_tcp_rule,
    "tcp-response": rules.parse_tcp_rule,
    "http-request": http_lines.parse_http_rule,
    "http-response": http_lines.parse_http_rule,
    "http-after-response": http_lines.parse_http_rule,
    "redirect": http_lines.parse_redirect,
    "http-reuse": _http_reuse,
    "retry-on": _retry_on,
    "errorfile": _errorfile,
    "errorfiles": _errorfiles,
    "http-send-name-header": _name_header,
    "bind-process": _bind_process,
    "max-keep-alive-queue": _keep_alive_queue,
}
