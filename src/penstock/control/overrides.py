# SPDX-License-Identifier: Apache-2.0
"""What operators set at run time, kept in the runtime directory while the datapath lives."""

from __future__ import annotations

import os
from dataclasses import astuple, replace
from ipaddress import ip_address
from pathlib import Path

import msgspec
import structlog

from penstock.control.desired import Override
from penstock.control.edits import Edits, FrontEdit, FrontState, ServerName
from penstock.errors import InvalidModel, PenstockError
from penstock.model import AdminState, PortMode, RealPort
from penstock.proxied import ProcessRates

_log = structlog.get_logger("penstock")


class _Server(msgspec.Struct, frozen=True, omit_defaults=True):
    pool: str
    server: str
    weight: int | None = None
    admin: AdminState | None = None
    address: str | None = None
    port: tuple[PortMode, int] | None = None
    hostname: str | None = None
    maxconn: int | None = None
    tls: bool | None = None
    check: bool | None = None
    check_address: str | None = None
    check_port: int | None = None
    agent: bool | None = None
    agent_address: str | None = None
    agent_port: int | None = None
    agent_send: str | None = None


class _Front(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    state: FrontState = FrontState.OPEN
    maxconn: int | None = None


class SavedServer(msgspec.Struct, frozen=True):
    """A server that was added: its line is read again by whoever knows how."""

    pool: str
    words: tuple[str, ...]
    id: int


class _File(msgspec.Struct, frozen=True, omit_defaults=True):
    servers: tuple[_Server, ...] = ()
    added: tuple[SavedServer, ...] = ()
    removed: tuple[ServerName, ...] = ()
    fronts: tuple[_Front, ...] = ()
    maxconn: int | None = None
    rates: tuple[int, int, int] | None = None  # in the order of ``ProcessRates``


class OverrideStore:
    """Edits that outlive a killed daemon."""

    def __init__(self, path: Path, *, adopt: bool) -> None:
        """*adopt*: the datapath was taken over, so what was set for it holds on."""
        self._path = path
        self._edits = Edits()
        self.saved: tuple[SavedServer, ...] = ()  # to be read again before anything is put
        if adopt:
            self._read()
        else:
            path.unlink(missing_ok=True)

    @property
    def edits(self) -> Edits:
        return self._edits

    @property
    def current(self) -> dict[ServerName, Override]:
        """Of servers, by pool and name."""
        return dict(self._edits.servers)

    def put(self, pool: str, server: str, override: Override) -> None:
        """Remember *override*; otherwise as ``put_edits()``."""
        servers = {**self._edits.servers, (pool, server): override}
        self.put_edits(replace(self._edits, servers=servers))

    def put_edits(self, edits: Edits) -> None:
        """Remember *edits*. Raises PenstockError when they cannot be written; then nothing is."""
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_bytes(msgspec.json.encode(_file(edits)))
            os.replace(temporary, self._path)
        except OSError as error:
            raise PenstockError(f"cannot write {self._path}: {error.strerror}") from error
        self._edits = edits

    def _read(self) -> None:
        try:
            said = msgspec.json.decode(self._path.read_bytes(), type=_File)
            self._edits = Edits(
                servers={(one.pool, one.server): _override(one) for one in said.servers},
                removed=frozenset(said.removed),
                fronts={one.name: FrontEdit(one.state, one.maxconn) for one in said.fronts},
                maxconn=said.maxconn,
                rates=None if said.rates is None else ProcessRates(*said.rates),
            )
            self.saved = said.added
        except FileNotFoundError:
            return  # nothing was set
        except (OSError, msgspec.MsgspecError, ValueError, InvalidModel) as error:
            _log.warning(
                "what operators had set cannot be read, and is forgotten",
                file=str(self._path),
                reason=str(error),
            )


def _file(edits: Edits) -> _File:
    return _File(
        servers=tuple(
            _Server(
                pool,
                server,
                one.weight,
                one.admin,
                None if one.address is None else str(one.address),
                None if one.port is None else (one.port.mode, one.port.value),
                one.hostname,
                one.maxconn,
                one.tls,
                one.check,
                None if one.check_address is None else str(one.check_address),
                one.check_port,
                one.agent,
                None if one.agent_address is None else str(one.agent_address),
                one.agent_port,
                one.agent_send,
            )
            for (pool, server), one in edits.servers.items()
        ),
        added=tuple(SavedServer(one.pool, one.words, one.real.link.id) for one in edits.added),
        removed=tuple(sorted(edits.removed)),
        fronts=tuple(_Front(name, one.state, one.maxconn) for name, one in edits.fronts.items()),
        maxconn=edits.maxconn,
        rates=None if edits.rates is None else astuple(edits.rates),
    )


def _override(one: _Server) -> Override:
    return Override(
        weight=one.weight,
        admin=one.admin,
        address=None if one.address is None else ip_address(one.address),
        port=None if one.port is None else RealPort(*one.port),
        hostname=one.hostname,
        maxconn=one.maxconn,
        tls=one.tls,
        check=one.check,
        check_address=None if one.check_address is None else ip_address(one.check_address),
        check_port=one.check_port,
        agent=one.agent,
        agent_address=None if one.agent_address is None else ip_address(one.agent_address),
        agent_port=one.agent_port,
        agent_send=one.agent_send,
    )
