# SPDX-License-Identifier: Apache-2.0
"""The files of a whole configuration's TLS: whether they can be used, and whether they changed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Protocol, TypeVar

from penstock.checks.model import Connect
from penstock.engine.proxy.crt import files_below, listed
from penstock.engine.proxy.tls import listener_context, server_context
from penstock.errors import ConfigError, Diagnostic
from penstock.model import Configuration, RealServer
from penstock.proxied import Listener, ListenerTls, ServerTls, TlsSettings
from penstock.terms import Origin

_TlsT = TypeVar("_TlsT", ListenerTls, ServerTls)


class Change(Protocol):
    """Makes another TLS of one."""

    def __call__(self, tls: _TlsT, /) -> _TlsT: ...


def with_digests(configuration: Configuration) -> Configuration:
    """*configuration* with the content of its files noted: it differs when one of them does."""

    def noted(tls: _TlsT) -> _TlsT:
        return replace(tls, settings=_noted(tls))

    return with_each(configuration, noted)


def with_each(configuration: Configuration, change: Change) -> Configuration:
    """*configuration* with another TLS of each listener, server and check that has one."""

    def listener(one: Listener) -> Listener:
        return one if one.tls is None else replace(one, tls=change(one.tls))

    def server(tls: ServerTls | None) -> ServerTls | None:
        return None if tls is None else change(tls)

    def real(one: RealServer) -> RealServer:
        check = one.check
        if _of_check(one):
            assert check is not None  # noqa: S101  # whose TLS there is
            link = replace(
                check.link,
                tls=server(check.link.tls),
                tls_settings=server(check.link.tls_settings),
            )
            check = replace(check, link=link)
        elif one.link.tls is None:
            return one
        return replace(one, check=check, link=replace(one.link, tls=server(one.link.tls)))

    return replace(
        configuration,
        services=tuple(
            replace(
                service,
                front=replace(
                    service.front, listeners=tuple(map(listener, service.front.listeners))
                ),
            )
            for service in configuration.services
        ),
        http=tuple(
            replace(one, listeners=tuple(map(listener, one.listeners)))
            for one in configuration.http
        ),
        pools=tuple(
            replace(pool, reals=tuple(map(real, pool.reals))) for pool in configuration.pools
        ),
        peers=tuple(
            replace(
                one,
                peers=tuple(replace(peer, tls=server(peer.tls)) for peer in one.peers),
                tls=None if one.tls is None else change(one.tls),
                local_tls=server(one.local_tls),
            )
            for one in configuration.peers
        ),
    )


def _of_check(real: RealServer) -> tuple[ServerTls, ...]:
    """What the checks of *real* use."""
    check = real.check
    if check is None:
        return ()
    made = [check.link.tls] if check.link.tls is not None else []
    settings = check.link.tls_settings
    steps = check.ruleset.steps if check.ruleset is not None else ()
    if settings is not None and any(isinstance(one, Connect) and one.tls for one in steps):
        made.append(settings)
    return tuple(made)


def _noted(tls: ListenerTls | ServerTls) -> TlsSettings:
    names = [tls.settings.ca_file, tls.settings.crl_file]
    if isinstance(tls, ListenerTls):
        names += [*tls.certificates, *tls.lists]
        names += [str(path) for path in listed(tls)]
    else:
        names.append(tls.certificate)
    digest = hashlib.sha256()
    for name in names:
        for path in files_below(name):
            digest.update(f"{path}\0".encode(errors="surrogateescape"))
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return replace(tls.settings, content=digest.hexdigest())


def uses(configuration: Configuration) -> list[tuple[ListenerTls | ServerTls, Origin]]:
    """All TLS that is not disabled, and the lines that ask for it, in their order."""
    fronts = [one.front.listeners for one in configuration.services if not one.disabled]
    fronts += [one.listeners for one in configuration.http if not one.disabled]
    listeners: set[tuple[ListenerTls, Origin]] = {
        (listener.tls, listener.origin)
        for front in fronts
        for listener in front
        if listener.tls is not None
    }
    servers: set[tuple[ServerTls, Origin]] = {
        (tls, real.origin)
        for pool in configuration.pools
        for real in pool.reals
        for tls in (real.link.tls, *_of_check(real))
        if tls is not None and not pool.disabled
    }
    for section in (one for one in configuration.peers if not one.disabled):
        if section.tls is not None:
            listeners.add((section.tls, section.origin))
        if section.local_tls is not None:
            servers.add((section.local_tls, section.origin))
        servers |= {(one.tls, one.origin) for one in section.peers if one.tls is not None}
    return sorted([*listeners, *servers], key=lambda one: (one[1].file, one[1].line))


def check_files(configuration: Configuration) -> None:
    """Make every context that *configuration* asks for, once, and let it go.

    Raises ConfigError with what is wrong about each line's files and settings.
    """
    wrong: list[Diagnostic] = []
    for tls, origin in uses(configuration):
        try:
            check_one(tls, origin)
        except ConfigError as error:
            wrong += error.diagnostics
    if wrong:
        raise ConfigError(tuple(dict.fromkeys(wrong)))


def check_one(tls: ListenerTls | ServerTls, origin: Origin) -> None:
    """Make the context of one line, and let it go. Raises ConfigError."""
    if isinstance(tls, ListenerTls):
        listener_context(tls, origin)
    else:
        server_context(tls, origin)
