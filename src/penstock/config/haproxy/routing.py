# SPDX-License-Identifier: Apache-2.0
"""Which sections clients are sent to, and by which."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.config.haproxy.draft import BACK, FRONT, ProxyDraft
from penstock.config.haproxy.section_drafts import FileDraft


class Routing:
    """Of one draft, once all of it has been read."""

    def __init__(self, draft: FileDraft) -> None:
        self._draft = draft
        self._feeders: dict[str, list[ProxyDraft]] = {}
        for front in draft.proxies:
            if front.capability & FRONT:
                for name in dict.fromkeys(self.reachable(front)):
                    self._feeders.setdefault(name, []).append(front)

    def backend(self, name: str) -> ProxyDraft | None:
        """The section that serves what is sent to *name*."""
        return self._draft.proxy(name, BACK)

    def target(self, proxy: ProxyDraft) -> str | None:
        """Where *proxy* sends clients for whom no rule decides; None: nowhere."""
        named = named_first(proxy)
        if named is not None:
            return named
        if proxy.default_backend is not None:
            return proxy.default_backend
        return proxy.name if proxy.capability & BACK else None

    def reachable(self, proxy: ProxyDraft) -> list[str]:
        """The names that *proxy* may send clients to, rules' first."""
        names = [rule.name for rule in proxy.use_backends]
        target = self.target(proxy)
        return [*names, target] if target is not None else names

    def feeders(self, name: str) -> Sequence[ProxyDraft]:
        """The sections that may send clients to *name*."""
        return self._feeders.get(name, ())


def named_first(proxy: ProxyDraft) -> str | None:
    """The backend that a first rule without a condition names, and no other."""
    if not proxy.use_backends or proxy.use_backends[0].condition:
        return None
    return None if proxy.use_backends[0].format else proxy.use_backends[0].name
