# SPDX-License-Identifier: Apache-2.0
"""A server line as penstock's model has it: its address, checks, state and link."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.config.haproxy import lower_proxied
from penstock.config.haproxy.address import AddressFamilyPreference, PortKind, Target
from penstock.config.haproxy.draft import (
    BACK,
    InitMethod,
    ProxyDraft,
    ServerLine,
    ServerOptions,
    SourceLine,
)
from penstock.config.haproxy.lower_checks import health_check
from penstock.config.haproxy.parser import Resolve
from penstock.config.haproxy.report import LineError, Report
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.errors import InvalidModel
from penstock.model import (
    Address,
    AdminState,
    AgentCheck,
    ForwardingMethod,
    NameLookup,
    Observed,
    PortMode,
    PortRange,
    RealPort,
    RealServer,
    SourceAddress,
)
from penstock.proxied import SourceKind


@dataclass(slots=True)
class ServerLowering:
    """Of one draft; names that fail are reported."""

    draft: FileDraft
    report: Report
    resolve: Resolve
    _names: dict[tuple[str, AddressFamilyPreference], Address | None] = field(default_factory=dict)

    def real(self, proxy: ProxyDraft, server: ServerLine, number: int) -> RealServer | None:
        """One server, with its id; None when it is at fault, which is reported."""
        options = server.options
        source = options.source or proxy.source
        address = server.target.address
        admin = AdminState.MAINT if options.disabled else AdminState.READY
        if server.target.hostname is not None and not proxy.disabled:
            try:
                address = self._initial_address(proxy, server)
            except LineError as alert:
                self.report.error(server.origin, alert.message, parsing=False)
                return None
        try:
            return RealServer(
                name=server.name,
                address=address,
                port=real_port(server.target),
                weight=options.weight,
                backup=options.backup,
                admin=admin,
                maxconn=max(options.maxconn, options.minconn),  # as HAProxy
                minconn=options.minconn if options.maxconn > options.minconn else 0,
                slowstart=options.slowstart,
                rise=options.rise,
                check=health_check(proxy, server, self.draft.global_),
                agent=_agent(options, log="log-health-checks" in proxy.options),
                observed=Observed(options.on_error, options.error_limit)
                if options.observe
                else None,
                tracks=self._tracks(proxy, server),
                cut_when_down=options.cut_when_down,
                cut_backups_when_up=options.cut_backups_when_up,
                forwarding=forwarding(proxy, source, nat=options.nat),
                source=source_address(source),
                hostname=server.target.hostname,
                lookup=_name_lookup(options),
                id=server.id,
                link=lower_proxied.sourced(
                    lower_proxied.link(
                        number,
                        options,
                        server.target,
                        self.draft.global_,
                    ),
                    source,
                    nat=options.nat or "nat" in proxy.options,
                ),
                origin=server.origin,
            )
        except InvalidModel as invalid:
            self.report.error(
                server.origin, f"'server {proxy.name}/{server.name}' : {invalid}.", parsing=False
            )
            return None

    def _initial_address(  # noqa: PLR0912 one branch a method of init-addr
        self, proxy: ProxyDraft, server: ServerLine
    ) -> Address | None:
        """Address to start with; None: none, and that is allowed. Raises LineError."""
        hostname = server.target.hostname or ""
        wanted = server.target.family
        if wanted is AddressFamilyPreference.ANY:
            wanted = server.options.resolve_prefer
        name = f"'server {proxy.name}/{server.name}'"
        failed = False
        methods = server.options.init_addr
        if not methods:
            methods = (InitMethod.LAST, InitMethod.LIBC)
            if server.options.resolvers is not None:
                methods = (*methods, InitMethod.NONE)  # the name servers may know it later
        for method in methods:
            match method:
                case InitMethod.LAST:
                    continue
                case InitMethod.LIBC:
                    if hostname.startswith("_"):
                        continue  # an SRV record, which only name servers can be asked for
                    address = self._lookup(hostname, wanted)
                    if address is not None:
                        return address
                    failed = True
                case InitMethod.NONE:
                    if failed:
                        self.report.warn(
                            server.origin,
                            f"{name} : could not resolve address '{hostname}', disabling server.",
                            parsing=False,
                        )
                    return None
                case _:
                    if failed:
                        self.report.warn(
                            server.origin,
                            f"{name} : could not resolve address '{hostname}', falling back to"
                            " configured address.",
                            parsing=False,
                        )
                    return method
        if not failed:
            raise LineError(f"{name} : no method found to resolve address '{hostname}'.")
        if self.draft.global_.names_may_fail:
            said = f"{name} : could not resolve address '{hostname}', disabling server."
            self.report.warn(server.origin, said, parsing=False)
            return None
        raise LineError(f"{name} : could not resolve address '{hostname}'.")

    def _lookup(self, name: str, wanted: AddressFamilyPreference) -> Address | None:
        key = (name, wanted)
        if key not in self._names:
            self._names[key] = self.resolve(name, wanted)
        return self._names[key]

    def _tracks(self, proxy: ProxyDraft, server: ServerLine) -> tuple[str, str] | None:
        wanted = server.options.track
        found = find_server(self.draft, proxy, wanted) if wanted else None
        return (found[0].name, found[1].name) if found is not None else None


def _agent(options: ServerOptions, *, log: bool) -> AgentCheck | None:
    port = options.agent_port or options.check_port
    if not options.agent or port is None:
        return None
    return AgentCheck(
        port,
        options.agent_address or options.check_address,
        options.agent_inter or options.inter,
        options.agent_send,
        log,
    )


def find_server(
    draft: FileDraft, proxy: ProxyDraft, name: str
) -> tuple[ProxyDraft, ServerLine] | None:
    """The server that ``[backend/]server`` means, seen from *proxy*."""
    owner, slash, server_name = name.rpartition("/")
    backend = draft.proxy(owner, BACK) if slash else proxy
    if backend is None:
        return None
    for server in backend.servers:
        if server.name == server_name:
            return backend, server
    return None


def real_port(target: Target) -> RealPort:
    """A server's port: its own, the client's, or one beside the client's."""
    match target.port_kind:
        case PortKind.FIXED:
            return RealPort(PortMode.FIXED, target.low)
        case PortKind.OFFSET:
            return RealPort(PortMode.OFFSET, target.low)
    return RealPort(PortMode.SAME)


def forwarding(proxy: ProxyDraft, source: SourceLine | None, *, nat: bool) -> ForwardingMethod:
    """How its packets get there, where no proxy is needed for them."""
    clients = (SourceKind.CLIENT, SourceKind.CLIENT_ADDRESS)
    if nat or (source is not None and source.kind in clients) or "nat" in proxy.options:
        return ForwardingMethod.NAT
    return ForwardingMethod.FULLNAT


def source_address(source: SourceLine | None) -> SourceAddress | None:
    """Where connections to it come from; None: any address of ours."""
    target = source.target if source is not None else None
    if target is None or target.address is None:
        return None
    if target.port_kind is PortKind.FIXED and target.low >= 1:
        return SourceAddress(target.address, PortRange(target.low, target.high))
    return SourceAddress(target.address)


def _name_lookup(options: ServerOptions) -> NameLookup | None:
    if options.resolvers is None:
        return None
    return NameLookup(
        resolvers=options.resolvers,
        ipv4_first=options.resolve_prefer is AddressFamilyPreference.PREFER_IPV4,
        may_share="allow-dup-ip" in options.resolve_opts,
        ignore_weight="ignore-weight" in options.resolve_opts,
        networks=options.resolve_net,
    )
