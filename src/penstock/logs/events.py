# SPDX-License-Identifier: Apache-2.0
"""What becomes of proxies and servers, written where their ``log`` lines say."""

from __future__ import annotations

from penstock.events import Events, Level
from penstock.logs.outlet import Means, Outlet
from penstock.model import Configuration


class EventLog:
    """An ``Events``: the daemon's own log, and the targets of the configuration that runs."""

    def __init__(self, own: Events, means: Means) -> None:
        self._own = own
        self._means = means
        self._outlets: dict[str, Outlet] = {}

    def configure(self, configuration: Configuration) -> None:
        """From now on, as *configuration* has it."""
        means = self._means.named(configuration.settings.naming)
        journals = {"": configuration.settings.journal}
        journals.update((service.name, service.journal) for service in configuration.services)
        # Most is said of servers; a frontend of the same name hears of them too, being one proxy.
        journals.update((pool.name, pool.journal) for pool in configuration.pools)
        made = {journal: Outlet(journal, means) for journal in set(journals.values())}
        self._outlets = {name: made[journal] for name, journal in journals.items()}

    def __call__(self, proxy: str, level: Level, sentence: str) -> None:
        self._own(proxy, level, sentence)
        outlet = self._outlets.get(proxy)
        if outlet is not None:
            outlet.write(int(level), sentence)
