# SPDX-License-Identifier: Apache-2.0
"""Who holds an address: a haproxy.cfg's services and virtual services keep clear of each other.

Pure. A wildcard bind holds its ports on every address of its family.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.errors import ConfigError, Diagnostic
from penstock.ipvs.model import Proto, ServiceKey
from penstock.ipvs.names import place
from penstock.model import Bind, Configuration, Protocol

_OPTION = {Proto.TCP: "-t", Proto.UDP: "-u"}
_EVERYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104  # compared with, not bound to


class Claims:
    """The addresses that a configuration's services hold."""

    def __init__(self, configuration: Configuration | None = None) -> None:
        self._binds: dict[tuple[int, str], list[Bind]] = {}
        for service in configuration.services if configuration else ():
            if service.disabled:
                continue
            proto = Proto.UDP if service.protocol is Protocol.UDP else Proto.TCP
            for bind in service.binds:
                self._add(proto, str(bind.vip), bind)
                if bind.v4v6:
                    self._add(proto, _EVERYWHERE[4], bind)

    def _add(self, proto: int, address: str, bind: Bind) -> None:
        self._binds.setdefault((proto, address), []).append(bind)

    def holder(self, key: ServiceKey) -> Bind | None:
        """The bind that holds the address, protocol and port of *key*."""
        if not self._binds or not key.port:
            return None
        for address in (key.address, _EVERYWHERE[key.family]):
            for bind in self._binds.get((key.proto, address), ()):
                if bind.ports.first <= key.port <= bind.ports.last:
                    return bind
        return None

    def refuse_conflicts(self, keys: Iterable[ServiceKey]) -> None:
        """Raise ConfigError when a bind is the address of one of the virtual services *keys*."""
        if not self._binds:
            return
        found = [(key, bind) for key in keys if (bind := self.holder(key)) is not None]
        if found:
            raise ConfigError(tuple(_diagnostic(key, bind) for key, bind in found))


def _diagnostic(key: ServiceKey, bind: Bind) -> Diagnostic:
    where = place(key.address, key.port)
    return Diagnostic(
        bind.origin.file,
        bind.origin.line,
        f"{where} is a virtual service of ipvsadm's.",
        hint=f"'ipvsadm -D {_OPTION[Proto(key.proto)]} {where}' gives it up.",
        parsing=False,
    )
