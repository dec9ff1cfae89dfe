# SPDX-License-Identifier: Apache-2.0
"""What is to run: what the files say, with what operators and DNS make of it.

docs/decisions/0019: nothing is changed in place; every change makes another configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from penstock.config.haproxy import LoadResult, NewServer
from penstock.control.edits import Added, edited, is_placed
from penstock.control.listed import References
from penstock.control.overrides import OverrideStore
from penstock.errors import CommandRefused, PenstockError
from penstock.model import Configuration
from penstock.names import Follower, Ledger, asker, sections, with_places

if TYPE_CHECKING:
    from penstock.control.certificates import Certificates

_log = structlog.get_logger("penstock")


@dataclass(frozen=True, slots=True)
class Sources:
    """The files, and what operators have changed that is theirs again after the next reload."""

    loaded: LoadResult
    references: References | None = None  # lists of patterns; made when they are asked for
    certificates: Certificates | None = None  # likewise


class Composed:
    """Of one daemon."""

    def __init__(self, overrides: OverrideStore, names: Follower) -> None:
        self._overrides = overrides
        self._names = names
        self.sources = Sources(LoadResult(Configuration()))
        self.ledger = Ledger()  # of name servers

    @property
    def files(self) -> Configuration:
        """What the files say."""
        return self.sources.loaded.configuration

    @property
    def references(self) -> References:
        """The lists of patterns of the files, as they are now."""
        if self.sources.references is None:
            self.sources = replace(self.sources, references=References(self.files))
        assert self.sources.references is not None  # noqa: S101  # made above
        return self.sources.references

    @property
    def certificates(self) -> Certificates:
        """The certificates that the files use, as they are now."""
        from penstock.control.certificates import Certificates  # noqa: PLC0415  # it takes ssl

        if self.sources.certificates is None:
            self.sources = replace(self.sources, certificates=Certificates(self.files))
        assert self.sources.certificates is not None  # noqa: S101  # made above
        return self.sources.certificates

    def read(self, loaded: LoadResult) -> None:
        """Other files; lists of patterns and certificates are theirs again."""
        self.sources = Sources(loaded)

    def effective(self) -> Configuration:
        """All of it together."""
        edits, sources = self._overrides.edits, self.sources
        files = self.files if sources.references is None else sources.references.applied()
        configuration = edited(files, edits)
        if sources.certificates is not None:
            configuration = sources.certificates.applied(configuration)
        known = self._names.known(configuration)
        placed = {name: place for name, place in known.items() if not is_placed(edits, name)}
        return with_places(configuration, placed)

    def follow_names(self, configuration: Configuration, now: float) -> None:
        """Ask DNS for the names of *configuration*, and for no others."""
        resolvers = self.sources.loaded.resolvers
        self._names.follow(configuration, sections(resolvers), asker(resolvers, self.ledger), now)

    # -- servers that operators add ----------------------------------------------------

    def add_saved(self) -> None:
        """Servers that were added before this daemon was started."""
        for saved in self._overrides.saved:
            edits = self._overrides.edits
            try:
                new = self.read_server(saved.pool, saved.words, saved.id)
                added = Added(saved.pool, saved.words, new.real, new.proxied)
                # What was set of it since then is there already.
                self._overrides.put_edits(replace(edits, added=(*edits.added, added)))
            except PenstockError as error:
                name = f"{saved.pool}/{saved.words[0]}"
                _log.warning("a server cannot be added again", server=name, reason=str(error))

    def read_server(self, pool: str, words: Sequence[str], number: int | None = None) -> NewServer:
        """The server that *words* describe: its name, its address, its options.

        Raises CommandRefused in HAProxy's words.
        """
        reader = self.sources.loaded.servers
        if reader is None:
            raise CommandRefused("servers can be added to the backends of a haproxy.cfg only")
        return reader.read(edited(self.files, self._overrides.edits), pool, words, number)

    def is_pointed_at(self, pool: str, server: str) -> bool:
        """Whether something in the files names that server."""
        reader = self.sources.loaded.servers
        return reader is not None and reader.is_pointed_at(pool, server)
