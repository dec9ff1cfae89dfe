# SPDX-License-Identifier: Apache-2.0
"""Keywords of proxy sections that set one value: mode, id, maxconn, timeout, source…"""

from __future__ import annotations

import re
from dataclasses import replace

from penstock.c_numbers import atol
from penstock.config.haproxy.address import Allow
from penstock.config.haproxy.balance import Balance, parse_balance, parse_hash_type, shown_as
from penstock.config.haproxy.draft import (
    BACK,
    FRONT,
    Capability,
    EmailAlertDraft,
    FormatLine,
    Line,
    Mode,
    ProxyDraft,
    Said,
    Timeout,
)
from penstock.config.haproxy.endpoint import read_endpoint
from penstock.config.haproxy.keywords import BALANCE, TIMEOUTS
from penstock.config.haproxy.log_line import LEVELS, Else, parse_log
from penstock.config.haproxy.options import set_format
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, StopError
from penstock.config.haproxy.rules import sources
from penstock.config.haproxy.source_line import SOURCES, parse_source
from penstock.config.haproxy.syntax import at_most, not_in_defaults, warn_without
from penstock.config.haproxy.units import (
    DurationError,
    TimeUnit,
    count_of,
    parse_time,
    trailing_message,
)
from penstock.logs.model import Target as LogTarget
from penstock.rules.arguments import RuleError
from penstock.rules.expressions import read_expression
from penstock.rules.model import Expression
from penstock.rules.vocabulary import Checkpoint


def parse_mode(context: Context, proxy: ProxyDraft, line: Line) -> None:
    at_most(line, 1)
    if line[1] == "health":
        raise LineError(
            "'mode health' doesn't exist anymore. Please use 'http-request return status 200'"
            " instead."
        )
    try:
        proxy.mode = Mode(line[1])
    except ValueError:
        raise LineError(f"unknown proxy mode '{line[1]}'.") from None
    proxy.mode_origin = line.origin


def parse_id(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, "id")
    at_most(line, 1)
    if not line[1]:
        raise LineError("'id' expects an integer argument.")
    number = atol(line[1])
    if number <= 0:
        raise LineError("custom id has to be > 0.")
    for other in context.draft.proxies:
        if other.id == number:  # its own earlier line as well, as in HAProxy
            raise LineError(
                f"{proxy.describe} {proxy.name} reuses same custom id as {other.describe}"
                f" {other.name} (declared at {other.origin})."
            )
    proxy.id = number


def parse_description(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, "description")
    if not line[1]:
        raise StopError("'description' expects a string argument.")
    proxy.description = " ".join(line.words[1:])


def parse_switch(context: Context, proxy: ProxyDraft, line: Line) -> None:
    at_most(line, 0)
    proxy.disabled = line[0] == "disabled"


def parse_default_backend(context: Context, proxy: ProxyDraft, line: Line) -> None:
    warn_without(context, proxy, line, FRONT)
    if not line[1]:
        raise LineError("'default_backend' expects a backend name.")
    proxy.default_backend = line[1]
    proxy.default_backend_origin = line.origin
    at_most(line, 1)


def parse_number(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """maxconn, backlog, fullconn and retries."""
    name = line[0]
    side = FRONT if name in ("maxconn", "backlog") else BACK
    hints = {
        "maxconn": " Maybe you want 'fullconn' instead ?",
        "fullconn": " Maybe you want 'maxconn' instead ?",
    }
    warn_without(context, proxy, line, side, hint=hints.get(name, ""))
    if name == "retries":
        at_most(line, 1)
    if not line[1]:
        extra = " (dispatch counts for one)" if name == "retries" else ""
        raise LineError(f"'{name}' expects an integer argument{extra}.")
    value = count_of(line[1])
    if name == "maxconn":
        proxy.maxconn = max(value, 0)
    elif name == "fullconn":
        proxy.fullconn = value
    elif name == "retries":
        proxy.retries = value
    else:
        proxy.backlog = value
    at_most(line, 1)


_DIGITS = 30  # more than any number has; int() refuses thousands of them
_C_NUMBER = re.compile(r"\s*([-+]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)


def parse_keepalive(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """clitcpka-cnt and its kin: a number, or seconds."""
    name, text = line[0], line[1]
    if not text:
        raise LineError(f"'{name}' expects an integer value")
    proxy.keepalive[name] = _count(line) if name.endswith("-cnt") else _keepalive(context, line)
    side, lacking = (FRONT, "frontend") if name.startswith("cli") else (BACK, "backend")
    if not proxy.capability & side:
        context.report.warn(
            line.origin,
            f"{name} will be ignored because {proxy.describe} '{proxy.name}' has no {lacking}"
            " capability",
        )


def _count(line: Line) -> int:
    """A number in C's notations. Raises LineError."""
    found = _C_NUMBER.match(line[1])
    rest = line[1][found.end() :] if found else line[1]
    if rest or found is None:
        raise LineError(
            f"'{line[0]}' : unexpected character '{rest[0]}' in integer value '{line[1]}'"
        )
    sign, digits = found.groups()
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10
    return 0 if sign == "-" else int(digits[:_DIGITS], base)


def _keepalive(context: Context, line: Line) -> int:
    """Seconds, in ms. Raises LineError."""
    try:
        value, rest = parse_time(line[1], TimeUnit.S)
    except DurationError as bad:
        if bad.char is not None:
            message = f"unexpected character '{bad.char}' in argument to <{line[0]}>."
        else:
            message = (
                f"timer overflow in argument '{line[1]}' to '{line[0]}' (maximum value is"
                " 2147483647 ms or ~24.8 days)"
            )
        raise LineError(message) from None
    if rest:
        context.report.warn(line.origin, trailing_message(line[1], rest), parsing=False)
    return value


def parse_balance_line(context: Context, proxy: ProxyDraft, line: Line) -> None:
    warn_without(context, proxy, line, BACK)
    balance = parse_balance(line, proxy.scheduler)
    proxy.scheduler = balance.spec
    proxy.balance_set = True
    proxy.balance_word = shown_as(line[1])
    proxy.balance_on = _hashed(context, proxy, line, balance) if balance.hashed else None
    proxy.layer7_balance = line.origin if balance.layer7 else None
    proxy.said = [said for said in proxy.said if said.keyword not in BALANCE.values()]
    if balance.proxy is not None:
        proxy.said.append(Said(line.origin, balance.proxy, " ".join(line.words)))
    if balance.warning:
        context.report.warn(line.origin, balance.warning, own=True)


def _hashed(context: Context, proxy: ProxyDraft, line: Line, balance: Balance) -> Expression | None:
    """What is hashed; None: HAProxy finds no sense in it either, and that has been reported."""
    head = f"proxy '{proxy.name}' [{proxy.origin}]: "
    shown = f"'balance hash' expression '{balance.hashed}'"
    try:
        read = read_expression([balance.hashed], 0, sources(context, line.origin))
    except RuleError as error:
        message = f"{head}failed to parse {shown} in : {error.message}."
    else:
        if read.signature.at(Checkpoint.SERVER):
            return read.expression
        message = (
            f"{head}error detected while parsing {shown} which requires information from"
            f" {read.signature.source}, which is not available here."
        )
    context.report.error(line.origin, message, parsing=False)
    return None


def parse_hash_type_line(context: Context, proxy: ProxyDraft, line: Line) -> None:
    warn_without(context, proxy, line, BACK)
    proxy.scheduler = parse_hash_type(line, proxy.scheduler)


def parse_hash_balance_factor(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("'hash-balance-factor' expects an integer argument.")
    value = atol(line[1])
    if value != 0 and value <= 100:
        raise LineError("'hash-balance-factor' must be 0 or greater than 100.")
    proxy.scheduler = replace(proxy.scheduler, balance_factor=min(value, 1_000_000))


def parse_timeout(context: Context, proxy: ProxyDraft, line: Line) -> None:
    name = line[1]
    keyword = TIMEOUTS.get(name)
    if keyword is None:
        raise LineError(
            "'timeout' supports 'client', 'server', 'connect', 'check', 'queue',"
            " 'http-keep-alive', 'http-request', 'tunnel', 'tarpit', 'client-fin' and"
            f" 'server-fin' (got '{name}')"
        )
    shown = f"timeout {name}"
    if not line[2]:
        raise LineError(f"'{shown}' expects an integer value (in milliseconds)")
    try:
        value, rest = parse_time(line[2])
    except DurationError as bad:
        if bad.char is not None:
            raise LineError(f"unexpected character '{bad.char}' in '{shown}'") from None
        raise LineError(
            f"timer overflow in argument '{line[2]}' to '{shown}' (maximum value is 2147483647 ms"
            " or ~24.8 days)"
        ) from None
    if rest:
        context.report.warn(line.origin, trailing_message(line[2], rest), parsing=False)
    if line[3]:
        raise LineError(
            f"'{shown}' : unexpected extra argument '{line[3]}' after value '{line[2]}'."
        )
    side = FRONT if name in ("client", "client-fin") else BACK
    if name in ("http-request", "http-keep-alive", "tarpit"):
        side = FRONT | BACK
    served = bool(proxy.capability & side)
    if not served:
        lack = "backend" if side is BACK else "frontend"
        context.report.warn(
            line.origin,
            f"'{shown}' will be ignored because {proxy.describe} '{proxy.name}' has no {lack}"
            " capability",
        )
    before = proxy.timeouts.get(name)
    overwritten = before is not None and not before.inherited and before.value != before.default
    if served and overwritten and not proxy.capability & Capability.DEFAULTS:
        context.report.warn(line.origin, f"overwriting '{shown}' which was already specified")
    inherited = before.default if before is not None else 0
    proxy.timeouts[name] = Timeout(value, line.origin, default=inherited)


def parse_removed_timeout(context: Context, proxy: ProxyDraft, line: Line) -> None:
    name = {"contimeout": "connect", "clitimeout": "client", "srvtimeout": "server"}[line[0]]
    raise LineError(
        f"the '{line[0]}' directive is not supported anymore since HAProxy 2.1."
        f" Use 'timeout {name}'."
    )


def parse_source_line(context: Context, proxy: ProxyDraft, line: Line) -> None:
    warn_without(context, proxy, line, BACK)
    if not line[1]:
        raise LineError(
            "'source' expects <addr>[:<port>], and optionally 'usesrc' <addr>, and 'interface'"
            " <name>."
        )
    source, keywords, used = parse_source(context, line, 0, ranges=False)
    if line[used + 1]:
        raise LineError("'source' only supports optional keywords 'interface' and 'usesrc'.")
    proxy.source = source
    proxy.said = [said for said in proxy.said if said.keyword not in SOURCES]
    for keyword in keywords:
        proxy.said.append(Said(line.origin, keyword, " ".join(line.words)))


def parse_dispatch(context: Context, proxy: ProxyDraft, line: Line) -> None:
    not_in_defaults(proxy, "dispatch")
    warn_without(context, proxy, line, BACK)
    target = read_endpoint(context, line[1], Allow.PORT | Allow.PORT_NEEDED, "'dispatch'")
    at_most(line, 1)
    proxy.dispatch = target
    proxy.dispatch_origin = line.origin


def parse_log_line(context: Context, proxy: ProxyDraft, line: Line) -> None:
    said = parse_log(context, line, in_proxy=True)
    if said is Else.NONE:
        proxy.log_targets.clear()
    elif said is Else.GLOBAL:
        # HAProxy takes each of them once.
        proxy.log_targets += [
            one
            for one in context.draft.global_.log_targets
            if not any(one is other for other in proxy.log_targets)
        ]
    elif isinstance(said, LogTarget):
        proxy.log_targets.append(said)


def parse_log_format(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """log-format and its kin."""
    name = line[0]
    if not line[1]:
        raise LineError(f"{name} expects an argument.")
    if line[2]:
        raise LineError(f"{name} expects only one argument, don't forget to escape spaces!")
    if name == "unique-id-format":
        proxy.log_formats[name] = FormatLine(name, line[1], line.origin)
    else:
        set_format(context, proxy, line, FormatLine(name, line[1], line.origin))


def parse_unique_id_header(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("unique-id-header expects an argument.")
    proxy.unique_id_header = line[1]


def parse_log_tag(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("'log-tag' expects a tag for use in syslog.")
    proxy.log_tag = line[1]


def parse_server_state(context: Context, proxy: ProxyDraft, line: Line) -> None:
    warn_without(context, proxy, line, BACK)
    if line[0] == "server-state-file-name":
        at_most(line, 1)
        proxy.state_name = "" if line[1] == "use-backend-name" else line[1]
        return
    if line[1] not in ("global", "local", "none"):
        raise LineError(f"'{line[0]}' expects 'global', 'local' or 'none'. Got '{line[1]}'")
    proxy.load_state = line[1]


def parse_email_alert(context: Context, proxy: ProxyDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("missing argument after 'email-alert'.")
    alert = proxy.email_alert or EmailAlertDraft(line.origin)
    match line[1]:
        case "from":
            alert.sender = line[2]
        case "to":
            alert.recipient = line[2]
        case "mailers":
            alert.mailers = line[2]
        case "myhostname":
            alert.hostname = line[2]
        case "level":
            level = LEVELS.get(line[2])
            if level is None:
                raise LineError(f"unknown log level 'level' after '{line[2]}'")
            alert.level = level
        case unknown:
            raise LineError(f"email-alert: unknown argument '{unknown}'.")
    alert.origin = line.origin
    proxy.email_alert = alert


def parse_udp_check(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """Ours: what a check of a UDP server sends and what the answer must contain."""
    warn_without(context, proxy, line, BACK)
    kinds = ("send", "send-binary", "expect")
    if line[1] not in kinds:
        raise LineError(f"'udp-check' expects 'send', 'send-binary' or 'expect' (got '{line[1]}')")
    if line[1] == "expect":
        if line[2] not in ("string", "binary"):
            raise LineError(f"'udp-check expect' expects 'string' or 'binary' (got '{line[2]}')")
        proxy.udp_expect = _bytes(line, 3, binary=line[2] == "binary")
        at_most(line, 3)
        return
    proxy.udp_send = _bytes(line, 2, binary=line[1] == "send-binary")
    at_most(line, 2)


def _bytes(line: Line, at: int, *, binary: bool) -> bytes:
    shown = " ".join(line.words[:at])
    if not line[at]:
        raise LineError(
            f"'{shown}' expects {'a hex string' if binary else 'a string'} as argument."
        )
    if not binary:
        return line[at].encode(errors="surrogateescape")
    try:
        return bytes.fromhex(line[at])
    except ValueError:
        raise LineError(f"'{shown}' : '{line[at]}' is not an even number of hex digits.") from None
