# SPDX-License-Identifier: Apache-2.0
"""The way in: haproxy.cfg files -> a Configuration, or every error in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from penstock.config.haproxy import rules, validity
from penstock.config.haproxy.address import AddressFamilyPreference
from penstock.config.haproxy.command_line import CommandLine
from penstock.config.haproxy.dynamic_server import DynamicServers, ServerReader
from penstock.config.haproxy.keywords import SECTIONS
from penstock.config.haproxy.lower import Lowering
from penstock.config.haproxy.lower_logs import log_forwards, settle_rings
from penstock.config.haproxy.parser import Context, Parser, Resolve, SectionParser
from penstock.config.haproxy.report import Report, StopError
from penstock.config.haproxy.section_cache import parse_cache
from penstock.config.haproxy.section_drafts import (
    DEFAULT_RESOLVERS,
    FileDraft,
    GlobalDraft,
    NameServer,
    ResolversDraft,
)
from penstock.config.haproxy.section_global import parse_global
from penstock.config.haproxy.section_logs import parse_log_forward, parse_ring
from penstock.config.haproxy.section_mailers import parse_mailers
from penstock.config.haproxy.section_other import parse_other, parse_resolvers
from penstock.config.haproxy.section_peers import parse_peers
from penstock.config.haproxy.section_program import check_programs, parse_program
from penstock.config.haproxy.section_proxy import parse_proxy
from penstock.config.haproxy.section_users import parse_userlist
from penstock.config.haproxy.state_files import warn_state_files
from penstock.config.haproxy.stick_check import complete, settle_sticks
from penstock.config.system_accounts import system_account
from penstock.errors import ConfigError, Diagnostic, Stage
from penstock.model import Address, Configuration, Origin

_PARSERS: dict[str, SectionParser] = {
    "global": parse_global,
    "resolvers": parse_resolvers,
    "peers": parse_peers,
    "mailers": parse_mailers,
    "userlist": parse_userlist,
    "program": parse_program,
    "cache": parse_cache,
    "ring": parse_ring,
    "log-forward": parse_log_forward,
    **dict.fromkeys(("defaults", "frontend", "backend", "listen"), parse_proxy),
}
_SECTIONS = {name: _PARSERS.get(name, parse_other) for name in SECTIONS}


@dataclass(frozen=True, slots=True)
class Resolvers:
    """A resolvers section, for DNS at run time; durations in ms."""

    name: str
    nameservers: tuple[tuple[Address, int], ...]
    parse_resolv_conf: bool
    resolve_retries: int
    accepted_payload_size: int
    timeout_resolve: int
    timeout_retry: int
    hold: Mapping[str, int]  # nx, other, refused, timeout, valid, obsolete
    origin: Origin
    labels: tuple[str, ...] = ()  # what the name servers are called, in their order


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A configuration and what there is to tell about it."""

    configuration: Configuration
    warnings: tuple[Diagnostic, ...] = ()
    notes: tuple[Diagnostic, ...] = ()  # what is ignored because it makes no difference, .notice
    resolvers: tuple[Resolvers, ...] = ()
    listens: bool = False  # whether any section has an address, also one that is left out
    # For those that operators add; None: no haproxy.cfg.
    servers: ServerReader | None = field(default=None, repr=False, compare=False)


def load(
    paths: Sequence[Path],
    *,
    environ: Mapping[str, str],
    resolve: Resolve,
    read: Callable[[Path], bytes] = Path.read_bytes,
    exists: Callable[[str], bool] = os.path.exists,
    account: Callable[[str, str], int | None] = system_account,
    command_line: CommandLine = CommandLine(),  # noqa: B008  # frozen
) -> LoadResult:
    """Load files, and the ``*.cfg`` of directories in C order, as one configuration.

    *resolve* turns a host name into an address, None if it cannot. Raises ConfigError with every
    error of the stage that failed: reading, then the whole, then names of servers.
    """
    report = Report()
    texts: list[tuple[str, str]] = []
    for path in paths:
        try:
            for file in files_of(path):
                texts.append((str(file), read(file).decode("utf-8", "surrogateescape")))
        except OSError as error:
            reason = error.strerror or str(error)
            where = error.filename or path
            report.error(
                Origin(str(where)),
                f"Could not open configuration file {where} : {reason}",
                parsing=False,
            )
    _raise(report, Stage.OPENING)
    known = {**environ, "HAPROXY_LOCALPEER": command_line.local_peer or os.uname().nodename}
    prepare = command_line.apply
    return _load(
        texts,
        known,
        resolve,
        report,
        exists=exists,
        read=_texts(read),
        account=account,
        prepare=prepare,
    )


def loads(
    text: str,
    *,
    name: str = "<text>",
    environ: Mapping[str, str] | None = None,
    resolve: Resolve | None = None,
    exists: Callable[[str], bool] = os.path.exists,
    read: Callable[[Path], bytes] = Path.read_bytes,
    account: Callable[[str, str], int | None] = lambda _kind, _name: -1,
) -> LoadResult:
    """Load *text*; without *resolve* no host name has an address. Raises ConfigError.

    Without *account* every user and group exists.
    """
    return _load(
        [(name, text)],
        environ or {},
        resolve or _no_names,
        Report(),
        exists=exists,
        read=_texts(read),
        account=account,
    )


def _texts(read: Callable[[Path], bytes]) -> Callable[[str], str | None]:
    """*read* for files that a configuration names: None for one that cannot be read."""

    def text(name: str) -> str | None:
        try:
            return read(Path(name)).decode("utf-8", "surrogateescape") if name else None
        except OSError:
            return None

    return text


def _no_names(name: str, family: AddressFamilyPreference) -> Address | None:
    return None


def files_of(path: Path) -> list[Path]:
    """*path*, or what HAProxy reads of a directory. Raises OSError."""
    if not path.is_dir():
        return [path]
    inside = [
        entry
        for entry in path.iterdir()
        if entry.name.endswith(".cfg") and not entry.name.startswith(".") and not entry.is_dir()
    ]
    return sorted(inside, key=lambda entry: os.fsencode(entry.name))


def _load(
    texts: Sequence[tuple[str, str]],
    environ: Mapping[str, str],
    resolve: Resolve,
    report: Report,
    *,
    exists: Callable[[str], bool],
    read: Callable[[str], str | None],
    account: Callable[[str, str], int | None],
    prepare: Callable[[GlobalDraft], None] = lambda _: None,
) -> LoadResult:
    context = Context(report, dict(environ), resolve, exists, read, account)
    prepare(context.draft.global_)
    parser = Parser(context, _SECTIONS)
    stage = Stage.READING
    try:
        for name, text in texts:
            parser.read(name, text)
    except StopError:
        stage = Stage.STOPPED  # reported where it was raised; nothing after it is read
    _raise(report, stage)
    rules.settle(context)
    rings = settle_rings(context)
    validity.check(context)
    check_programs(context.draft.global_.programs, report)
    _raise(report)
    settle_sticks(context.draft)
    warn_state_files(context)
    configuration = Lowering(context.draft, report, resolve).run()
    _raise(report, Stage.NAMES)
    global_ = context.draft.global_
    if global_.zero_warning and report.haproxys:
        report.error(
            global_.origin or Origin(),
            "Some warnings were found and 'zero-warning' is set. Aborting.",
            parsing=False,
        )
    _raise(report, Stage.WARNINGS)
    peers = tuple(
        replace(section.frozen(), disabled=section.disabled or not complete(section))
        for section in context.draft.peers
    )
    return LoadResult(
        replace(
            configuration,
            peers=peers,
            rings=rings,
            log_forwards=log_forwards(context.draft),
        ),
        tuple(report.warnings),
        tuple(report.notes),
        _resolvers(context.draft),
        listens=_listens(context.draft),
        servers=DynamicServers(context),
    )


def _listens(draft: FileDraft) -> bool:
    """Whether HAProxy would have something to listen on, be it for its operator or its peers."""
    return (
        any(proxy.binds and not proxy.disabled for proxy in draft.proxies)
        or bool(draft.global_.stats_sockets)
        or any(complete(section) and not section.disabled for section in draft.peers)
        or any(one.streams or one.datagrams for one in draft.log_forwards)
    )


def _raise(report: Report, stage: Stage = Stage.WHOLE) -> None:
    if report.errors:
        raise ConfigError(tuple(report.errors), tuple(report.warnings), stage, tuple(report.notes))


def _resolvers(draft: FileDraft) -> tuple[Resolvers, ...]:
    sections = list(draft.resolvers)
    wanted = {server.options.resolvers for proxy in draft.proxies for server in proxy.servers}
    if DEFAULT_RESOLVERS in wanted - {section.name for section in sections}:
        # HAProxy makes this one itself (manual 5.3.2).
        sections.append(ResolversDraft(DEFAULT_RESOLVERS, Origin(), parse_resolv_conf=True))
    return tuple(_resolver(section) for section in sections)


def _resolver(section: ResolversDraft) -> Resolvers:
    servers: list[NameServer] = section.nameservers
    return Resolvers(
        name=section.name,
        nameservers=tuple((server.address, server.port) for server in servers),
        parse_resolv_conf=section.parse_resolv_conf,
        resolve_retries=section.resolve_retries,
        accepted_payload_size=section.accepted_payload_size,
        timeout_resolve=section.timeouts["resolve"],
        timeout_retry=section.timeouts["retry"],
        hold=dict(section.hold),
        origin=section.origin,
        labels=tuple(server.name for server in servers),
    )
