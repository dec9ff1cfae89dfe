# SPDX-License-Identifier: Apache-2.0
"""Lists of patterns that operators see and change: ACLs' and maps' (management guide, 9.3). Pure.

A reference is a file, or what stands on an ACL's own line. Its entries are of numbered versions:
one is in force, and the next ones are being prepared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from penstock.rules.arguments import RuleError, is_int64
from penstock.rules.matching import compile_patterns
from penstock.rules.model import Criterion, Matching, Pattern
from penstock.rules.patterns import Sources, no_name, read_network, read_patterns, read_range
from penstock.rules.samples import Sample
from penstock.terms import Network

_STEP: Final = 0x40  # between the numbers by which entries are told apart, which look like places
_FIRST: Final = 0x5600_0000_0000
_VERSIONS: Final = frozenset({"req.ssl_ver", "req_ssl_ver"})
_TYPES: Final = {"str": "str", "int": "sint", "ip": "ipv4"}


class VersionError(Exception):
    """What an operator asked of a reference cannot be done; its text says why."""


@dataclass(slots=True)
class Entry:
    """*value* is None in ACLs; *place* tells it from all others."""

    place: int
    key: str
    value: str | None
    version: int


@dataclass(frozen=True, slots=True)
class Reader:
    """How one of its users understands a reference's entries."""

    matching: Matching
    ignore_case: bool = False
    versions: bool = False  # numbers like 3.1
    output: str | None = None  # of a map: str, int or ip

    @classmethod
    def of(cls, criterion: Criterion) -> Reader:
        return cls(criterion.matching, criterion.ignore_case, criterion.keyword in _VERSIONS)

    def pattern(self, text: str) -> tuple[Pattern, ...]:
        """Raises RuleError."""
        if self.matching in (Matching.INT, Matching.LEN):
            return (read_range(text, versions=self.versions),)
        return read_patterns(self.matching, [text], versions=self.versions, sources=Sources())

    def check_value(self, value: str) -> None:
        """Raises RuleError."""
        good = True
        if self.output == "int":
            good = is_int64(value)
        elif self.output == "ip":
            try:
                read_network(value, no_name)
            except RuleError:
                good = False
        if not good:
            raise RuleError(f"unable to parse '{value}'")


@dataclass(slots=True)
class Reference:
    """*file* is empty for what stands on a line, of which *told* says which."""

    file: str
    told: str = ""
    number: int | None = None  # None: it has not been given one yet
    uses: list[str] = field(default_factory=list)
    acl: bool = False
    map: bool = False
    readers: list[Reader] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    current: int = 0
    prepared: int = 0
    changed: bool = False  # since the files were read

    @property
    def description(self) -> str:
        if not self.file:
            return self.told
        return f"pattern loaded from file '{self.file}' used by {', by '.join(self.uses)}"

    def of_version(self, version: int | None = None) -> list[Entry]:
        """Those of *version*; None: that in force."""
        wanted = self.current if version is None else version
        return [one for one in self.entries if one.version == wanted]

    def find(self, key: str) -> list[Entry]:
        """The entries with that key, or the one at that place (``#0x…``)."""
        if key.startswith("#"):
            try:
                place = int(key[1:], 16)
            except ValueError:
                return []
            return [one for one in self.entries if one.place == place]
        return [one for one in self.of_version() if one.key == key]

    def check(self, key: str, value: str | None) -> None:
        """Raises RuleError where one of its users cannot read it."""
        for reader in self.readers:
            reader.pattern(key)
            if value is not None:
                reader.check_value(value)

    def remove(self, key: str) -> bool:
        """Forget all entries of *key*; False: there are none."""
        gone = {id(one) for one in self.find(key)}
        self.entries = [one for one in self.entries if id(one) not in gone]
        self.changed |= bool(gone)
        return bool(gone)

    def assign(self, key: str, value: str) -> bool:
        """Give the entries of *key* another value; False: there are none."""
        found = self.find(key)
        for one in found:
            one.value = value
        self.changed |= bool(found)
        return bool(found)

    def prepare(self) -> int:
        """A new version, which is not in force until it is committed."""
        self.prepared += 1
        return self.prepared

    def commit(self, version: int) -> None:
        """Put *version* in force and forget those before it. Raises VersionError."""
        if not self.current <= version <= self.prepared:
            raise VersionError("Version number out of range.")
        if version != self.current:
            self.current = version
            self.entries = [one for one in self.entries if one.version >= version]
            self.changed = True

    def clear(self, version: int | None) -> None:
        """Forget the entries of a version, or all of them."""
        self.entries = [
            one for one in self.entries if version is not None and one.version != version
        ]
        self.changed = True

    def patterns(self, reader: Reader) -> tuple[Pattern, ...]:
        """What is in force, as *reader* understands it."""
        return tuple(one for entry in self.of_version() for one in reader.pattern(entry.key))

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """What is in force of a map."""
        return tuple((one.key, one.value or "") for one in self.of_version())

    def look_up(self, reader: Reader, text: str) -> Entry | None:
        """The entry that decides on *text*: of networks and beginnings the longest."""
        found = [one for one in self.of_version() if _matches(reader, one.key, text)]
        if not found:
            return None
        if reader.matching is Matching.IP:
            return max(found, key=lambda one: _length(reader, one.key))
        if reader.matching is Matching.BEG and not reader.ignore_case:
            return max(found, key=lambda one: len(one.key))
        return found[0]

    def answer(self, reader: Reader, text: str) -> str:
        """The line that ``get acl`` and ``get map`` print of one user."""
        case = "insensitive" if reader.ignore_case else "sensitive"
        head = f"type={reader.matching}, case={case}"
        what = "match" if reader.output is None else "found"
        entry = self.look_up(reader, text)
        if entry is None:
            return f"{head}, {what}=no\n"
        head += f", {what}=yes, idx={'tree' if _in_tree(reader, entry.key) else 'list'}"
        if reader.output is None:
            return f'{head}, pattern="{entry.key}"\n'
        kind = _TYPES[reader.output]
        if kind == "ipv4" and ":" in (entry.value or ""):
            kind = "ipv6"
        return f'{head}, key="{entry.key}", value="{entry.value}", type="{kind}"\n'


def _matches(reader: Reader, key: str, text: str) -> bool:
    sample: Sample = text
    try:
        patterns = reader.pattern(key)
    except RuleError:
        return False
    return compile_patterns(reader.matching, patterns, ignore_case=reader.ignore_case)(sample)


def _length(reader: Reader, key: str) -> int:
    network: Network = read_network(key, no_name)
    return network.prefixlen


def _in_tree(reader: Reader, key: str) -> bool:
    """Which of HAProxy's two indexes would have it."""
    if reader.matching is Matching.IP:
        return True
    return reader.matching in (Matching.STR, Matching.BEG) and not reader.ignore_case


class Places:
    """Numbers for entries."""

    def __init__(self) -> None:
        self._next = _FIRST

    def entry(self, key: str, value: str | None, version: int = 0) -> Entry:
        self._next += _STEP
        return Entry(self._next, key, value, version)
