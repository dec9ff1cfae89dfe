# SPDX-License-Identifier: Apache-2.0
"""The UDP relay: datagrams of one listener, and the flows that they belong to or begin."""

from __future__ import annotations

from penstock.engine.proxy.board import Column
from penstock.engine.proxy.choose import Real
from penstock.engine.proxy.datagrams import (
    BUFFER,
    CONTROL_SIZE,
    ClientAddress,
    ask_for_addresses,
    first,
    local_of,
)
from penstock.engine.proxy.flow import MOST_READS, Flow
from penstock.engine.proxy.loop import IN
from penstock.engine.proxy.world import Ear, World
from penstock.proxied import LocalAddress

_MOST_LEFT = 4096  # datagrams that a listener's receive buffer might hold, and more come meanwhile


class Relay:
    """The flows of one listener's clients."""

    def __init__(self, world: World, ear: Ear) -> None:
        self.world = world
        self.ear = ear
        self.flows: dict[object, Flow] = {}
        self._leaves = False
        self._has_left = False
        self._homeless: list[Flow] = []  # while it leaves: without a socket of their own so far
        address = ear.spot.listener.address
        self._shared = not isinstance(address, LocalAddress) and address.is_unspecified
        if self._shared:
            ask_for_addresses(ear.sock)
        world.loop.add(ear.sock.fileno(), IN, self.on_events)

    def on_events(self, _events: int) -> None:
        for _ in range(MOST_READS):
            if not self._read():
                return

    def _read(self) -> bool:
        """One datagram of the listener's; False: there is none."""
        sock, local = self.ear.sock, b""
        try:
            if self._shared:
                n, ancillary, _, raw = sock.recvmsg_into((BUFFER,), CONTROL_SIZE)
                local = local_of(ancillary)
            else:
                n, raw = sock.recvfrom_into(BUFFER)
        except OSError:
            return False
        self.serve(raw, local, first(n))
        return True

    def serve(self, raw: ClientAddress, local: bytes, data: memoryview) -> None:
        """*data* came from *raw* to *local*."""
        key = (raw, local) if self._shared else raw
        flow = self.flows.get(key)
        if flow is not None and flow.misplaced:
            flow.close()
            flow = None
        if flow is not None and flow.forward(data):
            return
        if not self._has_left:  # a new flow would have no socket to answer from
            self._open(key, raw, local, data, flow.real if flow is not None else None)

    def _open(
        self, key: object, raw: ClientAddress, local: bytes, data: memoryview, failed: Real | None
    ) -> None:
        """*failed*: the real server of the flow that has just ended."""
        if self._is_full():
            self.world.count(self.ear.service.row, Column.DENIED)
            return
        flow = Flow(self, key, raw, local)
        if flow.open(data, failed):
            flow.forward(data)
            if self._leaves:
                self._homeless.append(flow)

    def _is_full(self) -> bool:
        """Over a limit a datagram is dropped: nobody queues what may be lost anyway."""
        world, service = self.world, self.ear.service
        limit = service.state.maxconn
        return bool(
            (limit and service.live >= limit)
            or world.flows >= world.most_flows
            or (world.maxconn and world.total_live >= world.maxconn)
            or service.too_fast(world.loop.now)
        )

    def leave(self) -> None:
        """The listener is given up: what has arrived is served, and flows stand on their own.

        Until a flow has a socket of its own its client's datagrams come to the listener's, which is
        read until there are none.
        """
        self.world.loop.remove(self.ear.sock.fileno())
        self._leaves = True
        self._homeless.extend(self.flows.values())
        for _ in range(_MOST_LEFT):
            while self._homeless:
                self._homeless.pop().stand_alone()
            if not self._read():
                break
        self._has_left = True
