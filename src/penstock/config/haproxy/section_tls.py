# SPDX-License-Identifier: Apache-2.0
"""What the global section says for TLS and for UNIX sockets (HAProxy manual 3.1)."""

from __future__ import annotations

from collections.abc import Callable

from penstock.c_numbers import atol
from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.section_drafts import GlobalDraft
from penstock.config.haproxy.syntax import at_most
from penstock.config.haproxy.tls_words import BIND_FLAGS, SERVER_FLAGS, read_flags
from penstock.proxied import TlsVerify


def _base(context: Context, settings: GlobalDraft, line: Line) -> None:
    name = line[0]
    attribute = name.replace("-", "_")
    at_most(line, 1)
    if getattr(settings.tls, attribute) is not None:
        raise LineError(f"'{name}' already specified.")
    if not line[1]:
        raise LineError(f"global statement '{name}' expects a directory path as an argument.")
    setattr(settings.tls, attribute, line[1])


def _default_options(context: Context, settings: GlobalDraft, line: Line) -> None:
    if line[0] == "ssl-default-bind-options":
        read_flags(settings.tls.bind, line[0], line.words[1:], BIND_FLAGS)
    else:
        read_flags(settings.tls.server, line[0], line.words[1:], SERVER_FLAGS)


def _default_ciphers(context: Context, settings: GlobalDraft, line: Line) -> None:
    name = line[0]
    at_most(line, 1)
    if not line[1]:
        raise LineError(f"global statement '{name}' expects a cipher suite as an argument.")
    default = settings.tls.bind if "bind" in name else settings.tls.server
    setattr(default, name.rpartition("-")[2], line[1])


def _server_verify(context: Context, settings: GlobalDraft, line: Line) -> None:
    at_most(line, 1)
    if not line[1]:
        raise LineError("'ssl-server-verify' expects an integer argument.")
    if line[1] not in (TlsVerify.NONE, TlsVerify.REQUIRED):
        raise LineError("'ssl-server-verify' expects 'none' or 'required' as argument.")
    settings.tls.server.verify = TlsVerify(line[1])


def _unix_bind(context: Context, settings: GlobalDraft, line: Line) -> None:
    at = 1
    while name := line[at]:
        value = line[at + 1]
        match name:
            case "prefix":
                if not value:
                    raise LineError("unix_bind 'prefix' expects a path as an argument.")
                settings.unix_prefix = value
            case "mode":
                digits = len(value) - len(value.lstrip("01234567"))  # as strtol() reads it
                settings.unix_mode = int(value[:digits] or "0", 8)
            case "user" | "group":
                setattr(settings, f"unix_{name}", value)
            case "uid":
                settings.unix_user = f"#{atol(value)}"
            case "gid":
                settings.unix_group = f"#{atol(value)}"
            case _:
                raise LineError(
                    "'unix-bind' only supports the 'prefix', 'mode', 'uid', 'gid', 'user' and"
                    " 'group' options."
                )
        at += 2


HANDLERS: dict[str, Callable[[Context, GlobalDraft, Line], None]] = {
    "ca-base": _base,
    "crt-base": _base,
    "ssl-default-bind-options": _default_options,
    "ssl-default-server-options": _default_options,
    "ssl-default-bind-ciphers": _default_ciphers,
    "ssl-default-bind-ciphersuites": _default_ciphers,
    "ssl-default-server-ciphers": _default_ciphers,
    "ssl-default-server-ciphersuites": _default_ciphers,
    "ssl-server-verify": _server_verify,
    "unix-bind": _unix_bind,
}
