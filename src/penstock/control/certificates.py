# SPDX-License-Identifier: Apache-2.0
"""The certificates that a configuration uses, and what operators put in their place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from penstock.engine.proxy.crt import files_of, has_key, load, read
from penstock.engine.proxy.tls_files import check_one, uses, with_each
from penstock.errors import ConfigError
from penstock.model import Configuration
from penstock.proxied import ListenerTls, Renewed, ServerTls
from penstock.terms import Origin

_TlsT = TypeVar("_TlsT", ListenerTls, ServerTls)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is to be in the place of *file* once it is committed."""

    file: str
    pem: str


class Certificates:
    """Of a configuration as its files have it; those are read when they are asked for."""

    def __init__(self, files: Configuration) -> None:
        self._lines: dict[str, set[Origin]] = {}
        for tls, origin in uses(files):
            for file in _files(tls):
                self._lines.setdefault(file, set()).add(origin)
        self._renewed: dict[str, str] = {}
        self.transaction: Transaction | None = None

    def __iter__(self) -> Iterator[str]:
        """The files, as the configuration has them with their base."""
        return iter(sorted(self._lines))

    def __contains__(self, file: str) -> bool:
        return file in self._lines

    def lines(self, file: str) -> int:
        """How many lines use it."""
        return len(self._lines[file])

    def pem(self, file: str) -> str:
        """The certificate with its chain and its key, as they are now. Raises ConfigError."""
        if file in self._renewed:
            return self._renewed[file]
        entry = load(Path(file), Origin())
        text = read(entry.path, Origin())
        return text if has_key(text) else text + read(entry.key, Origin())

    def renewed(self, file: str) -> str | None:
        """What is in its place; None: nothing."""
        return self._renewed.get(file)

    def put(self, file: str, pem: str | None) -> None:
        """From now on ``applied()`` has *pem* in the place of *file*; None: the file itself."""
        if pem is None:
            self._renewed.pop(file, None)
        else:
            self._renewed[file] = pem

    def applied(self, configuration: Configuration) -> Configuration:
        """*configuration* with all certificates as they are now."""
        return with_each(configuration, self._with_renewed) if self._renewed else configuration

    def check(self, configuration: Configuration, file: str) -> None:
        """Make all contexts of *configuration* that use what was put for *file*.

        Raises ConfigError where OpenSSL does not take it.
        """
        for tls, origin in uses(configuration):
            if any(one.file == file for one in tls.renewed):
                check_one(tls, origin)

    def _with_renewed(self, tls: _TlsT) -> _TlsT:
        renewed = tuple(
            Renewed(file, self._renewed[file]) for file in _files(tls) if file in self._renewed
        )
        if not renewed:
            return tls
        digest = hashlib.sha256(tls.settings.content.encode())
        for one in renewed:
            digest.update(f"{one.file}\0{one.pem}\0".encode(errors="surrogateescape"))
        settings = replace(tls.settings, content=digest.hexdigest())
        return replace(tls, settings=settings, renewed=renewed)


def _files(tls: ListenerTls | ServerTls) -> list[str]:
    try:
        return [str(path) for path in files_of(tls)]
    except (ConfigError, OSError):  # a list or a folder that has gone since it was read
        return []
