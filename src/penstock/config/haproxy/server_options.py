# SPDX-License-Identifier: Apache-2.0
"""The options of ``server``, ``default-server`` and ``server-template`` (HAProxy manual 5.2)."""

from __future__ import annotations

from penstock.c_numbers import atol, int_of
from penstock.config.haproxy.address import AddressFamilyPreference, Allow, parse_ip
from penstock.config.haproxy.draft import Line, ProxyDraft, Said, ServerOptions
from penstock.config.haproxy.endpoint import read_endpoint
from penstock.config.haproxy.keywords import (
    NOT_DYNAMIC,
    SERVER,
    SERVER_ARGUMENTS,
    Keyword,
    Status,
    in_order,
)
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import EndError, LineError
from penstock.config.haproxy.send_proxy import read_header
from penstock.config.haproxy.server_names import read_name_option
from penstock.config.haproxy.source_line import SOURCES, parse_source
from penstock.config.haproxy.suggest import closest
from penstock.config.haproxy.syntax import mux_protocol
from penstock.config.haproxy.tls_words import based, missing_authority, names, read_version
from penstock.config.haproxy.units import DurationError, count_of, parse_time, trailing_message
from penstock.model import MAX_WEIGHT, Address, OnError
from penstock.proxied import TlsVerify

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
    "proto": "'proto' : missing value",
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
    "namespace": "'namespace' : expects <name> as argument",
    "source": (
        "'source' expects <addr>[:<port>[-<port>]], and optionally 'usesrc' <addr>, and"
        " 'interface' <name> as argument."
    ),
}
# Words of other options, which HAProxy too takes a misspelt one for.
_VALUES = in_order("ipv4 ipv6 legacy octet-count fail-check sudden-death mark-down")
_NAMESPACES = "/var/run/netns"  # where `ip netns` keeps them, and HAProxy looks
_NOT_DEFAULT = frozenset(("id", "no-sslv3", "no-tlsv10", "no-tlsv11", "no-tlsv12", "no-tlsv13"))
_BOTH = "unable to enable checks and tracking at the same time!"
# Words that set one field, and to what.
_SWITCHES = {
    "tfo": ("fast_open", True),
    "no-tfo": ("fast_open", False),
    "agent-check": ("agent", True),
    "backup": ("backup", True),
    "no-backup": ("backup", False),
    "no-check": ("check", False),
    "check-send-proxy": ("check_send_proxy", True),
    "no-check-send-proxy": ("check_send_proxy", False),
    "check-ssl": ("check_ssl", True),
    "no-check-ssl": ("check_ssl", False),
    "check-via-socks4": ("check_via_socks4", True),
    "cookie": ("cookie", True),
    "disabled": ("disabled", True),
    "enabled": ("disabled", False),
    "nat": ("nat", True),
    "no-nat": ("nat", False),
    "redir": ("redir", True),
}
_CHOICES = {
    "ws": (("auto", "h1", "h2"), "'ws' has to be 'auto', 'h1' or 'h2'"),
    "observe": (
        ("none", "layer4", "layer7"),
        "'observe' expects one of 'none', 'layer4', 'layer7' but got '{}'",
    ),
    "on-error": (
        ("fastinter", "fail-check", "sudden-death", "mark-down"),
        "'on-error' expects one of 'fastinter', 'fail-check', 'sudden-death' or 'mark-down'"
        " but got '{}'",
    ),
    "log-proto": (
        ("legacy", "octet-count"),
        "'log-proto' expects one of 'legacy' or 'octet-count' but got '{}'",
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


class OptionReader:
    """Reads the options of one line into a ServerOptions. Methods raise LineError."""

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

    def run(self, at: int) -> None:
        line = self.line
        while name := line[at]:
            keyword = SERVER.get(name.partition("(")[0])  # HAProxy looks no further
            if keyword is None:
                raise LineError(self._unknown(name))
            if self.dynamic and name in NOT_DYNAMIC:
                raise LineError(f"'{name}' option is not accepted for dynamic server")
            if not self.server and name in _NOT_DEFAULT:
                raise LineError(f"'{name}' option is not accepted in default-server sections")
            try:
                at += 1 + self._one(keyword, at)
            except EndError:
                raise
            except LineError as alert:
                whose = f"'server {self.proxy.name}/{self.server}' : " if self.server else ""
                stop = "" if alert.message == _BOTH else "."
                raise LineError(f"{whose}{alert.message}{stop}") from None

    def _unknown(self, name: str) -> str:
        best = closest(name, [*SERVER, *_VALUES])
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

    def _apply(self, name: str, value: str) -> None:
        if name in _SWITCHES:
            setattr(self.options, *_SWITCHES[name])
            return
        topics = (
            *(self._of_traffic, self._of_checks, self._of_agent),
            *(self._of_reactions, self._of_connections),
        )
        if read_name_option(self.options, name, value) or any(
            topic(name, value) for topic in topics
        ):
            return
        self._of_tls(name, value)

    def _of_traffic(self, name: str, value: str) -> bool:
        """What is given to it, and when."""
        options = self.options
        match name:
            case "id":
                self._id(value)
            case "weight":
                options.weight = self._weight(value)
            case "slowstart":
                options.slowstart = self._slowstart(value)
            case "maxconn" | "minconn":
                setattr(options, name, max(count_of(value), 0))
            case "maxqueue":
                options.maxqueue = max(count_of(value), 0)
            case "pool-max-conn":
                limit = atol(value)
                if limit < -1:
                    raise LineError("'pool-max-conn' must be >= -1.")
                options.pool_max_conn = limit if limit >= 0 else None
            case _:
                return False
        return True

    def _of_checks(  # noqa: PLR0912 one case an option
        self, name: str, value: str
    ) -> bool:
        options = self.options
        match name:
            case "check":
                options.check = True
                if options.track:
                    raise LineError(_BOTH)
            case "track":
                options.track = value
                if options.check:
                    raise LineError(_BOTH)
            case "inter" | "fastinter" | "downinter":
                setattr(options, name, self._interval(name, value))
            case "rise" | "fall":
                if atol(value) <= 0:
                    raise LineError(f"'{name}' has to be > 0.")
                setattr(options, name, atol(value))
            case "port":
                options.check_port = self._port(name, value)
            case "addr":
                self._check_address(value)
            case "check-sni":
                options.check_sni = value
            case "check-alpn":
                options.check_alpn = names(value)
            case "proto":
                options.proto = mux_protocol(value)
            case "check-proto":
                options.check_proto = _check_proto(value)
            case _:
                return False
        return True

    def _of_reactions(self, name: str, value: str) -> bool:
        """What its clients' errors, and its going down and coming back, lead to; other choices."""
        options = self.options
        choices, message = _CHOICES.get(name, ((), ""))
        if choices and value not in choices:
            raise LineError(message.format(value))
        match name:
            case "observe":
                options.observe = value == "layer4"
                if value == "layer7":
                    # HAProxy says so and goes on.
                    whose = f"'server {self.proxy.name}/{self.server}' : " if self.server else ""
                    self.context.report.alert(
                        self.line.origin,
                        f"{whose}'layer7' can only be used in http proxies..",
                        parsing=False,
                    )
            case "on-error":
                options.on_error = OnError(value)
            case "log-proto":
                options.log_proto = value
            case "on-marked-down":
                options.cut_when_down = True
            case "on-marked-up":
                options.cut_backups_when_up = True
            case "error-limit":
                if atol(value) <= 0:
                    raise LineError("error-limit has to be > 0.")
                options.error_limit = atol(value)
            case _:
                return False
        return True

    def _of_agent(self, name: str, value: str) -> bool:
        options = self.options
        match name:
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
            case _:
                return False
        return True

    def _of_connections(self, name: str, value: str) -> bool:
        """What comes before the first byte of a client's."""
        options = self.options
        match name:
            case "usesrc":
                raise LineError("'usesrc' only allowed after a 'source' statement.")
            case "ssl":
                options.ssl, options.no_ssl = True, False
            case "no-ssl":
                # What default-server says of TLS is kept, for operators to switch it on.
                options.spare_ssl = options.ssl
                options.ssl, options.no_ssl = False, True
            case "socks4":
                options.socks4 = self._socks4(value)
            case "namespace":
                if value != "*" and not self.context.exists(f"{_NAMESPACES}/{value}"):
                    raise LineError(f"Cannot open namespace '{value}'")
            case _:
                return read_header(options, name, value)
        return True

    def _of_tls(self, name: str, value: str) -> None:
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
                    raise self._end(missing, f"'{name}' : unable to load {path}.")
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
        head = f"'socks4 {value}'"
        target = read_endpoint(self.context, value, Allow.PORT | Allow.PORT_NEEDED, head)
        if target.address is None:
            raise LineError(f"{head} : invalid address: '{value}' in '{value}'")
        return target.address, target.low

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
        weight = int_of(value)
        if not 0 <= weight <= MAX_WEIGHT:
            raise LineError(
                f"weight of server {self.shown} is not within 0 and {MAX_WEIGHT} ({weight})."
            )
        return weight

    def _check_address(self, value: str) -> None:
        target = read_endpoint(self.context, value, Allow.PORT, "'addr'")
        self.options.check_address = target.address
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

    def _end(self, first: str, last: str) -> EndError:
        """Two errors of one line, as HAProxy tells them; the first is reported."""
        whose = f"'server {self.proxy.name}/{self.server}' : " if self.server else ""
        self.context.report.error(self.line.origin, whose + first, parsing=False)
        return EndError(last)

    def _source(self, at: int) -> int:
        try:
            source, keywords, used = parse_source(self.context, self.line, at, ranges=True)
        except LineError as alert:
            if not alert.message.startswith("'usesrc "):
                raise
            raise self._end(alert.message, "error encountered while processing 'usesrc'.") from None
        self.options.source = source
        self.options.said = [s for s in self.options.said if s.keyword not in SOURCES]
        for keyword in keywords:
            self.options.said.append(
                Said(self.line.origin, keyword, f"server {self.server} source")
            )
        return used


def _check_proto(value: str) -> str:
    mux_protocol(value, "check-proto")
    if value == "fcgi":
        raise LineError(f"'check-proto {value}' : checks in this protocol are not carried out.")
    return value
