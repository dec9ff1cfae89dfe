# SPDX-License-Identifier: Apache-2.0
"""Tells of what files ask for and penstock does not do, once for each line."""

from __future__ import annotations

from penstock.config.haproxy.draft import ProxyDraft, Said
from penstock.config.haproxy.keywords import Status
from penstock.config.haproxy.report import Report
from penstock.terms import Origin


class Shortfalls:
    """Of one draft."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told: set[tuple[str, int, str]] = set()

    def tell(self, proxy: ProxyDraft) -> None:
        """Warn of everything said in *proxy* that is not carried out."""
        if proxy.disabled:
            return
        groups: set[str] = set()
        for one in all_said(proxy):
            if one.keyword.status is not Status.LATER or one.keyword.group in groups:
                continue
            groups.add(one.keyword.group)
            if self._is_news(one.origin, one.keyword.group):
                self.tell_of(one)

    def tell_of(self, one: Said) -> None:
        """Warn of one line."""
        self._report.warn(
            one.origin,
            f"'{one.text}' is not carried out: {one.keyword.text}.",
            parsing=False,
            own=True,
        )

    def tell_tries(self, backend: ProxyDraft) -> None:
        """That packets know no second try, where the file asks for one."""
        origin = backend.options.get("redispatch")
        if origin is not None and self._is_news(origin, "redispatch"):
            self._report.note(
                origin,
                "a connect that a server refuses reaches the client on the kernel engine;"
                " 'option proxy-engine' tries again and elsewhere, as HAProxy.",
            )

    def _is_news(self, origin: Origin, what: str) -> bool:
        place = (origin.file, origin.line, what)
        is_news = place not in self._told
        self._told.add(place)
        return is_news


def all_said(proxy: ProxyDraft) -> list[Said]:
    """What stands in *proxy*, its bind lines and its servers' that is not simply carried out."""
    said = list(proxy.said)
    for bind in proxy.binds:
        said += bind.said
    for server in proxy.servers:
        said += server.options.said
    return said
