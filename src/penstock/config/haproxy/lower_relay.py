# SPDX-License-Identifier: Apache-2.0
"""Which sections of mode http ask for nothing of HTTP: their connections can be relayed as TCP."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from penstock.config.haproxy.draft import ProxyDraft, Said
from penstock.config.haproxy.keywords import MODE_HTTP

# Options that add to requests or take from answers what somebody may rely on.
_CHANGES: Final = ("forwardfor", "originalto", "http-use-proxy-header", "checkcache")


def of_http(proxy: ProxyDraft) -> Said | None:
    """The first thing in a section of mode http that takes HTTP to carry out; None: nothing does.

    Choosing a server for each request and not for each connection does not count.
    """
    for name, origin in proxy.unserved.items():
        return Said(origin, MODE_HTTP, name)
    origin = proxy.mode_origin or proxy.origin
    for kind in ("http-request", "redirect"):
        if kind in proxy.rules:
            return Said(proxy.rules[kind], MODE_HTTP, kind)
    if proxy.stats is not None or proxy.monitor_uri is not None:
        return Said(origin, MODE_HTTP, "mode http")
    if proxy.layer7_balance is not None:
        return Said(proxy.layer7_balance, MODE_HTTP, "balance")
    if proxy.cookie_name is not None:
        return Said(proxy.rules.get("cookie", origin), MODE_HTTP, "cookie")
    for option in _CHANGES:
        if option in proxy.options:
            return Said(proxy.options[option], MODE_HTTP, f"option {option}")
    return None


def not_relayed(
    proxy: ProxyDraft,
    reachable: Iterable[str],
    backend: Callable[[str], ProxyDraft | None],
) -> Said | None:
    """Why a frontend of mode http, with all it sends to, cannot be relayed; None: it can."""
    targets = [target for name in reachable if (target := backend(name)) is not None]
    for one in (proxy, *targets):
        said = of_http(one)
        if said is not None:
            return said
    if not targets:
        return Said(proxy.mode_origin or proxy.origin, MODE_HTTP, "mode http")
    return None
