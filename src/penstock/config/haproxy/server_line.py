# SPDX-License-Identifier: Apache-2.0
"""``server``, ``default-server`` and ``server-template`` lines."""

from __future__ import annotations

import copy
import re
from ipaddress import ip_network

from penstock.config.haproxy.address import (
    AddressError,
    AddressFamilyPreference,
    Allow,
    Target,
    parse_address,
    parse_ip,
)
from penstock.config.haproxy.draft import (
    BACK,
    InitMethod,
    Line,
    ProxyDraft,
    Said,
    ServerLine,
    ServerOptions,
    SourceLine,
)
from penstock.config.haproxy.keywords import (
    ANY_SERVER,
    NOT_DYNAMIC,
    SERVER,
    SERVER_ARGUMENTS,
    SOURCE_INTERFACE,
    UNIX_SERVER,
    USESRC,
    USESRC_HEADER,
    Keyword,
    Status,
)
from penstock.config.haproxy.lexer import invalid_char
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.rules import sources
from penstock.config.haproxy.send_proxy import read_header
from penstock.config.haproxy.suggest import closest
from penstock.config.haproxy.syntax import not_in_defaults
from penstock.config.haproxy.tls_words import based, missing_authority, names, read_version
from penstock.config.haproxy.units import DurationError, atol, parse_time, trailing_message
from penstock.model import MAX_WEIGHT, Address, Network, OnError
from penstock.proxied import SourceKind, TlsVerify
from penstock.rules.arguments import RuleError
from penstock.rules.expressions import read_expression
from penstock.rules.model import Expression
from penstock.rules.vocabulary import Checkpoint

_MISSING = {
    "id": "'id' : expects an integer argument",
    "rise": "'rise' expects an integer argument.",
    "fall": "'fall' expects an integer argument.",
    "addr": "'addr' expects <ipv4|ipv6> as argument.",
    "agent-addr": "'agent-addr' expects an address as argument.",
    "agent-port": "'agent-port' expects a port number as argument.",
    "agent-send": "'agent-send' expects a string as argument.",
    "observe": "'observe' expects <mode> as argument.",
    "error-limit": "'error-limit' expects an integer argument.",
    "port": "'port' expects a port number as argument.",
    "check-sni": "'check-sni' : missing SNI",
    "check-alpn": "'check-alpn' : missing the comma-delimited ALPN protocol suite",
    "check-proto": "'check-proto' : missing value",
    "cookie": "'cookie' expects <value> as argument.",
    "track": "'track' expects [<proxy>/]<server> as argument.",
    "resolve-prefer": "'resolve-prefer' expects either ipv4 or ipv6 as argument.",
    "init-addr": "'init-addr' expects a comma-delimited list of methods as argument.",
    "crt": "'crt' : missing certificate file path",
    "ca-file": "'ca-file' : missing CAfile path",
    "crl-file": "'crl-file' : missing CRLfile path",
    "verify": "'verify' : missing verify method",
    "sni": "'sni' : missing sni expression",
    "verifyhost": "'verifyhost' : missing hostname to verify against",
    "alpn": "'alpn' : missing the comma-delimited ALPN protocol suite",
    "ciphers": "'ciphers' : missing cipher suite",
    "ciphersuites": "'ciphersuites' : missing cipher suite",
    "ssl-min-ver": "'ssl-min-ver' : missing the ssl/tls version",
    "ssl-max-ver": "'ssl-max-ver' : missing the ssl/tls version",
    "socks4": "'socks4' expects <addr>:<port> as argument.",
    "source": (
        "'source' expects <addr>[:<port>[-<port>]], and optionally 'usesrc' <addr>, and"
        " 'interface' <name> as argument."
    ),
}
_BOTH = "unable to enable checks and tracking at the same time!"
_CHOICES = {
    "observe": (
        ("none", "layer4", "layer7"),
        "'observe' expects one of 'none', 'layer4', 'layer7' but got '{}'",
    ),
    "on-error": (
        ("fastinter", "fail-check", "sudden-death", "mark-down"),
        "'on-error' expects one of 'fastinter', 'fail-check', 'sudden-death' or 'mark-down'"
        " but got '{}'",
    ),
    "on-marked-down": (
        ("shutdown-sessions",),
        "'on-marked-down' expects 'shutdown-sessions' but got '{}'",
    ),
    "on-marked-up": (
        ("shutdown-backup-sessions",),
        "'on-marked-up' expects 'shutdown-backup-sessions' but got '{}'",
    ),
}
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
    _Options(context, proxy, line, proxy.default_server, "").run(1)


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
    options = proxy.default_server.copy()
    if target.local is not None:
        options.said.append(Said(line.origin, UNIX_SERVER, f"server {proxy.name}/{name} {address}"))
    if target.address is not None and target.address.is_unspecified:
        options.said.append(Said(line.origin, ANY_SERVER, f"server {proxy.name}/{name} {address}"))
    reader = _Options(context, proxy, line, options, name, dynamic=dynamic)
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


def _check_proto(value: str) -> str:
    if value not in ("h1", "h2", "fcgi", "none"):
        raise LineError(f"'check-proto' :  unknown MUX protocol '{value}'")
    if value in ("h2", "fcgi"):
        raise LineError(f"'check-proto {value}' : checks in this protocol are not carried out.")
    return value


def _template(prefix: str, text: str) -> list[str]:
    found = _TEMPLATE.match(text)
    first, last = 0, 0
    if found:
        first, last = (int(found[1]), int(found[2])) if found[2] else (1, int(found[1]))
    if not found or not 0 < first <= last or last - first >= _MOST_TEMPLATES:
        raise LineError(f"Wrong server-template number or range arg '{text}'.")
    return [f"{prefix}{number}" for number in range(first, last + 1)]


class _Options:
    """Reads the options of one line into a ServerOptions."""

    def __init__(
        self,
        context: Context,
        proxy: ProxyDraft,
        line: Line,
        options: ServerOptions,
        server: str,  # "" for default-server
        *,
        dynamic: bool = False,
    ) -> None:
        self.context = context
        self.proxy = proxy
        self.line = line
        self.options = options
        self.server = server
        self.dynamic = dynamic
        self.shown = server or "default-server"
        self.id: int | None = None
        self.checked = False  # "check" stands on this very line

    def run(self, at: int) -> None:
        line = self.line
        while name := line[at]:
            keyword = SERVER.get(name)
            if keyword is None:
                raise LineError(self._unknown(name))
            if self.dynamic and name in NOT_DYNAMIC:
                raise LineError(f"'{name}' option is not accepted for dynamic server")
            if not self.server and name == "id":
                raise LineError("'id' option is not accepted in default-server sections")
            try:
                at += 1 + self._one(keyword, at)
            except LineError as alert:
                if not self.server:
                    raise
                raise LineError(
                    f"'server {self.proxy.name}/{self.server}' : {alert.message}"
                    + ("" if alert.message == _BOTH else ".")
                ) from None

    def _unknown(self, name: str) -> str:
        best = closest(name, SERVER)
        if self.server:
            hint = f"; did you mean '{best}' maybe ?" if best else "."
            return f"'server {self.proxy.name}/{self.server}' : unknown keyword '{name}'{hint}"
        hint = f"; did you mean '{best}' maybe ?" if best else "."
        return f"unknown keyword '{name}'{hint} Hint: no address was expected for this server."

    def _one(self, keyword: Keyword, at: int) -> int:
        """Handle the option at *at*; how many words it takes beside its name."""
        name, value = keyword.name, self.line[at + 1]
        count = SERVER_ARGUMENTS.get(name, 0)
        if count and not value and name in _MISSING:
            raise LineError(_MISSING[name])
        if name == "source":
            return self._source(at)
        self._apply(name, value)
        if name.startswith("no-") and name[3:] in SERVER:
            self.options.said = [s for s in self.options.said if s.keyword.name != name[3:]]
        if keyword.status in (Status.LATER, Status.PROXY, Status.NOWHERE):
            where = f"{self.line[0]} {self.line[1]} " if self.server else "default-server "
            self.options.said.append(Said(self.line.origin, keyword, where + name))
        elif keyword.status is Status.IGNORED:
            self.context.report.note(
                self.line.origin, f"'{self.line[0]} … {name}' is ignored: {keyword.text}."
            )
        return count

    def _apply(  # noqa: PLR0912, PLR0915 one case an option
        self, name: str, value: str
    ) -> None:
        options = self.options
        match name:
            case "check":
                options.check = self.checked = True
                if options.track:
                    raise LineError(_BOTH)
            case "no-check":
                options.check = False
            case "agent-check":
                options.agent = True
            case "no-agent-check":
                options.agent, options.agent_send = False, b""
            case "agent-addr":
                options.agent_address = self._agent_address(value)
            case "agent-port":
                options.agent_port = self._port(name, value)
            case "agent-inter":
                options.agent_inter = self._interval(name, value)
            case "agent-send":
                options.agent_send = value.encode(errors="surrogateescape")
            case "backup" | "no-backup":
                options.backup = name == "backup"
            case "disabled" | "enabled":
                options.disabled = name == "disabled"
            case "nat" | "no-nat":
                options.nat = name == "nat"
            case "inter" | "fastinter" | "downinter":
                setattr(options, name, self._interval(name, value))
            case "slowstart":
                options.slowstart = self._slowstart(value)
            case "rise" | "fall":
                if atol(value) <= 0:
                    raise LineError(f"'{name}' has to be > 0.")
                setattr(options, name, atol(value))
            case "weight":
                options.weight = self._weight(value)
            case "maxconn" | "minconn":
                setattr(options, name, max(atol(value), 0))
            case "port":
                options.check_port = self._port(name, value)
            case "addr":
                self._check_address(value)
            case "check-ssl" | "no-check-ssl":
                options.check_ssl = name == "check-ssl"
            case "check-send-proxy" | "no-check-send-proxy":
                options.check_send_proxy = name == "check-send-proxy"
            case "check-via-socks4":
                options.check_via_socks4 = True
            case "check-sni":
                options.check_sni = value
            case "check-alpn":
                options.check_alpn = names(value)
            case "check-proto":
                options.check_proto = _check_proto(value)
            case "id":
                self._id(value)
            case "track":
                options.track = value
                if options.check:
                    raise LineError(_BOTH)
            case "init-addr":
                options.init_addr = _init_addr(value)
            case "resolvers":
                options.resolvers = value
            case "resolve-prefer":
                if value not in ("ipv4", "ipv6"):
                    raise LineError("'resolve-prefer' expects either ipv4 or ipv6 as argument.")
                options.resolve_prefer = (
                    AddressFamilyPreference.PREFER_IPV4
                    if value == "ipv4"
                    else AddressFamilyPreference.PREFER_IPV6
                )
            case "resolve-net":
                options.resolve_net = _networks(value)
            case "resolve-opts":
                options.resolve_opts = _resolve_opts(value, options.resolve_opts)
            case "usesrc":
                raise LineError("'usesrc' only allowed after a 'source' statement.")
            case "observe" | "on-error" | "on-marked-down" | "on-marked-up":
                choices, message = _CHOICES[name]
                if value not in choices:
                    raise LineError(message.format(value))
                self._react(name, value)
            case "error-limit":
                if atol(value) <= 0:
                    raise LineError("error-limit has to be > 0.")
                options.error_limit = atol(value)
            case "cookie":
                options.cookie = True
            case "redir":
                options.redir = True
            case "ssl":
                options.ssl, options.no_ssl = True, False
            case "no-ssl":
                # What default-server says of TLS is kept, for operators to switch it on.
                options.spare_ssl = options.ssl
                options.ssl, options.no_ssl = False, True
            case "pool-max-conn":
                limit = atol(value)
                if limit < -1:
                    raise LineError("'pool-max-conn' must be >= -1.")
                options.pool_max_conn = limit if limit >= 0 else None
            case "maxqueue":
                options.maxqueue = max(atol(value), 0)
            case "socks4":
                options.socks4 = self._socks4(value)
            case _ if read_header(options, name, value):
                pass
            case _:
                self._tls_option(name, value)

    def _tls_option(self, name: str, value: str) -> None:
        """What qualifies ``ssl``."""
        tls, bases = self.options.tls, self.context.draft.global_.tls
        match name:
            case "crt":
                path = based(bases.crt_base, value)
                tls.certificates = (path,)
                tls.missing = None if self.context.exists(path) else path
            case "ca-file" | "crl-file":
                path = based(bases.ca_base, value)
                missing = missing_authority(self.context.exists, path)
                if missing is not None:
                    self.context.report.error(
                        self.line.origin, f"'{name}' : unable to load {path}.", parsing=False
                    )
                    raise LineError(missing.removesuffix(".") if self.server else missing)
                setattr(tls, name.replace("-", "_"), path)
            case "verify":
                if value not in (TlsVerify.NONE, TlsVerify.REQUIRED):
                    raise LineError(
                        f"'verify' : unknown verify method '{value}', only 'none' and 'required'"
                        " are supported"
                    )
                tls.verify = TlsVerify(value)
            case "sni":
                tls.sni = value
            case "verifyhost":
                tls.verify_host = value
            case "alpn":
                tls.alpn = names(value)
            case "ciphers" | "ciphersuites":
                setattr(tls, name, value)
            case _:
                read_version(tls, name, value)

    def _socks4(self, value: str) -> tuple[Address, int]:
        allow = Allow.PORT | Allow.PORT_NEEDED | Allow.NAME
        try:
            target = parse_address(value, allow, self.context.environ)
        except AddressError as bad:
            raise LineError(f"'socks4 {value}' : {bad}") from None
        address = target.address
        if target.hostname is not None:
            address = self.context.resolve(target.hostname, target.family)
        if address is None:
            raise LineError(
                f"'socks4 {value}' : invalid address: '{target.hostname or value}' in '{value}'"
            )
        return address, target.low

    def _time(self, name: str, value: str, shown: str) -> int:
        try:
            result, rest = parse_time(value)
        except DurationError as bad:
            if bad.char is not None:
                raise LineError(
                    f"unexpected character '{bad.char}' in '{shown}' argument of server"
                    f" {self.shown}."
                ) from None
            raise LineError(
                f"{'' if name == 'slowstart' else 'timer '}overflow in argument <{value}> to"
                f" <{name}> of server {self.shown},"
                " maximum value is 2147483647 ms (~24.8 days)."
            ) from None
        if rest:
            whose = f"'server {self.proxy.name}/{self.server}' : " if self.server else ""
            self.context.report.warn(
                self.line.origin, whose + trailing_message(value, rest), parsing=False
            )
        return result

    def _interval(self, name: str, value: str) -> int:
        if not value:
            raise LineError(f"'{name}' expects a delay as argument.")
        result = self._time(name, value, "agent-inter")  # HAProxy names the wrong one
        if result <= 0:
            raise LineError(f"invalid value {result} for argument '{name}' of server {self.shown}.")
        return result

    def _port(self, name: str, value: str) -> int | None:
        port = atol(value) & 0xFFFF
        if port != atol(value):
            self.context.report.warn(
                self.line.origin,
                f"'server {self.proxy.name}/{self.server}' : '{name} {value}' is not within"
                f" 0-65535; it is taken for {port}, as HAProxy does.",
                parsing=False,
                own=True,
            )
        return port or None

    def _react(self, name: str, value: str) -> None:
        options = self.options
        match name:
            case "observe" if value == "layer7":
                # HAProxy says so and goes on.
                shown = f"'server {self.proxy.name}/{self.server}' : " if self.server else ""
                self.context.report.warn(
                    self.line.origin,
                    f"{shown}'layer7' can only be used in http proxies..",
                    parsing=False,
                )
            case "observe":
                options.observe = value == "layer4"
            case "on-error":
                options.on_error = OnError(value)
            case "on-marked-down":
                options.cut_when_down = True
            case "on-marked-up":
                options.cut_backups_when_up = True

    def _agent_address(self, value: str) -> Address:
        address = parse_ip(value, AddressFamilyPreference.ANY)
        if address is None:
            address = self.context.resolve(value, AddressFamilyPreference.ANY)
        if address is None:
            raise LineError(f"parsing agent-addr failed. Check if '{value}' is correct address.")
        return address

    def _slowstart(self, value: str) -> int:
        # A bare number is rounded up to whole seconds by HAProxy.
        result = self._time("slowstart", value, "slowstart")
        return -(-result // 1000) * 1000

    def _weight(self, value: str) -> int:
        weight = atol(value)
        if not 0 <= weight <= MAX_WEIGHT:
            raise LineError(
                f"weight of server {self.shown} is not within 0 and {MAX_WEIGHT} ({weight})."
            )
        return weight

    def _check_address(self, value: str) -> None:
        try:
            target = parse_address(value, Allow.PORT | Allow.NAME, self.context.environ)
        except AddressError as bad:
            raise LineError(f"'addr' : {bad}") from None
        address = target.address
        if target.hostname is not None:
            address = self.context.resolve(target.hostname, target.family)
            if address is None:
                raise LineError(f"'addr' : invalid address: '{target.hostname}' in '{value}'")
        self.options.check_address = address
        self.options.check_address_port = target.low if target.low > 0 else None

    def _id(self, value: str) -> None:
        number = atol(value)
        if number <= 0:
            raise LineError("'id' : custom id has to be > 0")
        for other in self.proxy.servers:
            if other.id == number:
                raise LineError(
                    f"'id' : custom id {number} already used at {other.origin}"
                    f" ('server {other.name}')"
                )
        self.id = number

    def _source(self, at: int) -> int:
        self.options.source, keywords, used = parse_source(self.context, self.line, at, ranges=True)
        self.options.said = [s for s in self.options.said if s.keyword not in SOURCES]
        for keyword in keywords:
            self.options.said.append(
                Said(self.line.origin, keyword, f"server {self.server} source")
            )
        return used


def parse_source(
    context: Context, line: Line, at: int, *, ranges: bool
) -> tuple[SourceLine, list[Keyword], int]:
    """What a ``source`` says, what of it needs the proxy, and how many words follow its name."""
    target: Target | None = _source_address(context, "source", line[at + 1], ranges=ranges)
    keywords: list[Keyword] = []
    kind, other, interface = SourceKind.OWN, None, None
    used = 1
    while (word := line[at + used + 1]) in ("usesrc", "interface"):
        value = line[at + used + 2]
        if word == "interface":
            if not value:
                raise LineError(f"'{line[0]}' : missing interface name")
            interface = value
            keywords.append(SOURCE_INTERFACE)
        elif not value:
            raise LineError(
                "'usesrc' expects <addr>[:<port>], 'client', 'clientip', or 'hdr_ip(name,#)' as"
                " argument"
            )
        elif value in ("client", "clientip"):
            kind = SourceKind(value)
        elif value.startswith("hdr_ip("):
            keywords.append(USESRC_HEADER)
        else:
            kind = SourceKind.OTHER
            other = _source_address(context, "usesrc", value, ranges=False)
            keywords.append(USESRC)
        used += 2
    if target is not None and target.address is not None and target.address.is_unspecified:
        target = None  # any address: what happens without "source" as well
    return SourceLine(target, kind, other, interface), keywords, used


SOURCES = (SOURCE_INTERFACE, USESRC, USESRC_HEADER)


def _source_address(context: Context, name: str, text: str, *, ranges: bool) -> Target:
    allow = Allow.PORT | Allow.NAME | (Allow.RANGE if ranges else Allow.NOTHING)
    try:
        target = parse_address(text, allow, context.environ)
    except AddressError as bad:
        raise LineError(f"'{name} {text}' : {bad}") from None
    if target.hostname is not None:
        address = context.resolve(target.hostname, target.family)
        if address is None:
            raise LineError(f"'{name} {text}' : invalid address: '{target.hostname}' in '{text}'")
        return Target(address=address, port_kind=target.port_kind, low=target.low, high=target.high)
    return target


def _networks(value: str) -> tuple[Network, ...]:
    if not value:
        raise LineError("'resolve-net' expects a list of networks.")
    networks = []
    for word in filter(None, value.split(",")):
        address = word.partition("/")[0]
        if parse_ip(address, AddressFamilyPreference.ANY) is None:
            raise LineError(f"'resolve-net' invalid network '{word}'.")
        try:
            networks.append(ip_network(word, strict=False))
        except ValueError:
            raise LineError(f"'resolve-net' invalid network '{word}'.") from None
    return tuple(networks)


def _resolve_opts(value: str, before: frozenset[str]) -> frozenset[str]:
    chosen = set(before)
    for word in filter(None, value.split(",")):
        if word not in ("allow-dup-ip", "prevent-dup-ip", "ignore-weight"):
            raise LineError(
                f"'resolve-opts' : unknown resolve-opts option '{word}', supported methods are"
                " 'allow-dup-ip', 'ignore-weight', and 'prevent-dup-ip'."
            )
        chosen -= {"allow-dup-ip", "prevent-dup-ip"} if word.endswith("dup-ip") else set()
        chosen.add(word)
    return frozenset(chosen)


def _init_addr(value: str) -> tuple[InitMethod | Address, ...]:
    methods: list[InitMethod | Address] = []
    for word in value.split(","):
        if word in ("last", "libc", "none"):
            methods.append(InitMethod(word))
            continue
        address = parse_ip(word, AddressFamilyPreference.ANY) if word not in ("", "*") else None
        if address is None:
            raise LineError(
                f"'init-addr' : unknown init-addr method '{word}', supported methods are 'libc',"
                " 'last', 'none'."
            )
        methods.append(address)
    return tuple(methods)
