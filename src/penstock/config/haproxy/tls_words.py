# SPDX-License-Identifier: Apache-2.0
"""The options about TLS that bind and server lines, and the defaults for both, have in common.

HAProxy manual 5.1, 5.2 and 3.1 ("ssl-default-…"). Messages are HAProxy's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from penstock.config.haproxy.report import LineError
from penstock.proxied import ListenerTls, ServerTls, TlsSettings, TlsVerify
from penstock.rules.model import Expression

VERSIONS: Final = ("SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_SUPPORTED: Final = VERSIONS[1:]  # no OpenSSL of today speaks SSLv3
_KEYWORDS: Final = dict(
    zip(("sslv3", "tlsv10", "tlsv11", "tlsv12", "tlsv13"), VERSIONS, strict=True)
)
_LEAST_OF_BINDS: Final = "TLSv1.2"  # HAProxy manual 5.1, "ssl-min-ver"

# What stands in ssl-default-bind-options and ssl-default-server-options beside versions.
BIND_FLAGS: Final = frozenset({"no-tls-tickets", "prefer-client-ciphers"})
SERVER_FLAGS: Final = frozenset({"no-tls-tickets"})


@dataclass(slots=True)
class TlsDraft:
    """What one line, or the defaults for such lines, says about TLS; None: nothing."""

    verify: TlsVerify | None = None
    ca_file: str | None = None
    crl_file: str | None = None
    alpn: tuple[str, ...] = ()
    ciphers: str | None = None
    ciphersuites: str | None = None
    min_version: str | None = None
    max_version: str | None = None
    refused: frozenset[str] = frozenset()  # no-sslv3, no-tlsv1x
    tickets: bool = True
    client_ciphers: bool = False
    certificates: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    lists_first: bool = False
    strict_sni: bool = False
    sni: str | None = None  # the expression as written, and for a server as read
    sni_expression: Expression | None = None
    verify_host: str | None = None
    missing: str | None = None  # a certificate that is not there, which matters with ssl only


@dataclass(slots=True)
class TlsDefaults:
    """What the global section says for all lines."""

    ca_base: str | None = None
    crt_base: str | None = None
    bind: TlsDraft = field(default_factory=TlsDraft)
    server: TlsDraft = field(default_factory=TlsDraft)


@dataclass(frozen=True, slots=True)
class Versions:
    """Which versions are left: none at all when *low* is None. *hole*: one missing in between."""

    low: str | None
    high: str | None
    ignored: bool = False  # no-tlsv1x counts for nothing beside ssl-min-ver and ssl-max-ver
    hole: str | None = None


def read_version(tls: TlsDraft, name: str, value: str) -> bool:
    """Take the option *name* if it is one about versions. Raises LineError."""
    kind, _, rest = name.partition("-")
    if name in ("ssl-min-ver", "ssl-max-ver"):
        if not value:
            raise LineError(f"'{name}' : missing the ssl/tls version")
        if value not in VERSIONS:
            raise LineError(f"'{value}' : unknown ssl/tls version")
        if name == "ssl-min-ver":
            tls.min_version = value
        else:
            tls.max_version = value
    elif kind == "force" and rest in _KEYWORDS:
        tls.min_version = tls.max_version = _KEYWORDS[rest]
    elif kind == "no" and rest in _KEYWORDS:
        tls.refused |= {_KEYWORDS[rest]}
    else:
        return False
    return True


def read_flag(tls: TlsDraft, name: str) -> None:
    """Take the option *name* if it is a word alone."""
    match name:
        case "strict-sni":
            tls.strict_sni = True
        case "no-tls-tickets":
            tls.tickets = False
        case "prefer-client-ciphers":
            tls.client_ciphers = True


def read_flags(tls: TlsDraft, name: str, words: list[str], flags: frozenset[str]) -> None:
    """The words of ``ssl-default-…-options``. Raises LineError."""
    at = 0
    if not words:
        raise LineError(f"global statement '{name}' expects an option as an argument.")
    while at < len(words):
        word = words[at]
        takes = word in ("ssl-min-ver", "ssl-max-ver")
        value = words[at + 1] if takes and at + 1 < len(words) else ""
        try:
            known = read_version(tls, word, value)
        except LineError as alert:
            raise LineError(f"{alert.message} on global statement '{name}'.") from None
        if not known:
            if word not in flags:
                raise LineError(f"unknown option '{word}' on global statement '{name}'.")
            read_flag(tls, word)
        at += 1 + takes


def names(value: str) -> tuple[str, ...]:
    """The protocols in the value of ``alpn``."""
    return tuple(name for name in value.split(",") if name)


def based(base: str | None, path: str) -> str:
    """*path* below *base* where it is relative (manual 3.1, "ca-base", "crt-base")."""
    return path if base is None or path.startswith(("/", "@")) else f"{base}/{path}"


def missing_authority(exists: Callable[[str], bool], path: str) -> str | None:
    """What HAProxy says of a file with authorities or revocations that is not there."""
    if path.startswith("@") or exists(path):
        return None
    return f"Couldn't open the ca-file '{path}' (No such file or directory)."


def bind_versions(tls: TlsDraft, default: TlsDraft) -> Versions:
    """Of a bind line: TLS 1.2 and later unless told otherwise."""
    both = _with_default(tls, default)
    least = both.min_version
    if least is None and (both.max_version is None or both.max_version >= _LEAST_OF_BINDS):
        least = _LEAST_OF_BINDS
    said = both.min_version is not None or both.max_version is not None
    return _versions(both, least, said=said)


def server_versions(tls: TlsDraft, default: TlsDraft) -> Versions:
    """Of a server line: all that OpenSSL has, unless told otherwise."""
    both = _with_default(tls, default)
    said = both.min_version is not None or both.max_version is not None
    return _versions(both, both.min_version, said=said)


def _with_default(tls: TlsDraft, default: TlsDraft) -> TlsDraft:
    return TlsDraft(
        min_version=tls.min_version or default.min_version,
        max_version=tls.max_version or default.max_version,
        refused=tls.refused | default.refused,
    )


def _versions(both: TlsDraft, least: str | None, *, said: bool) -> Versions:
    refused = frozenset() if said else both.refused
    left = [
        version
        for version in _SUPPORTED
        if (least is None or version >= least)
        and (both.max_version is None or version <= both.max_version)
        and version not in refused
    ]
    ignored = said and bool(both.refused)
    if not left:
        return Versions(None, None, ignored)
    whole = _SUPPORTED[_SUPPORTED.index(left[0]) : _SUPPORTED.index(left[-1]) + 1]
    holes = [version for version in whole if version not in left]
    # A range is all that a context can be given: of two, the newer one.
    low = _SUPPORTED[_SUPPORTED.index(holes[-1]) + 1] if holes else left[0]
    return Versions(low, left[-1], ignored, holes[-1] if holes else None)


def _settings(
    tls: TlsDraft, default: TlsDraft, versions: Versions, verify: TlsVerify
) -> TlsSettings:
    return TlsSettings(
        verify=verify,
        ca_file=tls.ca_file,
        crl_file=tls.crl_file,
        alpn=tls.alpn,
        ciphers=tls.ciphers or default.ciphers,
        ciphersuites=tls.ciphersuites or default.ciphersuites,
        min_version=versions.low,
        max_version=versions.high,
        tickets=tls.tickets and default.tickets,
    )


def listener_tls(tls: TlsDraft, defaults: TlsDefaults) -> ListenerTls:
    """The model of ``bind … ssl``."""
    return ListenerTls(
        settings=_settings(
            tls,
            defaults.bind,
            bind_versions(tls, defaults.bind),
            tls.verify or TlsVerify.NONE,
        ),
        certificates=tls.certificates,
        lists=tls.lists,
        lists_first=tls.lists_first,
        strict_sni=tls.strict_sni,
        client_ciphers=tls.client_ciphers or defaults.bind.client_ciphers,
        certificate_base=defaults.crt_base,
    )


def server_tls(tls: TlsDraft, defaults: TlsDefaults) -> ServerTls:
    """The model of ``server … ssl``."""
    return ServerTls(
        settings=_settings(
            tls,
            defaults.server,
            server_versions(tls, defaults.server),
            tls.verify or defaults.server.verify or TlsVerify.REQUIRED,
        ),
        certificate=tls.certificates[-1] if tls.certificates else None,
        sni=tls.sni_expression,
        verify_host=tls.verify_host,
    )
