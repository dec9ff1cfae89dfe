# SPDX-License-Identifier: Apache-2.0
"""What a director has beside its virtual services. Pure."""

from __future__ import annotations

import errno

from penstock.ipvs.model import SetSysctl, SetTimeouts
from penstock.ipvs.sync import Daemons
from penstock.ipvs.sysctls import DEFAULTS, SYSCTLS

_MOST_SECONDS = ((1 << 31) - 1) // 250  # the kernel counts them in ticks, of which it has 250


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

    def set_timeouts(self, command: SetTimeouts) -> int:
        """An errno, 0 for done."""
        wanted = (command.tcp, command.tcp_fin, command.udp)
        if any(not 0 <= seconds <= _MOST_SECONDS for seconds in wanted):
            return errno.EINVAL
        tcp, tcp_fin, udp = (new or old for new, old in zip(wanted, self.seconds, strict=True))
        self.seconds = (tcp, tcp_fin, udp)
        return 0

    def set_sysctl(self, command: SetSysctl) -> int:
        """An errno, 0 for done."""
        known = SYSCTLS.get(command.name)
        if known is None:
            return errno.ENOENT
        if not known.least <= command.value <= known.most:
            return errno.EINVAL
        self.sysctls = {**self.sysctls, command.name: command.value}
        return 0
