# SPDX-License-Identifier: Apache-2.0
"""Where states of servers are loaded from at start (HAProxy manual, "server-state-file")."""

from __future__ import annotations

from penstock.config.haproxy.draft import BACK, ProxyDraft
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.terms import Origin


def global_state_file(draft: FileDraft) -> str:
    """The file of all sections; "" when there is none."""
    name = draft.global_.state_file
    return _based(draft, name) if name else ""


def state_file(draft: FileDraft, proxy: ProxyDraft) -> str | None:
    """The file of *proxy* alone; "" for the global one, None for none."""
    if proxy.load_state in ("", "none"):
        return None
    if proxy.load_state == "global":
        return ""
    return _based(draft, proxy.state_name or proxy.name)


def _based(draft: FileDraft, name: str) -> str:
    """In server-state-base, unless *name* says its own place."""
    base = draft.global_.state_base
    return name if name.startswith("/") or not base else f"{base}/{name}"


def warn_state_files(context: Context) -> None:
    """Warn of those that cannot be read now, as HAProxy does where it only checks, too."""
    draft = context.draft
    if name := global_state_file(draft):
        _warn(context, draft.global_.origin, name, "config: Can't open global server state", "")
    for proxy in draft.proxies:
        if proxy.capability & BACK and proxy.servers and not proxy.disabled:
            name = state_file(draft, proxy) or ""
            head = f"Proxy '{proxy.name}': Can't open server state"
            _warn(context, proxy.origin, name, head, ".")


def _warn(context: Context, origin: Origin | None, name: str, head: str, stop: str) -> None:
    if not name or context.read(name) is not None:
        return
    reason = "Permission denied" if context.exists(name) else "No such file or directory"
    context.report.warn(origin or Origin(), f"{head} file '{name}': {reason}{stop}", parsing=False)
