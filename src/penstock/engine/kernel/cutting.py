# SPDX-License-Identifier: Apache-2.0
"""Cuts connections: the datapath stops forwarding them, and both ends are made to say something.

A receiver takes a reset only with the sequence number that it expects next, which nobody here
knows. But each end says it in every segment that it sends, and what comes of a cut connection is
answered with a reset made of that. So a silent end is asked: a segment outside its window makes it
send an acknowledgement at once (RFC 9293, 3.10.7.4; RFC 5961, 5).
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from dataclasses import dataclass
from random import Random

from penstock.engine.api import CutCause
from penstock.engine.kernel.loader import Datapath
from penstock.engine.kernel.slots import Place
from penstock.wire.bare_ack import End, bare_ack

_TRIES = 3  # one in a thousand lies inside the window, and some get lost
_BURST = 16384  # ends asked at once: a tenth of a second of the loop's time
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_SIZES = {4: 4, 6: 16}


@dataclass(frozen=True, slots=True)
class _Question:
    family: int  # 4 or 6
    sender: End  # whom the end takes us for
    end: End
    tries: int  # that are left


class Cutting:
    """One per engine."""

    def __init__(self, datapath: Datapath) -> None:
        self._program = datapath.cut
        self._controls, self._outbox = datapath.maps.controls, datapath.maps.cut_outbox
        self._layout = datapath.codec.cut_record
        control = datapath.codec.control
        self._real_at = control.offset("cut_real")
        self._cause_at = control.offset("cut_cause")
        self._count_at = control.offset("cut_count")
        self._af_at, self._slot_at = control.offset("cut_af"), control.offset("cut_slot")
        self._life_at = control.offset("cut_life")
        self._random = Random()  # noqa: S311  # no secrets: any number will do
        self._unread: deque[bytes] = deque()  # records of what was cut
        self._now: deque[_Question] = deque()
        self._again: deque[_Question] = deque()  # after all others have been asked once
        self._later: list[_Question] = []  # to be asked again at the next tick
        self._sockets: dict[int, socket.socket] = {}

    def cut(self, real: int, cause: CutCause) -> int:
        """End all flows of real server number *real*; how many there were."""
        self._controls.store32(0, self._af_at, 0)
        self._controls.store32(0, self._real_at, real)
        self._controls.store32(0, self._cause_at, ord(cause))
        total, room = 0, len(self._outbox)
        while True:
            count = self._run()
            total += count
            if count < room:
                break
        self._ask()
        return total

    def cut_one(self, place: Place, cause: CutCause) -> bool:
        """End the flow whose forward slot that is; False: it has ended already."""
        self._controls.store32(0, self._slot_at, place.slot)
        self._controls.store32(0, self._life_at, place.life)
        self._controls.store32(0, self._af_at, place.family)
        self._controls.store32(0, self._cause_at, ord(cause))
        count = self._run()
        self._ask()
        return bool(count)

    def _run(self) -> int:
        self._program.run_syscall()
        count = self._controls.load32(0, self._count_at)
        self._unread.extend(self._outbox.read(at) for at in range(count))
        return count

    def tick(self) -> None:
        """Once a second: ask again, and those that were too many to be asked before."""
        self._again.extend(self._later)
        self._later.clear()
        self._ask()

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()

    def _read(self, raw: bytes) -> None:
        record = self._layout.unpack(raw)

        def end(name: str, family: int) -> End:
            address = record.raw(name)[: _SIZES[family]]
            return End(address, int.from_bytes(record.raw(f"{name}_port"), "big"))

        client, real = record.integer("client_af"), record.integer("real_af")
        if client:
            self._now.append(_Question(client, end("vip", client), end("client", client), _TRIES))
            self._now.append(_Question(real, end("source", real), end("real", real), _TRIES))

    def _ask(self) -> None:
        for _ in range(_BURST):
            one = self._next()
            if one is None:
                return
            segment = bare_ack(one.sender, one.end, self._random.getrandbits(32))
            where = socket.inet_ntop(_FAMILIES[one.family], one.end.address)
            # Without a route to an end there is none for its reset either.
            with contextlib.suppress(OSError):
                self._socket(one.family).sendto(segment, (where, 0))
            if one.tries > 1:
                self._later.append(_Question(one.family, one.sender, one.end, one.tries - 1))

    def _next(self) -> _Question | None:
        while not self._now and self._unread:
            self._read(self._unread.popleft())
        for waiting in (self._now, self._again):
            if waiting:
                return waiting.popleft()
        return None

    def _socket(self, family: int) -> socket.socket:
        known = self._sockets.get(family)
        if known is None:
            # With this protocol the sender makes the IP header (raw(7), ipv6(7)).
            known = socket.socket(_FAMILIES[family], socket.SOCK_RAW, socket.IPPROTO_RAW)
            known.setblocking(False)
            self._sockets[family] = known
        return known
