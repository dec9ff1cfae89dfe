# SPDX-License-Identifier: Apache-2.0
"""The sysctls of net.ipv4.vs: names, defaults and bounds. Pure.

Sources: vs_vars in net/netfilter/ipvs/ip_vs_ctl.c of Linux 6.1; the two of lblc and lblcr, which
the kernel keeps beside them; ``sync_threshold``, a pair there, is ``sync_threshold`` and
``sync_period`` here. The timeouts by state have the names that IPVS gave them on Linux 2.4;
``tunnel_source`` and ``expire_quiescent_udp`` are ours.
"""

from __future__ import annotations

from typing import NamedTuple

_MOST = (1 << 31) - 1
_LONGEST = 31 * 86400  # seconds, as of ``ipvsadm --set``


class Sysctl(NamedTuple):
    default: int
    least: int = 0
    most: int = _MOST


SYSCTLS: dict[str, Sysctl] = {
    "am_droprate": Sysctl(10),
    "amemthresh": Sysctl(1024),
    "cache_bypass": Sysctl(0),
    "conn_reuse_mode": Sysctl(1),
    "conntrack": Sysctl(0),
    "drop_entry": Sysctl(0, most=3),
    "drop_packet": Sysctl(0, most=3),
    "expire_nodest_conn": Sysctl(0),
    "expire_quiescent_template": Sysctl(0),
    # UDP of a destination with weight 0 is scheduled anew at its next datagram.
    "expire_quiescent_udp": Sysctl(0, most=1),
    "ignore_tunneled": Sysctl(0),
    "lblc_expiration": Sysctl(86400),
    "lblcr_expiration": Sysctl(86400),
    "nat_icmp_send": Sysctl(0),
    "pmtu_disc": Sysctl(1),
    "run_estimation": Sysctl(1),
    "schedule_icmp": Sysctl(0),
    "secure_tcp": Sysctl(0, most=3),
    "sloppy_sctp": Sysctl(0),
    "sloppy_tcp": Sysctl(0),
    "snat_reroute": Sysctl(1),
    "sync_period": Sysctl(50),
    "sync_persist_mode": Sysctl(0),
    "sync_ports": Sysctl(1, least=1, most=64),
    "sync_qlen_max": Sysctl(32768),  # the kernel's follows from the machine's memory
    "sync_refresh_period": Sysctl(0),
    "sync_retries": Sysctl(0, most=3),
    "sync_sock_size": Sysctl(0),
    "sync_threshold": Sysctl(3),
    "sync_version": Sysctl(1, most=1),
    # Seconds, by TCP state; ESTABLISHED, FIN_WAIT and UDP have theirs from ``ipvsadm --set``.
    "timeout_close": Sysctl(10, least=1, most=_LONGEST),
    "timeout_closewait": Sysctl(60, least=1, most=_LONGEST),
    "timeout_lastack": Sysctl(30, least=1, most=_LONGEST),
    "timeout_synack": Sysctl(120, least=1, most=_LONGEST),
    "timeout_synrecv": Sysctl(60, least=1, most=_LONGEST),
    "timeout_synsent": Sysctl(120, least=1, most=_LONGEST),
    "timeout_timewait": Sysctl(120, least=1, most=_LONGEST),
    # An IPv4 network, as a number, whose lower half outer headers without ports vary in; 0: the
    # route's source. Receivers then spread tunnelled packets over their queues.
    "tunnel_source": Sysctl(0, most=(1 << 32) - 1),
}

DEFAULTS: dict[str, int] = {name: one.default for name, one in SYSCTLS.items()}
