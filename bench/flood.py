# SPDX-License-Identifier: Apache-2.0
"""A flood of UDP datagrams through a machine in the middle, and what it costs all parties.

The client's frames are made by the kernel (BPF_F_TEST_XDP_LIVE_FRAMES), which costs a tenth of what
a sending program would; the server drops what arrives before its own stack sees it.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from bench.frames import datagram
from bench.machine import CpuTime, others_cpu
from bench.stand import compiled, prepare
from penstock.kernel.maps import ArrayMap
from penstock.kernel.objects import ObjectFile
from penstock.kernel.programs import XDP_LIVE_FRAMES, XdpContext
from penstock.lab.balancer import Balancer
from penstock.lab.network import LabError, Network
from penstock.lab.topology import FRONT, Site, two_armed

PORT: Final = 4000
_LINK: Final = "eth0"  # of client and server
_GUE_PORT: Final = 6080
_CHUNK: Final = 1 << 15  # frames in one system call
_SINK: Final = f"""
table netdev sink {{
    chain arrived {{
        type filter hook ingress device {_LINK} priority 0
        meta protocol ip counter drop
    }}
}}
"""
_DNAT: Final = """
table ip balance {
    chain in {
        type nat hook prerouting priority dstnat
        ip daddr {vip} udp dport {port} dnat to {real}
    }
}
"""
_METHODS: Final = {
    "-m": "-m",
    "-g": "-g",
    "-i": "-i",
    "-i gue": f"-i --tun-type gue --tun-port {_GUE_PORT}",
}
DIRECT: Final = "direct"
NFTABLES: Final = "nftables DNAT"

Check = Callable[[int], None]  # given how many packets arrived; raises LabError


@dataclass(frozen=True, slots=True)
class Middle:
    """What the machine in the middle runs."""

    name: str
    start: Callable[[Site, Path], tuple[str, Check]]  # the address to flood, and a check


@dataclass(frozen=True, slots=True)
class Figures:
    """One flood."""

    sent: int
    arrived: int
    seconds: float
    busy: float  # CPU time of all parties, seconds

    @property
    def nanoseconds(self) -> float:
        """CPU time of a packet that arrived."""
        return self.busy / self.arrived * 1e9

    @property
    def per_core(self) -> float:
        """Packets a second that a core of CPU time is good for."""
        return self.arrived / self.busy


def _direct(site: Site, directory: Path) -> tuple[str, Check]:
    site.balancer.namespace.forward()
    return site.reals[0].v4, lambda arrived: None


def _nftables(site: Site, directory: Path) -> tuple[str, Check]:
    middle = site.balancer.namespace
    middle.forward()
    rules = _DNAT
    for name, value in (("vip", site.balancer.v4), ("port", PORT), ("real", site.reals[0].v4)):
        rules = rules.replace(f"{{{name}}}", str(value))
    middle.run("nft", "-f", "-", stdin=rules)
    return site.balancer.v4, lambda arrived: None


def _penstock(method: str, hook: str) -> Callable[[Site, Path], tuple[str, Check]]:
    def start(site: Site, directory: Path) -> tuple[str, Check]:
        balancer = Balancer(site.balancer.namespace, directory / "penstock")
        balancer.start_rules("--hook", hook)
        service = f"-u {site.balancer.v4}:{PORT}"
        done = balancer.command(
            *("ipvsadm", "-R"),
            stdin=f"-A {service} -s rr\n-a {service} -r {site.reals[0].v4} {_METHODS[method]}\n",
        )
        if done.returncode:
            raise LabError(f"ipvsadm: {done.stderr.strip()}")

        def check(arrived: int) -> None:
            forwarded = balancer.reason(f"forwarded_{hook}")
            if forwarded < arrived * 0.9:
                raise LabError(f"the {hook} hook forwarded {forwarded} of {arrived} packets")

        return site.balancer.v4, check

    return start


MIDDLES: Final = (
    Middle(DIRECT, _direct),
    Middle(NFTABLES, _nftables),
    *(
        Middle(f"{method}, {hook}", _penstock(method, hook))
        for method in _METHODS
        for hook in ("tc", "xdp")
    ),
)


def measure(middle: Middle, directory: Path, flows: int, seconds: float) -> Figures:
    """One flood through *middle*, on a network made for it. Raises LabError."""
    with Network("psb") as network, ObjectFile(compiled(directory)) as obj:
        site = two_armed(network, reals=1)
        site.for_xdp()
        obj.load()
        address, check = middle.start(site, directory)
        server = site.reals[0].namespace
        # The first packet to the server finds its address known.
        site.balancer.namespace.run("ping", "-c1", "-W1", site.reals[0].v4)
        server.run("nft", "-f", "-", stdin=_SINK)
        send = _sender(site, obj, address, flows)
        send(flows)  # opens the flows
        before_arrived, others, before = _arrived(site), others_cpu(), CpuTime.now()
        start, sent = time.monotonic(), 0
        while time.monotonic() < start + seconds:
            send(_CHUNK)
            sent += _CHUNK
        elapsed = time.monotonic() - start
        busy = CpuTime.now().since(before).busy - (others_cpu() - others)
        arrived = _arrived(site) - before_arrived
        if not arrived:
            raise LabError(f"of {sent} packets none arrived")
        check(arrived)
        if busy <= 0:
            raise LabError("other processes leave nothing to tell")
    return Figures(sent, arrived, elapsed, busy)


def _sender(site: Site, obj: ObjectFile, address: str, flows: int) -> Callable[[int], None]:
    client = site.client.namespace
    macs = _mac(site.balancer.namespace.ip("-o", "link", "show", FRONT))
    macs += _mac(client.ip("-o", "link", "show", _LINK))
    frame = datagram(macs, ip_address(site.client.v4), ip_address(address), PORT)
    feeds = obj.map("feeds", ArrayMap)
    program = obj.program("flood_xdp")
    prepare(feeds, obj.btf.layout("feed"), frame, flows - 1)
    with client.entered():
        context = XdpContext(ingress_ifindex=socket.if_nametoindex(_LINK))

    def send(count: int) -> None:
        with client.entered():
            program.test_run(frame.data, context, repeat=count, flags=XDP_LIVE_FRAMES)

    return send


def _mac(shown: str) -> bytes:
    found = re.search(r"link/ether (\S+)", shown)
    if found is None:
        raise LabError(f"no address in {shown!r}")
    return bytes.fromhex(found[1].replace(":", ""))


def _arrived(site: Site) -> int:
    shown = site.reals[0].namespace.run("nft", "list", "table", "netdev", "sink").stdout
    found = re.search(r"counter packets (\d+)", shown)
    return int(found[1]) if found else 0


def one_processor() -> set[int]:
    """Have the flood on one processor, as one receive queue would; gives what was before."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(everywhere)})
    return everywhere
