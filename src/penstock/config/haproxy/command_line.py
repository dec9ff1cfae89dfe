# SPDX-License-Identifier: Apache-2.0
"""What HAProxy's command line says of how files are read (management guide, 3). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.config.haproxy.section_drafts import GlobalDraft
from penstock.proxied import TlsVerify


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Each as if it were not there by default."""

    local_peer: str | None = None  # -L
    names_may_fail: bool = False  # -dr: servers whose names do not resolve are left out
    trust_servers: bool = False  # -dV: certificates of servers are not verified

    def apply(self, settings: GlobalDraft) -> None:
        """Before the first line is read."""
        settings.names_may_fail = self.names_may_fail
        settings.local_peer_set = self.local_peer is not None
        if self.trust_servers:
            settings.tls.server.verify = TlsVerify.NONE
