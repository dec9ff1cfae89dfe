# SPDX-License-Identifier: Apache-2.0
"""One flow seen from both its ends: packets sent from each, and what arrives at the other."""

from __future__ import annotations

from dataclasses import dataclass, field

from bpf_lab import MAC_BACK, MAC_FRONT, TC_REDIRECT, XDP_REDIRECT, Hook, Lab, Result, mac_of
from bpf_packets import Seen, decode, tcp, udp, version

End = tuple[str, int]

_FORWARDED = {
    "tc": (TC_REDIRECT, "EVENT_FORWARDED_TC"),
    "xdp": (XDP_REDIRECT, "EVENT_FORWARDED_XDP"),
}


@dataclass
class Talk:
    """*real* and *snat* are learnt from the first packet that is forwarded."""

    lab: Lab
    client: End
    vip: End
    proto: str = "tcp"
    real: End = ("", 0)
    snat: End = ("", 0)
    last: Result = field(default_factory=lambda: Result(0, b"", {}))

    def _frame(self, source: End, target: End, flags: str, payload: bytes, at: str) -> bytes:
        if self.proto == "udp":
            return udp(source, target, payload, at=at)
        return tcp(source, target, flags, payload, at=at)

    def client_sends(self, flags: str = "A", payload: bytes = b"", hook: Hook = "tc") -> Result:
        """Whatever becomes of a packet from the client."""
        frame = self._frame(self.client, self.vip, flags, payload, "front")
        self.last = self.lab.send(frame, hook)
        return self.last

    def to_real(
        self, flags: str = "A", payload: bytes = b"", hook: Hook = "tc", *, also: str = ""
    ) -> Seen:
        """A packet from the client that must reach the real; *also*: the other event due."""
        got = self.client_sends(flags, payload, hook)
        seen = self._arrived(got, hook, payload, flags, also)
        if not self.real[1]:
            self.real, self.snat = seen.target, seen.source
        assert (seen.source, seen.target) == (self.snat, self.real)
        if seen.macs != (mac_of(self.client[0]), MAC_FRONT):  # else by the neighbour layer
            assert seen.macs == (MAC_BACK, mac_of(self.real[0]))
        return seen

    def to_client(
        self, flags: str = "A", payload: bytes = b"", hook: Hook = "tc", *, also: str = ""
    ) -> Seen:
        """A packet from the real that must reach the client."""
        frame = self._frame(self.real, self.snat, flags, payload, "back")
        got = self.last = self.lab.send(frame, hook, at="back")
        seen = self._arrived(got, hook, payload, flags, also)
        assert (seen.source, seen.target) == (self.vip, self.client)
        if seen.macs != (mac_of(self.real[0]), MAC_BACK):
            assert seen.macs == (MAC_FRONT, mac_of(self.client[0]))
        return seen

    def _arrived(self, got: Result, hook: Hook, payload: bytes, flags: str, also: str) -> Seen:
        verdict, reason = _FORWARDED[hook]
        assert got.verdict == verdict, got.reasons
        wanted = {reason: 1}
        for event in filter(None, also.split()):
            wanted[event] = 1
        assert got.reasons == wanted
        seen = decode(got.frame)
        assert seen.ttl == 63
        assert seen.payload == payload
        if self.proto == "tcp":
            assert set(seen.flags) == set(flags)
        return seen

    def handshake(self) -> Talk:
        self.to_real("S", also="EVENT_FLOW_NEW")
        self.to_client("SA")
        self.to_real("A")
        self.to_client("A")  # now both directions know their next hop
        return self

    def exchange(self) -> Talk:
        """The same for UDP."""
        self.to_real(payload=b"question", also="EVENT_FLOW_NEW")
        self.to_client(payload=b"answer")
        return self

    @property
    def families(self) -> tuple[int, int]:
        return version(self.client[0]), version(self.real[0])
