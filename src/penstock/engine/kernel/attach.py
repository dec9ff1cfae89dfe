# SPDX-License-Identifier: Apache-2.0
"""Our programs on the machine's interfaces: attached, taken over, replaced, detached."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

from penstock.kernel.libbpf import LibbpfError
from penstock.kernel.links import ClsactFilter, Link, XdpMode, attach_tcx, attach_xdp
from penstock.kernel.programs import Program
from penstock.model import Hook

# Interfaces whose packets have no wire of their own: GSO packets of up to 64 KiB with unfinished
# checksums pass through them, which XDP would have to take apart.
_VIRTUAL = frozenset(
    {"veth", "bridge", "bond", "team", "vlan", "macvlan", "dummy", "vxlan", "vrf", "tun", "ifb"}
)


class Attachments:
    """One TC program on every interface, and XDP in front of it where it fits.

    tcx and XDP links are pinned under ``pins/links`` and named by interface index, so that they
    outlive us and the next daemon switches them to its own programs without a gap.
    """

    def __init__(self, tc: Program, xdp: Program, reply: Program, hook: Hook, pins: Path) -> None:
        self._tc = tc
        self._xdp = xdp
        self._reply = reply
        self._hook = hook
        self._links = pins / "links"
        self._links.mkdir(parents=True, exist_ok=True)
        self._filters: dict[tuple[str, int], ClsactFilter] = {}
        self.xdp_on: set[int] = set()

    def attach(self, ifindex: int, kind: str, *, has_driver: bool) -> str | None:
        """Attach to one interface, or take over what is there.

        *kind* is the link kind ("veth", "bridge", "" for a device with a driver). Returns a
        sentence when XDP was asked for and TC had to do. Raises LibbpfError when TC fails too.
        """
        self._attach_tc("tc", ifindex, self._tc)
        wants_xdp = self._hook is Hook.XDP or (
            self._hook is Hook.AUTO and has_driver and kind not in _VIRTUAL
        )
        if kind == "loopback" or not wants_xdp:
            self._drop("xdp", ifindex)
            return None
        try:
            self._attach_xdp(ifindex)
        except LibbpfError as error:
            if self._hook is Hook.AUTO:
                return None
            return f"XDP is not possible there ({error}); TC does the work"
        return None

    def attach_reply(self, ifindex: int) -> None:
        """See what leaves by the interface, too. Raises LibbpfError."""
        self._attach_tc("reply", ifindex, self._reply)

    def forget(self, ifindex: int) -> None:
        """The interface is gone or no longer ours."""
        for what in ("tc", "xdp", "reply"):
            self._drop(what, ifindex)
            filter_ = self._filters.pop((what, ifindex), None)
            if filter_ is not None:
                filter_.detach()

    def known(self) -> set[int]:
        """Interfaces with something of ours on them, also from an earlier daemon."""
        pinned = {int(path.name.partition("-")[2]) for path in self._links.iterdir()}
        return pinned | {ifindex for _, ifindex in self._filters}

    def detach_all(self) -> None:
        for ifindex in self.known():
            self.forget(ifindex)

    def _attach_tc(self, what: str, ifindex: int, program: Program) -> None:
        if self._take_over(what, ifindex, program):
            return
        egress = what == "reply"
        try:
            with attach_tcx(program, ifindex, egress=egress) as link:
                link.pin(self._pin(what, ifindex))
        except LibbpfError as error:
            if error.errno != errno.EINVAL:  # a kernel before 6.6 knows no such attach type
                raise
            filter_ = ClsactFilter(ifindex, egress=egress)
            filter_.replace(program)
            self._filters[what, ifindex] = filter_

    def _attach_xdp(self, ifindex: int) -> None:
        if not self._take_over("xdp", ifindex, self._xdp):
            with attach_xdp(self._xdp, ifindex, XdpMode.NATIVE) as link:
                link.pin(self._pin("xdp", ifindex))
        self.xdp_on.add(ifindex)

    def _take_over(self, what: str, ifindex: int, program: Program) -> bool:
        pin = self._pin(what, ifindex)
        if not pin.exists():
            return False
        with Link.from_pin(pin) as link:
            if link.info().ifindex == ifindex:
                link.replace(program)
                return True
        pin.unlink()
        return False

    def _drop(self, what: str, ifindex: int) -> None:
        if what == "xdp":
            self.xdp_on.discard(ifindex)
        pin = self._pin(what, ifindex)
        if pin.exists():
            with contextlib.suppress(LibbpfError), Link.from_pin(pin) as link:
                link.detach()
            pin.unlink()

    def _pin(self, what: str, ifindex: int) -> Path:
        return self._links / f"{what}-{ifindex}"
