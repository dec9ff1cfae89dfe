# SPDX-License-Identifier: Apache-2.0
"""What is configured of servers, as their rows show it: made once, until it changes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from penstock.engine.api import RealKey
from penstock.model import Pool, RealServer
from penstock.sections import Section
from penstock.states import ServerName
from penstock.statistics.server_fields import address_of
from penstock.statistics.shapes import Value

CONFIGURED: Final = (
    *("pxname", "svname", "slim", "act", "bck", "qlimit", "iid", "sid", "tracked", "addr"),
    *("mode", "src_ilim"),
)


class Member(NamedTuple):
    """One server of a section's pool."""

    name: ServerName
    section: Section
    real: RealServer
    key: RealKey | None  # None: it has no address
    configured: tuple[Value, ...]  # the fields ``CONFIGURED``


Keys = Callable[[Iterable[ServerName]], Sequence[RealKey | None]]


class Roster:
    """The members of all sections, of one generation of servers."""

    def __init__(self) -> None:
        self._generation: object = None
        self._known: dict[str, tuple[Section, Pool, Sequence[Member]]] = {}

    def members(
        self, section: Section, pool: Pool, generation: object, keys: Keys
    ) -> Sequence[Member]:
        """Of *pool*, which is the one of *section*; *keys* are what *generation* has."""
        if generation is not self._generation:
            self._generation = generation
            self._known.clear()
        known = self._known.get(section.name)
        if known is not None and known[0] is section and known[1] is pool:
            return known[2]
        names = [(pool.name, real.name) for real in pool.reals]
        made = [
            Member(name, section, real, key, _configured(section, real, key))
            for name, real, key in zip(names, pool.reals, keys(names), strict=True)
        ]
        self._known[section.name] = section, pool, made
        return made


def _configured(section: Section, real: RealServer, key: RealKey | None) -> tuple[Value, ...]:
    return (
        section.name,
        real.name,
        real.maxconn or None,
        0 if real.backup else 1,
        1 if real.backup else 0,
        real.link.maxqueue or None,
        section.id,
        real.link.id,
        "{}/{}".format(*real.tracks) if real.tracks is not None else None,
        address_of(key),
        section.mode,
        real.link.idle_limit,
    )
