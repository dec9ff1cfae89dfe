# SPDX-License-Identifier: Apache-2.0
"""The global section: what holds for the process, and the environment of later lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from penstock.c_numbers import atol
from penstock.config.haproxy.draft import Line, Prefix
from penstock.config.haproxy.global_values import check_value
from penstock.config.haproxy.global_variables import parse_variable
from penstock.config.haproxy.keywords import GLOBAL, Status, in_order, words
from penstock.config.haproxy.log_line import Else, parse_log
from penstock.config.haproxy.owner_lines import parse_owner
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.process_lines import HANDLERS as PROCESS_HANDLERS
from penstock.config.haproxy.report import IgnoredError, LineError
from penstock.config.haproxy.section_drafts import GlobalDraft
from penstock.config.haproxy.section_tls import HANDLERS as TLS_HANDLERS
from penstock.config.haproxy.stats_lines import parse_stats
from penstock.config.haproxy.suggest import closest
from penstock.config.haproxy.syntax import at_most
from penstock.config.haproxy.units import count_of
from penstock.logs.model import Target as LogTarget
from penstock.model import Hook

_INTEGERS = words(
    "ulimit-n maxcomprate maxpipes maxzlibmem fd-hard-limit"
    " tune.runqueue-depth tune.maxpollevents tune.maxaccept tune.bufsize tune.maxrewrite"
    " tune.idletimer tune.rcvbuf.client tune.rcvbuf.server tune.sndbuf.client tune.sndbuf.server"
    " tune.pipesize tune.http.cookielen tune.http.logurilen tune.http.maxhdr tune.comp.maxlevel"
    " tune.pattern.cache-size"
)
_RATES = {"maxconnrate": "connections", "maxsessrate": "sessions", "maxsslrate": "tls"}
_ALONE = words(
    "noepoll nokqueue noevports nopoll busy-polling set-dumpable insecure-fork-wanted"
    " insecure-setuid-wanted nosplice nogetaddrinfo noreuseport"
    " strict-limits"
)
# What HAProxy 2.6 takes a misspelt keyword for: those of its modules (-dKcfg), then the others.
_LISTED = in_order(
    "ca-base close-spread-time crt-base default-path grace h1-accept-payload-with-any-method"
    " h1-case-adjust h1-case-adjust-file hard-stop-after httpclient.resolvers.id"
    " httpclient.resolvers.prefer httpclient.ssl.ca-file httpclient.ssl.verify issuers-chain-path"
    " lua-load lua-load-per-thread lua-prepend-path maxsslconn mworker-max-reloads nbthread"
    " no-memory-trimming pp2-never-send-local profiling.tasks set-var set-var-fmt"
    " ssl-default-bind-ciphers ssl-default-bind-ciphersuites ssl-default-bind-curves"
    " ssl-default-bind-options ssl-default-server-ciphers ssl-default-server-ciphersuites"
    " ssl-default-server-options ssl-dh-param-file ssl-load-extra-del-ext ssl-load-extra-files"
    " ssl-mode-async ssl-propquery ssl-provider ssl-provider-path ssl-skip-self-issued-ca stats"
    " thread-group thread-groups tune.fail-alloc tune.fd.edge-triggered tune.h2.header-table-size"
    " tune.h2.initial-window-size tune.h2.max-concurrent-streams tune.h2.max-frame-size"
    " tune.idle-pool.shared tune.listener.multi-queue tune.lua.forced-yield tune.lua.maxmem"
    " tune.lua.service-timeout tune.lua.session-timeout tune.lua.task-timeout"
    " tune.peers.max-updates-at-once tune.pool-high-fd-ratio tune.pool-low-fd-ratio"
    " tune.sched.low-latency tune.ssl.cachesize tune.ssl.capture-buffer-size"
    " tune.ssl.capture-cipherlist-size tune.ssl.default-dh-param tune.ssl.force-private-cache"
    " tune.ssl.hard-maxrecord tune.ssl.keylog tune.ssl.lifetime tune.ssl.maxrecord"
    " tune.ssl.ssl-ctx-cache-size tune.vars.check-max-size tune.vars.global-max-size"
    " tune.vars.proc-max-size tune.vars.reqres-max-size tune.vars.sess-max-size"
    " tune.vars.txn-max-size global daemon master-worker noepoll nokqueue noevports nopoll"
    " busy-polling set-dumpable insecure-fork-wanted insecure-setuid-wanted nosplice nogetaddrinfo"
    " noreuseport quiet zero-warning tune.runqueue-depth tune.maxpollevents tune.maxaccept"
    " tune.recv_enough tune.buffers.limit tune.buffers.reserve tune.bufsize tune.maxrewrite"
    " tune.idletimer tune.rcvbuf.client tune.rcvbuf.server tune.sndbuf.client tune.sndbuf.server"
    " tune.pipesize tune.http.cookielen tune.http.logurilen tune.http.maxhdr tune.comp.maxlevel"
    " tune.pattern.cache-size uid gid external-check user group nbproc maxconn ssl-server-verify"
    " maxconnrate maxsessrate maxsslrate maxcomprate maxpipes maxzlibmem maxcompcpuusage ulimit-n"
    " chroot description node pidfile unix-bind log log-send-hostname server-state-base"
    " server-state-file log-tag spread-checks max-spread-checks cpu-map setenv presetenv unsetenv"
    " resetenv strict-limits localpeer numa-cpu-mapping defaults listen frontend backend peers"
    " resolvers cluster-secret penstock.hook penstock.max-flows penstock.interfaces"
)


def parse_global(context: Context, line: Line) -> None:
    """One line of a global section."""
    name = line[0]
    settings = context.draft.global_
    if name == "global":
        settings.origin = settings.origin or line.origin
        at_most(line, 0)
        return
    keyword = GLOBAL.get(name)
    if keyword is None:
        best = closest(name, _LISTED)
        hint = f"; did you mean '{best}' maybe ?" if best else ""
        raise LineError(f"unknown keyword '{name}' in '{context.section}' section{hint}")
    handler = _HANDLERS.get(name)
    if handler is not None:
        handler(context, settings, line)
    elif name in _INTEGERS:
        _integer(line)
        _one_value(context, settings, line)
        at_most(line, 1)
    elif name in _ALONE:
        at_most(line, 0)
    else:
        check_value(line)
        _one_value(context, settings, line)
    if line.prefix is Prefix.NO:
        return
    if keyword.status is Status.REFUSED:
        if name.startswith("lua-load") and not context.exists(line[1]):
            raise LineError(
                f"error in Lua file '{line[1]}': cannot open {line[1]}: No such file or directory"
            )
        raise LineError(f"'{name}' is not supported: {keyword.text}.")
    if keyword.status is Status.LATER:
        key = f"later {keyword.group}"
        if key not in settings.seen:
            settings.seen[key] = line.origin
            context.report.warn(
                line.origin, f"'{name}' is not carried out: {keyword.text}.", own=True
            )
    elif keyword.status is Status.IGNORED:
        context.report.note(line.origin, f"'{name}' is ignored: {keyword.text}.")


def _integer(line: Line) -> int:
    if not line[1]:
        raise LineError(f"'{line[0]}' expects an integer argument.")
    return count_of(line[1])


def _already(context: Context, line: Line, shown: str) -> NoReturn:
    # HAProxy calls this an alert and yet finds the file valid: what it keeps is the first value.
    context.report.alert(line.origin, f"{shown} already specified. Continuing.")
    raise IgnoredError


def _maxconn(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    if settings.maxconn:
        _already(context, line, "'maxconn'")
    settings.maxconn = max(_integer(line), 0)


def _rate(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    name = _RATES[line[0]]
    if getattr(settings.rates, name):
        _already(context, line, f"'{line[0]}'")
    value = _integer(line)
    # HAProxy's limits are unsigned where they are looked at: below 0 is out of reach.
    settings.rates = replace(settings.rates, **{name: max(value, 0)})


def _spread_checks(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    if settings.spread_checks:
        _already(context, line, "spread-checks")
    if not line[1]:
        raise LineError("'spread-checks' expects an integer argument (0..50).")
    value = atol(line[1])
    settings.spread_checks = value
    if not 0 <= value <= 50:
        raise LineError("'spread-checks' needs a positive value in range 0..50.")


def _setenv(context: Context, settings: GlobalDraft, line: Line) -> None:
    if not line[2]:
        raise LineError(f"'{line[0]}' expects a name and a value.")
    if line[0] == "setenv" or line[1] not in context.environ:
        context.environ[line[1]] = line[2]


def _unsetenv(context: Context, settings: GlobalDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("'unsetenv' expects at least one variable name.")
    for name in line.words[1:]:
        context.environ.pop(name, None)


def _resetenv(context: Context, settings: GlobalDraft, line: Line) -> None:
    kept = frozenset(line.words[1:])
    for name in list(context.environ):
        if name not in kept:
            del context.environ[name]


def _nbproc(context: Context, settings: GlobalDraft, line: Line) -> None:
    raise LineError(
        "nbproc is not supported any more since HAProxy 2.5. Threads will automatically be used"
        " on multi-processor machines if available."
    )


def _nbthread(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    number = line[1].removeprefix("-")
    if not number or number.strip("0123456789"):
        raise LineError(f"'nbthread' passed a missing or unparsable integer value in '{line[1]}'")
    if not 1 <= atol(line[1]) <= 64:
        raise LineError(f"'nbthread' value must be between 1 and 64 (was {atol(line[1])})")
    settings.nbthread = atol(line[1])


def _description(context: Context, settings: GlobalDraft, line: Line) -> None:
    if not line[1]:
        raise LineError("'description' expects a string argument.")
    settings.description = " ".join(line.words[1:])


def _state_file(context: Context, settings: GlobalDraft, line: Line) -> None:
    """server-state-file and server-state-base."""
    name = line[0]
    base = name == "server-state-base"
    before = settings.state_base if base else settings.state_file
    if before:
        _already(context, line, f"'{name}'")
    if not line[1]:
        what = "expects one argument: a directory" if base else "expect one argument: a file"
        raise LineError(f"'{name}' {what} path.")
    if base:
        settings.state_base = line[1].rstrip("/") or "/"
    else:
        settings.state_file = line[1]


def _node(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    name = line[1]
    allowed = name and all(char.isascii() and (char.isalnum() or char in "-_.:") for char in name)
    if not allowed:
        raise LineError(
            "'node' requires valid node name - non-empty string with digits(0-9), letters(A-Z,"
            " a-z), dot(.), hyphen(-) or underscode(_)."
        )
    settings.node = name


def _localpeer(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    if not line[1]:
        raise LineError("'localpeer' expects a name as an argument.")
    if not settings.local_peer_set:
        context.environ["HAPROXY_LOCALPEER"] = line[1]


def _external_check(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 0)
    settings.external_check = True


def _insecure_fork(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 0)
    settings.insecure_fork = line.prefix is not Prefix.NO


def _zero_warning(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 0)
    settings.zero_warning = True


def _log(context: Context, settings: GlobalDraft, line: Line) -> None:
    said = parse_log(context, line, in_proxy=False)
    if said is Else.NONE:
        settings.log_targets.clear()
    elif isinstance(said, LogTarget):
        settings.log_targets.append(said)


def _log_tag(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    if not line[1]:
        raise LineError("'log-tag' expects a tag for use in syslog.")
    settings.naming = replace(settings.naming, tag=line[1])


def _log_send_hostname(context: Context, settings: GlobalDraft, line: Line) -> None:
    settings.naming = replace(settings.naming, send_hostname=True, hostname=line[1] or None)


def _hook(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    try:
        settings.hook = Hook(line[1])
    except ValueError:
        raise LineError(
            f"'penstock.hook' expects 'auto', 'xdp' or 'tc' (got '{line[1]}')"
        ) from None


def _max_flows(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    value = _integer(line)
    if not 1024 <= value <= 1 << 26:
        raise LineError(f"'penstock.max-flows' must be between 1024 and 67108864 (was {value})")
    settings.max_flows = value


def _interfaces(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    names = tuple(name for name in line[1].split(",") if name)
    if not names:
        raise LineError("'penstock.interfaces' expects a list of interface names")
    settings.interfaces = names


_NEEDED = {
    "chroot": "'chroot' expects a directory as an argument.",
}
_ONCE = words("chroot ulimit-n")


def _one_value(context: Context, settings: GlobalDraft, line: Line) -> None:
    """Keywords that want an argument, and some of them only once."""
    name = line[0]
    if name in _NEEDED and not line[1]:
        raise LineError(_NEEDED[name])
    if name in _ONCE and name in settings.seen:
        _already(context, line, f"'{name}'")
    settings.seen[name] = line.origin


_HANDLERS: dict[str, Callable[[Context, GlobalDraft, Line], None]] = {
    "maxconn": _maxconn,
    **dict.fromkeys(_RATES, _rate),
    "spread-checks": _spread_checks,
    "setenv": _setenv,
    "presetenv": _setenv,
    "unsetenv": _unsetenv,
    "resetenv": _resetenv,
    "nbproc": _nbproc,
    "nbthread": _nbthread,
    "set-var": parse_variable,
    "set-var-fmt": parse_variable,
    "user": parse_owner,
    "group": parse_owner,
    "uid": parse_owner,
    "gid": parse_owner,
    "description": _description,
    "external-check": _external_check,
    "localpeer": _localpeer,
    "node": _node,
    "server-state-base": _state_file,
    "server-state-file": _state_file,
    "insecure-fork-wanted": _insecure_fork,
    "zero-warning": _zero_warning,
    "stats": parse_stats,
    "log": _log,
    "log-tag": _log_tag,
    "log-send-hostname": _log_send_hostname,
    "penstock.hook": _hook,
    "penstock.max-flows": _max_flows,
    "penstock.interfaces": _interfaces,
    **PROCESS_HANDLERS,
    **TLS_HANDLERS,
}
