# SPDX-License-Identifier: Apache-2.0
"""``bind`` lines: addresses and options."""

from __future__ import annotations

from penstock.c_numbers import atol
from penstock.config.haproxy.address import Allow
from penstock.config.haproxy.draft import FRONT, BindLine, Line, ProxyDraft, Said
from penstock.config.haproxy.endpoint import read_endpoint
from penstock.config.haproxy.keywords import BIND, BIND_ARGUMENTS, UNIX_BIND, Status
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.suggest import closest
from penstock.config.haproxy.syntax import mux_protocol, not_in_defaults, warn_without
from penstock.config.haproxy.tls_words import (
    based,
    missing_authority,
    names,
    read_flag,
    read_version,
)
from penstock.config.haproxy.units import DurationError, count_of, parse_time
from penstock.proxied import TlsVerify

ALLOWED = Allow.PORT | Allow.PORT_NEEDED | Allow.RANGE | Allow.SOCKET
MISSING = {
    "name": "missing name",
    "interface": "missing interface name",
    "id": "expects an integer argument",
    "crt": "missing certificate location",
    "ca-file": "missing CAfile path",
    "alpn": "missing the comma-delimited ALPN protocol suite",
    "ciphers": "missing cipher suite",
    "verify": "missing verify method",
    "namespace": "missing namespace id",
    "mss": "missing MSS value",
    "tcp-ut": "missing TCP User Timeout value",
    "crl-file": "missing CRLfile path",
    "ciphersuites": "missing cipher suite",
    "ssl-min-ver": "missing the ssl/tls version",
    "ssl-max-ver": "missing the ssl/tls version",
    "mode": "missing or invalid mode '' (octal integer expected)",
    "user": "missing user name",
    "group": "missing group name",
}
_BUNDLED = ("rsa", "dsa", "ecdsa")  # one name's certificates, of the kinds of keys there are
_NOT_CHECKED = frozenset({"severity-output", "level"})


def parse_bind(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """One ``bind`` line of *proxy*. Raises LineError."""
    not_in_defaults(proxy, "bind")
    warn_without(context, proxy, line, FRONT)
    if not line[1]:
        raise LineError(
            "'bind' expects {<path>|[addr1]:port1[-end1]}{,[addr]:port[-end]}... as arguments."
        )
    settings = context.draft.global_
    bind = BindLine(
        line.origin,
        line[1],
        mode=settings.unix_mode,
        user=settings.unix_user,
        group=settings.unix_group,
    )
    for part in line[1].removesuffix(",").split(","):
        bind.targets.append(
            read_endpoint(context, part, ALLOWED, "'bind'", unix_prefix=settings.unix_prefix)
        )
    if any(target.local for target in bind.targets):
        bind.said.append(Said(line.origin, UNIX_BIND, f"bind {line[1]}"))
    proxy.binds.append(bind)
    _options(context, proxy, bind, line)


def read_bind_options(context: Context, bind: BindLine, line: Line, at: int) -> None:
    """The options that begin with word *at*, of a line of no proxy. Raises LineError."""
    proxy = ProxyDraft(context.section, "", FRONT, line.origin)
    _options(context, proxy, bind, line, at)


def _options(context: Context, proxy: ProxyDraft, bind: BindLine, line: Line, at: int = 2) -> None:
    head = f"'bind {line[1]}' in section '{context.section}'"
    while name := line[at]:
        keyword = BIND.get(name.partition("(")[0])  # HAProxy looks no further
        if keyword is None:
            best = closest(name, BIND)
            hint = f"; did you mean '{best}' maybe ?" if best else "."
            raise LineError(f"{head}: unknown keyword '{name}'{hint}")
        name = keyword.name
        count = BIND_ARGUMENTS.get(name, 0)
        value = line[at + 1] if count else ""
        try:
            if count and not value:
                _missing(name)
            _option(context, proxy, bind, name, value)
        except LineError as alert:
            raise LineError(f"{head} : {alert.message}") from None
        if keyword.status in (Status.LATER, Status.PROXY, Status.NOWHERE):
            bind.said.append(Said(line.origin, keyword, f"bind {line[1]} {name}"))
        elif keyword.status is Status.IGNORED:
            context.report.note(line.origin, f"'bind {line[1]} {name}' is ignored: {keyword.text}.")
        at += 1 + count


def _missing(name: str) -> None:
    if name not in _NOT_CHECKED:
        raise LineError(f"'{name}' : {MISSING.get(name, 'missing value')}")


def _option(  # noqa: PLR0912 one case an option
    context: Context, proxy: ProxyDraft, bind: BindLine, name: str, value: str
) -> None:
    match name:
        case "name":
            bind.name = value
        case "interface":
            bind.interface = value
        case "v4v6":
            bind.v4v6, bind.v6only = True, False
        case "v6only":
            bind.v6only, bind.v4v6 = True, False
        case "transparent":
            bind.transparent = True
        case "id":
            if atol(value) <= 0:
                raise LineError("'id' : custom id has to be > 0")
            bind.id = atol(value)
            for other in proxy.binds:
                if other is not bind and other.id == bind.id:
                    raise LineError(
                        f"'id' : custom id {bind.id} already used at {other.origin}"
                        f" ('bind {other.text}')"
                    )
        case "maxconn":
            if atol(value) < 0:
                raise LineError(f"'maxconn' : invalid value {atol(value)}, must be >= 0")
            bind.maxconn = count_of(value)
        case "ssl":
            bind.ssl = True
        case "tcp-ut":
            try:
                parse_time(value)
            except DurationError:
                raise LineError("'tcp-ut' : expects a positive delay in milliseconds") from None
        case "process":
            context.report.warn(
                bind.origin,
                f"'bind {bind.text}' in section '{context.section}' : 'process {value}' on 'bind'"
                " lines is deprecated and will be removed in 2.7.",
            )
        case _:
            socket_option(bind, name, value)
            _tls_option(context, bind, name, value)


def socket_option(bind: BindLine, name: str, value: str) -> None:
    """What is said of the socket, and of what comes first on it."""
    match name:
        case "accept-proxy":
            bind.accept_proxy = True
        case "accept-netscaler-cip":
            if atol(value) <= 0:
                raise LineError(
                    f"'accept-netscaler-cip' : invalid value {atol(value)}, must be >= 0"
                )
            bind.netscaler_cip = atol(value) & 0xFFFFFFFF
        case "backlog":
            if atol(value) < 0:
                raise LineError(f"'backlog' : invalid value {atol(value)}, must be > 0")
            bind.backlog = count_of(value)
        case "mss":
            if not 1 <= abs(atol(value)) <= 65535:
                raise LineError(
                    "'mss' : expects an MSS with and absolute value between 1 and 65535"
                )
            bind.mss = atol(value)
        case "proto":
            bind.proto = mux_protocol(value)
        case "mode":
            if value.strip("01234567"):
                raise LineError(
                    f"'mode' : missing or invalid mode '{value}' (octal integer expected)"
                )
            bind.mode = int(value, 8)
        case "user" | "group":
            setattr(bind, name, value)
        case "uid" | "gid":
            setattr(bind, "user" if name == "uid" else "group", f"#{atol(value)}")


def _certificates(context: Context, path: str, shown: str) -> tuple[str, ...]:
    """The files that ``crt`` means: *path*, or what lies there for each kind of key."""
    if shown.startswith("@") or context.exists(path):
        return (path,)
    bundle = tuple(one for kind in _BUNDLED if context.exists(one := f"{path}.{kind}"))
    if not bundle:
        raise LineError(
            f"unable to stat SSL certificate from file '{path}' : No such file or directory."
        )
    return bundle


def _tls_option(context: Context, bind: BindLine, name: str, value: str) -> None:
    """What qualifies ``ssl``."""
    tls, bases = bind.tls, context.draft.global_.tls
    match name:
        case "crt":
            tls.certificates += _certificates(context, based(bases.crt_base, value), value)
            bind.certificate = True
        case "crt-list":
            bind.certificate = True
            if not context.exists(value):
                raise LineError(
                    f"'crt-list' : cannot open file '{value}' : No such file or directory"
                )
            tls.lists_first = tls.lists_first or not tls.certificates
            tls.lists += (value,)
        case "ca-file" | "crl-file":
            path = based(bases.ca_base, value)
            missing = missing_authority(context.exists, path)
            if missing is not None:
                context.report.error(bind.origin, missing, parsing=False)
                raise LineError(f"'{name}' : unable to load {path}")
            setattr(tls, name.replace("-", "_"), path)
        case "verify":
            if value not in tuple(TlsVerify):
                raise LineError(
                    f"'verify' : unknown verify method '{value}', only 'none', 'optional', and"
                    " 'required' are supported"
                )
            tls.verify = TlsVerify(value)
        case "alpn":
            tls.alpn = names(value)
        case "ciphers" | "ciphersuites":
            setattr(tls, name, value)
        case _ if read_version(tls, name, value):
            pass
        case _:
            read_flag(tls, name)
