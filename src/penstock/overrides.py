# SPDX-License-Identifier: Apache-2.0
"""What operators set at run time, kept in the runtime directory while the datapath lives."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from penstock.desired import Override
from penstock.errors import PenstockError
from penstock.model import AdminState


class _Entry(msgspec.Struct, frozen=True):
    pool: str
    server: str
    weight: int | None = None
    admin: AdminState | None = None


class OverrideStore:
    """A mapping of (pool, server) to Override that outlives a killed daemon."""

    def __init__(self, path: Path, *, adopt: bool) -> None:
        """*adopt*: the datapath was taken over, so what was set for it holds on."""
        self._path = path
        self._overrides: dict[tuple[str, str], Override] = {}
        if adopt:
            self._read()
        else:
            path.unlink(missing_ok=True)

    @property
    def current(self) -> dict[tuple[str, str], Override]:
        return dict(self._overrides)

    def put(self, pool: str, server: str, override: Override) -> None:
        """Remember *override*. Raises PenstockError when it cannot be written; then nothing is."""
        updated = {**self._overrides, (pool, server): override}
        entries = [
            _Entry(pool, server, one.weight, one.admin) for (pool, server), one in updated.items()
        ]
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_bytes(msgspec.json.encode(entries))
            os.replace(temporary, self._path)
        except OSError as error:
            raise PenstockError(f"cannot write {self._path}: {error.strerror}") from error
        self._overrides = updated

    def _read(self) -> None:
        try:
            entries = msgspec.json.decode(self._path.read_bytes(), type=list[_Entry])
        except (OSError, msgspec.MsgspecError):
            return
        for entry in entries:
            self._overrides[entry.pool, entry.server] = Override(entry.weight, entry.admin)
