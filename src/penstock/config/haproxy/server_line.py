# SPDX-License-Identifier: Apache-2.0
"""``server``, ``default-server`` and ``server-template`` lines."""

from __future__ import annotations

import copy
import re

from penstock.config.haproxy.address import AddressError, Allow, parse_address
from penstock.config.haproxy.draft import BACK, Line, ProxyDraft, Said, ServerLine, ServerOptions
from penstock.config.haproxy.keywords import ANY_SERVER, UNIX_SERVER
from penstock.config.haproxy.lexer import invalid_char
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.rules import sources
from penstock.config.haproxy.server_options import OptionReader
from penstock.config.haproxy.syntax import not_in_defaults
from penstock.rules.arguments import RuleError
from penstock.rules.expressions import read_expression
from penstock.rules.model import Expression
from penstock.rules.vocabulary import Checkpoint

_TEMPLATE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?\Z")
_MOST_TEMPLATES = 10_000


def parse_server(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """One server line of *proxy*. Raises LineError."""
    try:
        if line[0] == "default-server":
            _default_server(context, proxy, line)
        else:
            _server(context, proxy, line)
    except LineError as alert:
        raise LineError(alert.message, parsing=False) from None


def _needs_backend(proxy: ProxyDraft, line: Line) -> None:
    if not proxy.capability & BACK:
        raise LineError(
            f"parsing [{line.origin}] : "
            f"'{line[0]}' not allowed because {proxy.describe} '{proxy.name}' has no backend"
            " capability."
        )


def _default_server(context: Context, proxy: ProxyDraft, line: Line) -> None:
    _needs_backend(proxy, line)
    if not line[1]:
        return
    OptionReader(context, proxy, line, proxy.default_server, "").run(1)


def read_server_options(
    context: Context, proxy: ProxyDraft, line: Line, at: int, name: str
) -> ServerOptions:
    """The options that begin with word *at*; without *name* they are *proxy*'s default.

    Raises LineError.
    """
    options = proxy.default_server if not name else proxy.default_server.copy()
    OptionReader(context, proxy, line, options, name).run(at)
    return options


def parse_dynamic(context: Context, proxy: ProxyDraft, line: Line) -> ServerLine:
    """The server of *line*, which an operator adds: nothing of default-server is in it.

    Raises LineError.
    """
    twin = copy.copy(proxy)
    twin.default_server, twin.servers = ServerOptions(), list(proxy.servers)
    _server(context, twin, line, dynamic=True)
    twin.servers[-1].options.dynamic = True
    return twin.servers[-1]


def _server(context: Context, proxy: ProxyDraft, line: Line, *, dynamic: bool = False) -> None:
    template = line[0] == "server-template"
    not_in_defaults(proxy, line[0])
    _needs_backend(proxy, line)
    name, address = line[1], line[3] if template else line[2]
    if not name or not address:
        expected = "<prefix> <nb | range>" if template else "<name> and"
        raise LineError(f"'{line[0]}' expects {expected} <addr>[:<port>] as arguments.")
    if (char := invalid_char(name)) is not None:
        what = "server-template prefix" if template else "server name"
        raise LineError(f"character '{char}' is not permitted in {what} '{name}'.")
    names = _template(name, line[2]) if template else [name]
    try:
        target = parse_address(address, Allow.PORT | Allow.OFFSET | Allow.NAME, context.environ)
    except AddressError as bad:
        raise LineError(f"'server {proxy.name}/{name}' : {bad}") from None
    if target.hostname is not None and "" in target.hostname.removesuffix(".").split("."):
        fault = f"Can't create DNS resolution for server '{name}'"
        if target.hostname.startswith("_"):
            fault = (
                f"{proxy.describe} '{proxy.name}', server '{name}': failed to parse FQDN"
                f" '{target.hostname}'"
            )
        raise LineError(f"'server {proxy.name}/{name}' : {fault}")
    options = proxy.default_server.copy()
    if target.local is not None:
        options.said.append(Said(line.origin, UNIX_SERVER, f"server {proxy.name}/{name} {address}"))
    if target.address is not None and target.address.is_unspecified:
        options.said.append(Said(line.origin, ANY_SERVER, f"server {proxy.name}/{name} {address}"))
    reader = OptionReader(context, proxy, line, options, name, dynamic=dynamic)
    reader.run(4 if template else 3)
    if options.agent and not (options.agent_port or options.check_port):
        raise LineError(
            f"'server {proxy.name}/{name}' : server {name} does not have agent port."
            " Agent check has been disabled."
        )
    if options.tls.sni is not None:
        options.tls.sni_expression = _sni(context, line, options.tls.sni, f"{proxy.name}/{name}")
    for index, each in enumerate(names):
        number = None if reader.id is None else reader.id + index
        proxy.servers.append(
            ServerLine(line.origin, each, target, options, number, template=template)
        )


def _sni(context: Context, line: Line, text: str, server: str) -> Expression:
    head = f"'server {server}' : error detected while parsing sni expression : "
    try:
        read = read_expression([text], 0, sources(context, line.origin))
    except RuleError as error:
        raise LineError(head + error.message) from None
    if not read.signature.at(Checkpoint.SERVER):
        raise LineError(
            f"{head} fetch method '{read.signature.name}' extracts information from"
            f" '{read.signature.source}', none of which is available here."
        )
    return read.expression


def _template(prefix: str, text: str) -> list[str]:
    found = _TEMPLATE.match(text)
    first, last = 0, 0
    if found:
        first, last = (int(found[1]), int(found[2])) if found[2] else (1, int(found[1]))
    if not found or not 0 < first <= last or last - first >= _MOST_TEMPLATES:
        raise LineError(f"Wrong server-template number or range arg '{text}'.")
    return [f"{prefix}{number}" for number in range(first, last + 1)]
