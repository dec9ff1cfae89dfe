# SPDX-License-Identifier: Apache-2.0
"""What a director has beside its virtual services. Pure."""

from __future__ import annotations

from penstock.ipvs.sync import Daemons
from penstock.ipvs.sysctls import DEFAULTS


class Settings:
    """Timeouts of connections in seconds, records of sync daemons, sysctls."""

    __slots__ = ("daemons", "seconds", "sysctls")

    def __init__(self) -> None:
        # TCP established, TCP after a FIN, UDP: ip_vs_proto_tcp.c and ip_vs_proto_udp.c.
        self.seconds: tuple[int, int, int] = (900, 120, 300)
        self.daemons: Daemons = ()
        self.sysctls: dict[str, int] = DEFAULTS

    def copy(self) -> Settings:
        other = Settings()
        other.seconds, other.daemons, other.sysctls = self.seconds, self.daemons, self.sysctls
        return other
