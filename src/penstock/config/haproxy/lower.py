# SPDX-License-Identifier: Apache-2.0
"""What the files said, in HAProxy's words -> penstock's model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from penstock.admission_rules import NotExpressible, compile_admission
from penstock.config.haproxy import lower_proxied
from penstock.config.haproxy.address import Target
from penstock.config.haproxy.draft import (
    BACK,
    FRONT,
    BindLine,
    FileDraft,
    Mode,
    ProxyDraft,
    Said,
)
from penstock.config.haproxy.keywords import MODE_HTTP, PROXY, Keyword, Need, Status
from penstock.config.haproxy.log_formats import journal, session_log, unique_id
from penstock.config.haproxy.lower_http import Served, lower_http
from penstock.config.haproxy.lower_relay import not_relayed
from penstock.config.haproxy.lower_server import (
    ServerLowering,
    forwarding,
    real_port,
    source_address,
)
from penstock.config.haproxy.lower_udp import barred_in_udp
from penstock.config.haproxy.parser import Resolve
from penstock.config.haproxy.report import Report
from penstock.errors import InvalidModel
from penstock.http_service import HttpService
from penstock.logs.format import beyond_packets
from penstock.logs.model import Journal
from penstock.model import (
    Bind,
    ClientTimeouts,
    Configuration,
    EngineKind,
    Origin,
    Pool,
    PortMode,
    PortRange,
    Protocol,
    RealPort,
    RealServer,
    ServerTimeouts,
    Service,
    Settings,
)
from penstock.proxied import Front, Link, LocalAddress
from penstock.rules.support import refusals, refuse_expression
from penstock.sections import Section

_PROTOCOLS = {Mode.TCP: Protocol.TCP, Mode.UDP: Protocol.UDP, Mode.HTTP: Protocol.TCP}


@dataclass(slots=True)
class Lowering:
    """Builds a Configuration from a draft without faults; names that fail are reported."""

    draft: FileDraft
    report: Report
    resolve: Resolve
    _ids: dict[int, int] = field(default_factory=dict)  # of servers, by id()
    _forced: set[int] = field(default_factory=set)  # proxies whose id the file says, by id()
    _told: set[tuple[str, int, str]] = field(default_factory=set)
    _https: list[HttpService] = field(default_factory=list)
    servers: ServerLowering = field(init=False)

    def __post_init__(self) -> None:
        self.servers = ServerLowering(self.draft, self.report, self.resolve)

    def run(self) -> Configuration:
        """The configuration; an empty one when errors were reported."""
        before = len(self.report.errors)
        # HAProxy's own frontend of the runtime API is a proxy too, where there is one.
        self._forced = {id(proxy) for proxy in self.draft.proxies if proxy.id}
        ids = lower_proxied.numbers(
            [proxy.id for proxy in self.draft.proxies],
            first=2 if "stats" in self.draft.global_.seen else 1,
        )
        for proxy, number in zip(self.draft.proxies, ids, strict=True):
            proxy.id = number
            given = lower_proxied.numbers([server.id for server in proxy.servers])
            self._ids.update(zip(map(id, proxy.servers), given, strict=True))
        pools: list[Pool] = []
        for proxy in self.draft.proxies:
            if not proxy.capability & BACK or (proxy.disabled and proxy.mode is Mode.HTTP):
                continue
            if proxy.mode is not Mode.HTTP:
                self._tell(proxy)
            pool = self._pool(proxy)
            if pool is not None:
                pools.append(pool)
        names = {pool.name: pool for pool in pools}
        services: list[Service] = []
        for proxy in self.draft.proxies:
            if proxy.capability & FRONT and proxy.binds:
                service = self._service(proxy, names)
                if service is not None:
                    services += _listeners(service, proxy)
        if len(self.report.errors) > before:
            return Configuration()
        return Configuration(
            tuple(services),
            tuple(pools),
            self._settings(),
            http=tuple(self._https),
            sections=tuple(self._section(proxy) for proxy in self.draft.proxies),
        )

    def _state_file(self, proxy: ProxyDraft) -> str | None:
        if proxy.load_state in ("", "none"):
            return None
        if proxy.load_state == "global":
            return ""
        return self._based(proxy.state_name or proxy.name)

    def _based(self, name: str) -> str:
        """A file of states in server-state-base, unless it says its own place."""
        base = self.draft.global_.state_base
        return name if name.startswith("/") or not base else f"{base}/{name}"

    def _section(self, proxy: ProxyDraft) -> Section:
        """*proxy* as it shows in statistics."""
        back = bool(proxy.capability & BACK)
        feeders = tuple(
            front.maxconn or 0
            for front in self.draft.proxies
            if back and front.capability & FRONT and proxy.name in self._reachable(front)
        )
        return Section(
            name=proxy.name,
            id=proxy.id or 0,
            front=bool(proxy.capability & FRONT),
            back=back,
            mode=proxy.mode.value,
            algorithm=_algorithm(proxy),
            cookie=proxy.cookie_name,
            maxconn=proxy.maxconn or 0,
            rate_limit=proxy.rate_limit,
            fullconn=proxy.fullconn or 0,
            feeders=feeders,
            listeners_counted="socket-stats" in proxy.options,
            state_file=self._state_file(proxy) if back else None,
            forced_id=id(proxy) in self._forced,
            disabled=proxy.disabled,
            description=proxy.description,
        )

    def _settings(self) -> Settings:
        said = self.draft.global_
        settings = Settings(
            hook=said.hook,
            maxconn=said.maxconn,
            workers=said.nbthread,
            user=said.user,
            group=said.group,
            spread_checks=said.spread_checks,
            interfaces=said.interfaces,
            server_state_file=self._based(said.state_file) if said.state_file else "",
            description=said.description or "",
            node=said.node,
            runtime_api=lower_proxied.runtime_sockets(said),
            journal=Journal(tuple(said.log_targets)),
            naming=said.naming,
            process=lower_proxied.process(said),
            origin=said.origin or Origin(),
        )
        return settings if said.max_flows is None else replace(settings, max_flows=said.max_flows)

    # -- what is not carried out -------------------------------------------------------------

    def _tell(self, proxy: ProxyDraft) -> None:
        """Warn of everything said in *proxy* that later work builds, once for each line."""
        if proxy.disabled:
            return
        said = list(proxy.said)
        for server in proxy.servers:
            said += server.options.said
        for bind in proxy.binds:
            said += bind.said
        groups: set[str] = set()
        for one in said:
            if one.keyword.status is not Status.LATER or one.keyword.group in groups:
                continue
            groups.add(one.keyword.group)
            place = (one.origin.file, one.origin.line, one.keyword.group)
            if place not in self._told:
                self._told.add(place)
                self.report.warn(
                    one.origin,
                    f"'{one.text}' is not carried out: {one.keyword.text}.",
                    parsing=False,
                    own=True,
                )

    def _decisive(self, proxy: ProxyDraft) -> list[Said]:
        """What makes *proxy*'s service need the proxy engine."""
        said = list(proxy.said)
        for bind in proxy.binds:
            said += bind.said
        for server in proxy.servers:
            said += server.options.said
        return [one for one in said if one.keyword.status in (Status.PROXY, Status.NOWHERE)]

    # -- services ----------------------------------------------------------------------------

    def _service(self, proxy: ProxyDraft, pools: dict[str, Pool]) -> Service | None:
        http = proxy.mode is Mode.HTTP
        if http:
            said = not_relayed(proxy, self._reachable(proxy), self._backend)
            if said is not None:
                return self._http_service(proxy, said)
        if http and not proxy.disabled:
            self.report.warn(
                proxy.mode_origin or proxy.origin,
                f"'{proxy.name}' is in mode http: its connections are relayed as in mode tcp, and"
                " what they carry is not looked at.",
                parsing=False,
                own=True,
            )
        if not proxy.capability & BACK:
            self._tell(proxy)
        target = self._target(proxy)
        reasons = self._decisive(proxy)
        if _named_first(proxy) is not None:
            # An unconditional first rule is the default backend by another name.
            reasons = [one for one in reasons if one.keyword.name != "use_backend"]
        for name in self._reachable(proxy):
            backend = self._backend(name)
            if backend is None or backend is proxy:
                continue
            if backend.mode is Mode.HTTP and not http:  # HAProxy upgrades the connection to HTTP
                origin = backend.mode_origin or backend.origin
                reasons.append(Said(origin, MODE_HTTP, f"backend {name} in mode http"))
            reasons += self._decisive(backend)
        pool = target if target in pools else None
        service = Service(
            name=proxy.name,
            protocol=_PROTOCOLS[proxy.mode],
            binds=self._binds(proxy),
            pool=pool,
            timeouts=ClientTimeouts(
                client=_timeout(proxy, "client"), client_fin=_timeout(proxy, "client-fin")
            ),
            maxconn=proxy.maxconn or 0,
            disabled=proxy.disabled,
            front=self._front(proxy),
            journal=journal(proxy),
            sessions=session_log(proxy, self.draft.global_.naming),
            unique_id=unique_id(proxy),
            origin=proxy.origin,
        )
        reasons += self._asks_beyond_packets(service, proxy)
        placed = self._placed(service, proxy, reasons)
        backend = self._backend(target) if target is not None else None
        if placed.engine is EngineKind.KERNEL and backend is not None and not proxy.disabled:
            self._tell_tries(backend)
        return placed

    def _front(self, proxy: ProxyDraft) -> Front:
        takes_ipv4 = {
            id(target): self._takes_ipv4(line, target)
            for line in proxy.binds
            for target in line.targets
        }
        return lower_proxied.front(proxy, self.draft.global_, takes_ipv4)

    def _asks_beyond_packets(self, service: Service, proxy: ProxyDraft) -> list[Said]:
        """What log lines say of connections that the kernel engine does not know."""
        log = service.sessions
        if log is None:
            return []
        for keyword, made in (("log-format", log.format), ("log-format-sd", log.structured)):
            wanted = beyond_packets(made) if made is not None else None
            if wanted is not None:
                text = f"packets do not tell `{wanted}`"
                row = replace(PROXY[keyword], status=Status.PROXY, text=text)
                return [Said(proxy.log_formats[keyword].origin, row, keyword)]
        return []

    def _tell_tries(self, backend: ProxyDraft) -> None:
        """That packets know no second try, where the file asks for one."""
        origin = backend.options.get("redispatch")
        if origin is None:
            return
        place = (origin.file, origin.line, "redispatch")
        if place not in self._told:
            self._told.add(place)
            self.report.note(
                origin,
                "a connect that a server refuses reaches the client on the kernel engine;"
                " 'option proxy-engine' tries again and elsewhere, as HAProxy.",
            )

    def _placed(self, service: Service, proxy: ProxyDraft, reasons: list[Said]) -> Service:
        """On the engine that can do it; rules that packets suffice for are the kernel engine's."""
        barred = self._barred(service, proxy)
        if barred is None and proxy.mode is Mode.UDP:
            barred = barred_in_udp(reasons, service.front.tcp_rules)
        if barred is not None:
            return _on_proxy(service, [barred])
        rules = [one for one in reasons if one.keyword.name == "tcp-request"]
        if not rules:
            return _on_proxy(service, reasons) if reasons else service
        target = self._backend(service.pool) if service.pool is not None else None
        tables = {
            one.stick_table.name: one.stick_table for one in self.draft.proxies if one.stick_table
        }
        admission = compile_admission(
            service.front,
            tables,
            lower_proxied.back(target) if target is not None and target is not proxy else None,
        )
        others = [one for one in reasons if one not in rules]
        if isinstance(admission, NotExpressible):
            said = next((one for one in rules if one.origin == admission.origin), rules[0])
            keyword = replace(said.keyword, text=admission.reason)
            others.insert(0, Said(admission.origin, keyword, said.text))
        elif not others:
            return replace(service, admission=admission)
        return _on_proxy(service, others)

    def _barred(self, service: Service, proxy: ProxyDraft) -> Said | None:
        """The first rule on the way of *service*'s clients that nobody can carry out."""
        found = list(refusals((*service.front.tcp_rules, *service.front.routes)))
        backs = [proxy, *filter(None, map(self._backend, self._reachable(proxy)))]
        for one in backs:
            back = lower_proxied.back(one)
            found += refusals((*back.tcp_rules, *back.server_rules, *back.persist_rules))
            found += filter(
                None, (refuse_expression(rule.expression, rule.origin) for rule in back.stick)
            )
            if back.hash_on is not None:
                found += filter(None, [refuse_expression(back.hash_on.expression, one.origin)])
        if not found:
            return None
        keyword = Keyword("rule", Need.P, Status.NOWHERE, found[0].reason)
        return Said(found[0].origin, keyword, "a rule")

    def _http_service(self, proxy: ProxyDraft, said: Said) -> Service | None:
        served = lower_http(proxy, self._front(proxy).listeners, self.draft, self._backend)
        if isinstance(served, Served):
            self._https.append(served.service)
            for one in served.ignored:
                self.report.warn(
                    one.origin,
                    f"'{one.text}' is not carried out: {one.keyword.text}.",
                    parsing=False,
                    own=True,
                )
            return None
        if served is not None:
            said = served
        service = Service(
            name=proxy.name,
            protocol=Protocol.TCP,
            binds=self._binds(proxy),
            pool=None,
            disabled=proxy.disabled,
            origin=proxy.origin,
        )
        return _on_proxy(service, [said])

    def _target(self, proxy: ProxyDraft) -> str | None:
        named = _named_first(proxy)
        if named is not None:
            return named
        if proxy.default_backend is not None:
            return proxy.default_backend
        return proxy.name if proxy.capability & BACK else None

    def _reachable(self, proxy: ProxyDraft) -> list[str]:
        names = [rule.name for rule in proxy.use_backends]
        target = self._target(proxy)
        return [*names, target] if target is not None else names

    def _backend(self, name: str) -> ProxyDraft | None:
        for proxy in self.draft.proxies:
            if proxy.name == name and proxy.capability & BACK:
                return proxy
        return None

    def _binds(self, proxy: ProxyDraft) -> tuple[Bind, ...]:
        binds: list[Bind] = []
        for line in proxy.binds:
            for target in line.targets:
                if target.address is None or target.low < 1:
                    continue
                bind = Bind(
                    vip=target.address,
                    ports=PortRange(target.low, target.high),
                    v4v6=self._takes_ipv4(line, target),
                    interface=line.interface,
                    name=line.name,
                    transparent=line.transparent,
                    origin=line.origin,
                )
                if all(replace(bind, origin=other.origin) != other for other in binds):
                    binds.append(bind)
        return tuple(binds)

    def _takes_ipv4(self, line: BindLine, target: Target) -> bool:
        """Whether ``::`` takes IPv4 too: if told to, else as Linux does unless told not to."""
        address = target.address
        if address is None or address.version == 4 or not address.is_unspecified:
            return False
        if line.v4v6 or line.v6only:
            return line.v4v6
        return not any(
            other.address is not None
            and other.address.version == 4
            and other.address.is_unspecified
            and other.low <= target.high
            and target.low <= other.high
            for proxy in self.draft.proxies
            for bind in proxy.binds
            for other in bind.targets
        )

    def _fullconn(self, proxy: ProxyDraft) -> int:
        """As said, or a tenth of what its frontends let in (HAProxy manual 4.2, "fullconn")."""
        if proxy.fullconn:
            return proxy.fullconn
        limits = [
            front.maxconn or self.draft.global_.maxconn
            for front in self.draft.proxies
            if front.capability & FRONT and proxy.name in self._reachable(front)
        ]
        return -(-sum(limits) // 10) if all(limits) else 0

    # -- pools -------------------------------------------------------------------------------

    def _pool(self, proxy: ProxyDraft) -> Pool | None:
        reals: list[RealServer] = []
        for server in proxy.servers:
            real = self.servers.real(proxy, server, self._ids[id(server)])
            if real is not None:
                reals.append(real)
        if proxy.dispatch is not None and not proxy.balance_set:
            reals = [
                RealServer(
                    name="dispatch",
                    address=proxy.dispatch.address,
                    port=real_port(proxy.dispatch),
                    forwarding=forwarding(proxy, proxy.source, nat=False),
                    source=source_address(proxy.source),
                    link=lower_proxied.sourced(Link(), proxy.source, nat="nat" in proxy.options),
                    origin=proxy.dispatch_origin or proxy.origin,
                )
            ]
        elif "transparent" in proxy.options and not reals:
            reals = [
                RealServer(
                    name="transparent",
                    address=IPv4Address(0),
                    port=RealPort(PortMode.SAME),
                    source=source_address(proxy.source),
                    link=lower_proxied.sourced(Link(), proxy.source, nat="nat" in proxy.options),
                    origin=proxy.options["transparent"],
                )
            ]
        try:
            return Pool(
                name=proxy.name,
                protocol=_PROTOCOLS[proxy.mode],
                reals=tuple(reals),
                scheduler=proxy.scheduler,
                timeouts=ServerTimeouts(
                    connect=_timeout(proxy, "connect"),
                    server=_timeout(proxy, "server"),
                    server_fin=_timeout(proxy, "server-fin"),
                    tunnel=_timeout(proxy, "tunnel"),
                    check=_timeout(proxy, "check"),
                ),
                allbackups="allbackups" in proxy.options,
                fullconn=self._fullconn(proxy),
                disabled=proxy.disabled,
                back=lower_proxied.back(proxy),
                journal=journal(proxy),
                origin=proxy.origin,
            )
        except InvalidModel as invalid:
            self.report.error(proxy.origin, f"{invalid}.", parsing=False)
            return None


def _named_first(proxy: ProxyDraft) -> str | None:
    """The backend that a first rule without a condition names, and no other."""
    if not proxy.use_backends or proxy.use_backends[0].condition:
        return None
    return None if proxy.use_backends[0].format else proxy.use_backends[0].name


def _algorithm(proxy: ProxyDraft) -> str:
    """HAProxy's name of it; of HTTP's, mode tcp makes round robin."""
    layer7 = proxy.balance_word in ("uri", "url_param", "hdr") and proxy.mode is not Mode.HTTP
    if proxy.balance_word and not layer7:
        return proxy.balance_word
    elsewhere = proxy.dispatch is not None or "transparent" in proxy.options
    return "none" if elsewhere and not layer7 else "roundrobin"


def _on_proxy(service: Service, reasons: list[Said]) -> Service:
    """*service* on the proxy engine for the first of *reasons*, or on none for one that bars it."""
    bars = [one for one in reasons if one.keyword.status is Status.NOWHERE]
    said = (bars or reasons)[0]
    return replace(
        service,
        engine=EngineKind.PROXY,
        engine_reason=f"'{said.text}': {said.keyword.text}",
        engine_origin=said.origin,
        unsupported=bool(bars),
    )


def _listeners(service: Service, proxy: ProxyDraft) -> list[Service]:
    """*service*, with each socket whose bind line has a maxconn as one of its own.

    HAProxy counts connections by socket for that limit (manual 5.1, "maxconn"). With
    ``option socket-stats`` each socket is one, where nothing is limited for all of them together.
    """
    limits = {line.origin: line.maxconn for line in proxy.binds if line.maxconn}
    together = proxy.maxconn or proxy.rate_limit or proxy.tcp_rules
    if "socket-stats" in proxy.options and not together:
        limits = {line.origin: line.maxconn for line in proxy.binds}
    rest = tuple(bind for bind in service.binds if bind.origin not in limits)
    front = lower_proxied.without(service.front, limits)
    some = bool(rest or front.listeners)
    parts = [replace(service, binds=rest, front=front)] if some or not limits else []
    whole, service = service, replace(service, section=service.name)
    for one in service.front.listeners:
        if one.origin in limits and isinstance(one.address, LocalAddress):
            limit = min(filter(None, (limits[one.origin], service.maxconn)), default=0)
            alone = replace(service.front, listeners=(one,))
            name = f"{service.name}:{len(parts)}"  # a path is no name
            parts.append(replace(service, name=name, binds=(), maxconn=limit, front=alone))
    for bind in service.binds:
        if bind.origin not in limits:
            continue
        for port in range(bind.ports.first, bind.ports.last + 1):
            socket = replace(bind, ports=PortRange.single(port))
            limit = min(filter(None, (limits[bind.origin], service.maxconn)), default=0)
            name = f"{service.name}:{bind.vip}:{port}"
            front = lower_proxied.only(service.front, socket)
            parts.append(replace(service, name=name, binds=(socket,), maxconn=limit, front=front))
    if len(parts) == 1:
        return [replace(parts[0], name=whole.name, section="")]
    return parts


def _timeout(proxy: ProxyDraft, name: str) -> int | None:
    timeout = proxy.timeouts.get(name)
    return timeout.value or None if timeout is not None else None
