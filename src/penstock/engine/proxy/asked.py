# SPDX-License-Identifier: Apache-2.0
"""What rules ask of a session (``penstock.rules.subject``), answered."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

from penstock.engine.proxy.dial import NOBODY, Peer, peer_of
from penstock.rules.samples import Sample
from penstock.rules.subject import (
    Act,
    Capture,
    Expect,
    Mark,
    Process,
    SetEnd,
    Tables,
    Track,
    Traffic,
)
from penstock.stick.table import Entry
from penstock.terms import Address, Origin

if TYPE_CHECKING:
    from penstock.engine.proxy.flow import Flow
    from penstock.engine.proxy.session import Session

_SO_MARK = 36  # asm-generic/socket.h
# Offsets in struct tcp_info, linux/tcp.h.
_TCP_INFO = {
    "fc_unacked": 24,
    "fc_sacked": 28,
    "fc_lost": 32,
    "fc_retrans": 36,
    "fc_fackets": 40,
    "fc_rtt": 68,
    "fc_rttvar": 72,
    "fc_reordering": 88,
}
_TCP_INFO_BYTES = 104


class Asked:
    """Of one session; kept for as long as it lasts, for it is counted in tables."""

    __slots__ = (
        "_captures",
        "_entries",
        "_session",
        "_variables",
        "decided",
        "expect",
        "final",
        "method",
    )

    def __init__(self, session: Session | Flow) -> None:
        self._session = session
        self._entries: dict[int, tuple[str, Sample, Entry | None]] = {}
        self._variables: dict[str, Sample] = {}
        self._captures: dict[Origin, str] = {}
        self.final = False
        self.method: str | None = None
        self.decided: Origin | None = None  # see decided_by()
        self.expect: Expect | None = None

    # -- addresses ---------------------------------------------------------------------------

    @property
    def source(self) -> Address | None:
        peer = self._session.peer
        return None if peer is NOBODY else peer.address

    @property
    def source_port(self) -> int:
        return self._session.peer.port

    @property
    def destination(self) -> Address | None:
        return None if self._session.peer is NOBODY else self._session.wanted.address

    @property
    def destination_port(self) -> int:
        return self._session.wanted.port

    @property
    def socket_ends(self) -> tuple[Address | None, int, Address | None, int]:
        session = self._session
        one = peer_of(session.raw)
        if one is NOBODY:
            return None, 0, None, 0
        other = peer_of(session.sock.getsockname())
        return one.address, one.port, other.address, other.port

    @property
    def server_ends(self) -> tuple[Address | None, int, Address | None, int] | None:
        side = self._session.server
        if side is None:
            return None
        try:
            one, other = peer_of(side.sock.getsockname()), peer_of(side.sock.getpeername())
        except OSError:
            return None
        return one.address, one.port, other.address, other.port

    # -- names -------------------------------------------------------------------------------

    @property
    def listener(self) -> tuple[int, str]:
        one = self._session.spot.listener
        return one.id, one.name or ""

    @property
    def frontend(self) -> tuple[int, str]:
        state = self._session.service.state
        return state.front.id, state.name

    @property
    def default_pool(self) -> str:
        state = self._session.service.state
        return "" if state.pool in (None, state.section) else state.pool or ""

    @property
    def pool(self) -> tuple[int, str] | None:
        pool = self._session.pool
        return None if pool is None else (pool.state.back.id, pool.state.name)

    @property
    def server(self) -> tuple[int, str] | None:
        real = self._session.real
        return None if real is None else (real.state.link.id, real.state.key.name)

    # -- data --------------------------------------------------------------------------------

    @property
    def request(self) -> bytes:
        return self._session.early

    @property
    def response(self) -> bytes:
        return self._session.late

    # -- surroundings ------------------------------------------------------------------------

    @property
    def traffic(self) -> Traffic:
        return self._session.world.census

    @property
    def tables(self) -> Tables:
        return self._session.world.tables

    @property
    def process(self) -> Process:
        return self._session.world.facts

    def tracked(self, counter: int) -> tuple[str, Sample] | None:
        found = self._entries.get(counter)
        return None if found is None else found[:2]

    def variable(self, name: str) -> Sample | None:
        if name.startswith("proc."):
            return self._session.world.variables.get(name)
        return self._variables.get(name)

    def set_variable(self, name: str, value: Sample | None) -> None:
        where = self._session.world.variables if name.startswith("proc.") else self._variables
        if value is None:
            where.pop(name, None)
        else:
            where[name] = value

    def microseconds(self) -> int:
        return time.time_ns() // 1000

    def random(self) -> int:
        return random.getrandbits(32)  # HAProxy's rand() is for spreading too

    # -- the connection ------------------------------------------------------------------------

    def tls(  # noqa: PLR0912 one case a fetch
        self, fetch: str, arguments: tuple[str, ...]
    ) -> Sample | None:
        info = self._session.tls
        match fetch:
            case "ssl_fc":
                return info is not None
            case "ssl_bc":
                side = self._session.server
                return side is not None and side.sealed
            case "ssl_c_used" | "ssl_fc_has_crt":
                return info is not None and info.certificate is not None
            case "ssl_fc_has_sni":
                return info is not None and info.sni is not None
        if info is None:
            return None
        match fetch:
            case "ssl_fc_sni":
                return info.sni
            case "ssl_fc_alpn":
                return info.alpn
            case "ssl_fc_protocol":
                return info.version
            case "ssl_fc_cipher":
                return info.cipher
            case "ssl_fc_use_keysize" | "ssl_fc_alg_keysize":
                return info.bits
            case "ssl_fc_is_resumed":
                return info.resumed
            case "ssl_c_verify" | "ssl_c_err" | "ssl_c_ca_err":
                return 0  # what did not hold has not come so far
            case "ssl_c_s_dn":
                wanted = not arguments or arguments[0] in ("", "CN")
                return info.common_name if wanted else None
        return None

    def captured(self, at: int) -> str | None:
        book = self._session.service.book
        if book is None or not 0 <= at < len(book.captures):
            return None
        return self._captures.get(book.captures[at])

    def captures(self) -> tuple[str | None, ...]:
        """What all rules that capture have found."""
        book = self._session.service.book
        return tuple(map(self._captures.get, book.captures)) if book is not None else ()

    def unique_id(self) -> str | None:
        trace = self._session.trace
        return None if trace is None else trace.unique_id()

    def decided_by(self) -> Origin | None:
        return self.decided

    def header(self, fetch: str) -> Sample | None:
        header = self._session.header
        match fetch:
            case "fc_rcvd_proxy":
                return header is not None
            case "fc_pp_authority":
                return None if header is None else header.tlvs.authority
            case "fc_pp_unique_id":
                return None if header is None else header.tlvs.unique_id
        return None

    def tcp_info(self, fetch: str) -> int | None:
        at = _TCP_INFO.get(fetch)
        if at is None:
            return None
        with contextlib.suppress(OSError, struct.error):
            raw = self._session.sock.getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES
            )
            (value,) = struct.unpack_from("=I", raw, at)
            return int(value)
        return None

    def timeout(self, fetch: str) -> int | None:
        times = self._session.service.state.timeouts
        match fetch:
            case "fe_client_timeout":
                return times.client
            case "be_server_timeout" | "cur_server_timeout":
                return times.server
            case "be_tunnel_timeout" | "cur_tunnel_timeout":
                return times.tunnel
        return None

    # -- what rules do -------------------------------------------------------------------------

    def act(self, act: Act) -> None:
        session = self._session
        match act:
            case Track(counter, table, key):
                entry = session.world.tables.track(table, key)
                self._entries[counter] = table, key, entry
            case SetEnd():
                self._set_end(act)
            case Mark(value, tos):
                with contextlib.suppress(OSError):
                    if tos:
                        session.sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, value & 0xFF)
                    else:
                        session.sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, value)
            case Capture(text, origin):
                self._captures[origin] = text
            case Expect():
                self.expect = act
            case _:
                pass  # an order of a queue that has none

    def _set_end(self, act: SetEnd) -> None:
        session = self._session
        peer, wanted = session.peer, session.wanted
        before = peer if act.source else wanted
        address = before.address if act.address is None else act.address
        port = act.port if act.port is not None else before.port
        if act.address is not None and act.port is None and act.source:
            port = 0  # HAProxy manual 4.2: set-src makes the port unknown
        changed = Peer(ip_address(address), port)
        if act.source:
            session.told(changed, wanted)
        else:
            session.told(peer, changed)

    def start_stream(self) -> None:
        """It has got past the rules about connections: those counters count sessions too."""
        tables = self._session.world.tables
        now = tables.now()
        for name, _, entry in self._entries.values():
            table = tables.holder(name, entry) if entry is not None else None
            if table is not None and entry is not None:
                table.add(entry, "sess_cnt", 1, now)

    def end(self, received: int, sent: int) -> None:
        """The connection is over: it counts no more, but for what it has carried."""
        tables = self._session.world.tables
        now = tables.now()
        for name, _, entry in self._entries.values():
            table = tables.holder(name, entry) if entry is not None else None
            if table is None or entry is None:
                continue
            if received:
                table.add(entry, "bytes_in_cnt", received, now)
            if sent:
                table.add(entry, "bytes_out_cnt", sent, now)
            tables.untrack(name, entry)
        self._entries.clear()
