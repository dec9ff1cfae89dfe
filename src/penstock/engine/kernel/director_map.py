# SPDX-License-Identifier: Apache-2.0
"""What holds for all of IPVS, as the datapath reads it: timeouts, sysctls, what there is."""

from __future__ import annotations

from penstock.engine.kernel.loader import Datapath
from penstock.engine.kernel.units import ticks

# Seconds by state: tcp_timeouts[] in ip_vs_proto_tcp.c; NONE ESTABLISHED SYN_SENT SYN_RECV
# FIN_WAIT TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN SYNACK.
TCP_SECONDS = (2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120)
# sctp_timeouts[] in ip_vs_proto_sctp.c; NONE INIT1 INIT C-SENT C-REPLIED C-WAIT COOKIE C-ECHOED
# ESTABLISHED S-SENT S-RECEIVED S-ACK-SENT REJECTED CLOSED.
SCTP_SECONDS = (2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61)
UDP_SECONDS = 300
_ESTABLISHED, _FIN_WAIT = 1, 4
_DROP_ALWAYS = 3  # drop_packet's mode in which am_droprate holds (Documentation: ipvs-sysctl)
_DAY = 86400

# sysctls that are fields of the same name
_PLAIN = (
    *("conn_reuse_mode", "expire_nodest_conn", "expire_quiescent_template"),
    *("sloppy_tcp", "sloppy_sctp", "pmtu_disc"),
)
# timeouts of TCP states, by the state's number
_STATES = {
    "timeout_synsent": 2,
    "timeout_synrecv": 3,
    "timeout_timewait": 5,
    "timeout_close": 6,
    "timeout_closewait": 7,
    "timeout_lastack": 8,
    "timeout_synack": 10,
}
_SECONDS = {"lblc_expiration": "cache_ticks", "lblcr_expiration": "cache_set_ticks"}


class DirectorMap:
    """The one element of the ``directors`` map."""

    def __init__(self, datapath: Datapath) -> None:
        self._map = datapath.maps.directors
        self._layout = datapath.codec.director
        self._controls = datapath.maps.controls
        self._gone = datapath.codec.control.offset("gone")
        self._quiescent_udp = datapath.codec.control.offset("quiescent_udp")
        self._drop_packet = 0
        self._droprate = 10

    def set_defaults(self) -> None:
        for state, seconds in enumerate(TCP_SECONDS):
            self._store("tcp", ticks(seconds * 1000), state)
        for state, seconds in enumerate(SCTP_SECONDS):
            self._store("sctp", ticks(seconds * 1000), state)
        self._store("udp", ticks(UDP_SECONDS * 1000))
        self._store("conn_reuse_mode", 1)
        self._store("pmtu_disc", 1)
        for name in _SECONDS.values():
            self._store(name, ticks(_DAY * 1000))

    def set_timeouts(self, tcp: int, tcp_fin: int, udp: int) -> None:
        self._store("tcp", ticks(tcp * 1000), _ESTABLISHED)
        self._store("tcp", ticks(tcp_fin * 1000), _FIN_WAIT)
        self._store("udp", ticks(udp * 1000))

    def set_sysctl(self, name: str, value: int) -> None:
        if name in _PLAIN:
            self._store(name, value)
        elif name in _SECONDS:
            self._store(_SECONDS[name], ticks(value * 1000))
        elif name in _STATES:
            self._store("tcp", ticks(value * 1000), _STATES[name])
        elif name == "expire_quiescent_udp":
            self._controls.store32(0, self._quiescent_udp, value)
        elif name == "tunnel_source":
            # The field is in network order: an address as a number, its bytes the other way round.
            self._store(name, int.from_bytes(value.to_bytes(4, "big"), "little"))
        elif name in ("drop_packet", "am_droprate"):
            if name == "drop_packet":
                self._drop_packet = value
            else:
                self._droprate = value
            self._store("drop_counter", 0)
            self._store("drop_rate", self._droprate if self._drop_packet == _DROP_ALWAYS else 0)

    @property
    def expires_orphans(self) -> bool:
        """Whether a deleted destination's connections end with it (expire_nodest_conn)."""
        return bool(self._map.load32(0, self._layout.offset("expire_nodest_conn")))

    def set_population(self, *, gone: int, all_ports: bool, ftp: bool) -> None:
        """*gone*: deleted destinations that still have connections."""
        self._controls.store32(0, self._gone, gone)
        self._store("all_ports", int(all_ports))
        self._store("ftp", int(ftp))

    def _store(self, name: str, value: int, index: int = 0) -> None:
        self._map.store32(0, self._layout.offset(name) + 4 * index, value)
