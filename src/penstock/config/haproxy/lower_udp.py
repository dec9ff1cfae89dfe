# SPDX-License-Identifier: Apache-2.0
"""What of a terminating proxy's work is not done in mode udp, which is penstock's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from penstock.config.haproxy.draft import Said
from penstock.config.haproxy.keywords import Keyword, Need, Status
from penstock.rules.model import TcpRule

_CARRIED_OUT = frozenset({"tcp-request", "use_backend", "rate-limit", "source"})
_OF_CONNECTIONS = frozenset({"expect-proxy", "expect-netscaler-cip", "set-mark", "set-tos"})
_TEXT = "it is not carried out in mode udp"


def barred_in_udp(said: Iterable[Said], rules: Iterable[TcpRule]) -> Said | None:
    """The first of *said* (what needs the proxy engine) or *rules* that means nothing to a flow."""
    for one in said:
        if one.keyword.name not in _CARRIED_OUT:
            return Said(
                one.origin, replace(one.keyword, status=Status.NOWHERE, text=_TEXT), one.text
            )
    for rule in rules:
        if rule.action.name in _OF_CONNECTIONS:
            keyword = Keyword("tcp-request", Need.P, Status.NOWHERE, _TEXT)
            return Said(rule.origin, keyword, rule.action.name)
    return None
