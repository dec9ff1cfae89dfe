# SPDX-License-Identifier: Apache-2.0
"""Certificates on disk: bundles, folders of them and crt-list files (HAProxy manual 5.1, "crt")."""

from __future__ import annotations

import re
import shlex
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from penstock.config.haproxy.tls_words import based
from penstock.errors import ConfigError, Diagnostic
from penstock.proxied import ListenerTls, Renewed, ServerTls
from penstock.terms import Origin
from penstock.wire.x509 import Certificate, NotACertificate, matches, parse

# What lies beside certificates in a folder and is none.
_BESIDE: Final = (".key", ".issuer", ".ocsp", ".sctl", ".dh")
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----\n?", re.DOTALL
)


def fault(origin: Origin, message: str) -> ConfigError:
    """An error about files that *origin* names."""
    return ConfigError((Diagnostic(origin.file, origin.line, message, parsing=False),))


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate of a listener: where its files are, and whom it is for.

    *filters* are the names of a crt-list, ``*.`` in front of domains and ``!`` of exceptions;
    without them the certificate's own count. *options* are those in the list's brackets.
    """

    path: Path
    key: Path  # the same when one file holds both
    certificate: Certificate
    origin: Origin
    filters: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    pem: str | None = field(default=None, repr=False)  # both, in the place of those files'

    @property
    def names(self) -> tuple[str, ...]:
        if not self.filters:
            return self.certificate.names
        return tuple(name for name in self.filters if not name.startswith("!"))

    def exact(self, name: str) -> bool:
        return name in self.names

    def wild(self, name: str) -> bool:
        """Whether a wildcard of it holds for *name*, and no exception does."""
        return f"!{name}" not in self.filters and any(
            matches(pattern, name) for pattern in self.names if pattern.startswith("*.")
        )


def entries(tls: ListenerTls, origin: Origin) -> list[Entry]:
    """All certificates of a listener, the default first. Raises ConfigError."""
    listed: list[Entry] = []
    for text in tls.lists:
        listed += _list(Path(text), tls, origin)
    found = [load(path, origin, tls.renewed) for path in _named(tls)]
    return listed + found if tls.lists_first else found + listed


def files_of(tls: ListenerTls | ServerTls) -> list[Path]:
    """The files with the certificates of one line, listed ones too. Raises ConfigError."""
    if isinstance(tls, ServerTls):
        return [] if tls.certificate is None else [Path(tls.certificate)]
    return [*listed(tls), *_named(tls)]


def _named(tls: ListenerTls) -> Iterator[Path]:
    """The files that a listener's line names, or the folders with them."""
    for path in map(Path, tls.certificates):
        if path.is_dir():
            yield from sorted(filter(_counts, path.iterdir()))
        else:
            yield path


def listed(tls: ListenerTls) -> list[Path]:
    """The files that a listener's lists name. Raises ConfigError."""
    return [
        Path(based(tls.certificate_base, words[0]))
        for text in tls.lists
        for words, _, _ in _lines(Path(text), Origin())
    ]


def files_below(name: str | None) -> list[Path]:
    """*name* and the key beside it, or all files of a folder; none for what is no file."""
    if name is None:
        return []
    path = Path(name)
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.is_file())
    return [one for one in (path, path.with_name(path.name + ".key")) if one.is_file()]


def _counts(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix not in _BESIDE and path.is_file()


def load(path: Path, origin: Origin, renewed: tuple[Renewed, ...] = ()) -> Entry:
    """The certificate in *path*, its key there too or in ``path.key``. Raises ConfigError.

    *renewed* are in the place of files.
    """
    for one in renewed:
        if one.file == str(path):
            return Entry(path, path, _certificate(one.pem, path, origin), origin, pem=one.pem)
    text = read(path, origin)
    certificate = _certificate(text, path, origin)
    key = path if has_key(text) else path.with_name(path.name + ".key")
    if not key.exists():
        raise fault(origin, f"No Private Key found in '{key}'.")
    return Entry(path, key, certificate, origin)


def read(path: Path, origin: Origin) -> str:
    """What is in *path*. Raises ConfigError."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise fault(
            origin, f"unable to stat SSL certificate from file '{path}' : {error.strerror}."
        ) from None


def has_key(pem: str) -> bool:
    return "PRIVATE KEY-----" in pem


def without_keys(pem: str) -> str:
    return _PRIVATE_KEY.sub("", pem)


def certificates_in(pem: str) -> Iterator[bytes]:
    """The DER of all certificates of *pem*. Raises ValueError where one is none."""
    start = pem.find(_BEGIN)
    while start >= 0:
        end = pem.find(_END, start)
        yield ssl.PEM_cert_to_DER_cert(pem[start : end + len(_END)])
        start = pem.find(_BEGIN, end)


def _certificate(pem: str, path: Path, origin: Origin) -> Certificate:
    try:
        return parse(next(certificates_in(pem), b""))
    except (ValueError, NotACertificate):
        raise fault(origin, f"unable to load certificate from file '{path}'.") from None


def _list(path: Path, tls: ListenerTls, origin: Origin) -> list[Entry]:
    """The entries of a crt-list file (manual 5.1, "crt-list"). Raises ConfigError."""
    found: list[Entry] = []
    for words, options, here in _lines(path, origin):
        entry = load(Path(based(tls.certificate_base, words[0])), here, tls.renewed)
        filters = tuple(name.lower() for name in words[1:])
        found.append(replace(entry, filters=filters, options=_options(options, here)))
    return found


def _lines(path: Path, origin: Origin) -> Iterator[tuple[list[str], list[str], Origin]]:
    """Of a crt-list: the file and names, what is in brackets, and where. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError as error:
        raise fault(origin, f"'crt-list' : cannot open file '{path}' : {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        here = Origin(str(path), number)
        text = line.partition("#")[0].strip()
        if not text:
            continue
        before, bracket, rest = text.partition("[")
        inside, closing, after = rest.partition("]")
        if bracket and not closing:
            raise fault(here, "a '[' without its ']'.")
        try:
            words, options = shlex.split(before), shlex.split(inside)
        except ValueError as bad:
            raise fault(here, f"{bad}.") from None
        if not words:
            raise fault(here, "a line of a crt-list begins with the file of a certificate.")
        yield [*words, *after.split()], options, here


_TAKES: Final = frozenset(
    {"alpn", "npn", "ca-file", "ca-verify-file", "crl-file", "verify", "ciphers", "ciphersuites"}
    | {"curves", "ecdhe", "ssl-min-ver", "ssl-max-ver"}
)
_ALONE: Final = frozenset({"allow-0rtt", "no-ca-names"})


def _options(words: list[str], origin: Origin) -> dict[str, str]:
    said: dict[str, str] = {}
    at = 0
    while at < len(words):
        name = words[at]
        if name in _ALONE:
            said[name] = ""
        elif name in _TAKES and at + 1 < len(words):
            at += 1
            said[name] = words[at]
        else:
            raise fault(origin, f"unknown ssl keyword '{name}' in a crt-list.")
        at += 1
    return said
