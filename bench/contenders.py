# SPDX-License-Identifier: Apache-2.0
"""Who is compared: no balancer at all, penstock on both hooks, and its peers.

Each takes connections to the field's VIP to the two servers in turn and to one iperf3. HAProxy and
nginx get one thread each unless asked otherwise, and in their favour every port of their host.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.field import BULK, WEB, Field, Links
from bench.machine import with_descendants
from penstock.lab.balancer import Balancer
from penstock.lab.network import LabError, until
from penstock.lab.rig import bracketed

_PROXY: Final = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
listen web
    bind {vip}:{web}
    balance roundrobin
    server r1 {first}:{web}
    server r2 {second}:{web}
listen bulk
    bind {vip}:{bulk}
    server r1 {first}:{bulk}
"""
_NGINX: Final = """\
daemon off; worker_processes {threads}; worker_rlimit_nofile 20000;
pid {directory}/pid; error_log {directory}/error.log crit;
{module}
events {{ worker_connections 19900; }}
stream {{
    upstream web {{ server {first}:{web}; server {second}:{web}; }}
    upstream bulk {{ server {first}:{bulk}; }}
    proxy_timeout 600s; proxy_connect_timeout 5s;
    server {{ listen {vip}:{web} backlog=16384; proxy_pass web; }}
    server {{ listen {vip}:{bulk}; proxy_pass bulk; }}
}}
"""
_NFTABLES: Final = """\
table {family} balancer {{
    chain before {{
        type nat hook prerouting priority dstnat;
        {family} daddr {vip} tcp dport {web} dnat {family} to \
            numgen inc mod 2 map {{ 0 : {first} . {web}, 1 : {second} . {web} }}
        {family} daddr {vip} tcp dport {bulk} dnat {family} to {first_bracketed}:{bulk}
    }}
    chain after {{
        type nat hook postrouting priority srcnat;
        {family} daddr {{ {first}, {second} }} masquerade
    }}
}}
"""
# Finished connections would otherwise stay for two minutes and fill the table.
_CONNTRACK_SECONDS: Final = {"time_wait": 5, "close": 2, "fin_wait": 5, "last_ack": 5}
_STREAM_MODULES: Final = (
    Path("/usr/lib/nginx/modules/ngx_stream_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_stream_module.so"),
)


@dataclass(frozen=True, slots=True)
class Running:
    """A contender at work."""

    address: str  # where clients ask
    process: int | None  # the topmost one; None: the kernel does it all
    verify: Callable[[], None] = lambda: None  # after all: raises LabError if it was not its doing

    def pids(self) -> list[int]:
        return [] if self.process is None else with_descendants(self.process)


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    programs: tuple[str, ...]
    start: Callable[[Field, int], Running]  # on a field, with so many threads if it has threads
    links: tuple[Links, ...] = (Links.OFFLOAD, Links.PLAIN)

    def missing(self) -> str | None:
        """The program that this machine lacks for it."""
        return next((name for name in self.programs if shutil.which(name) is None), None)


def _direct(field: Field, threads: int) -> Running:
    return Running(field.reals[0], None)


def _fill(text: str, field: Field) -> str:
    return text.format(
        vip=bracketed(field.vip),
        first=bracketed(field.reals[0]),
        second=bracketed(field.reals[1]),
        web=WEB,
        bulk=BULK,
    )


def penstock(hook: str, field: Field) -> Balancer:
    """penstock at work, with its default number of flows."""
    balancer = Balancer(field.middle, field.directory / "penstock")
    balancer.start(f"global\n    penstock.hook {hook}\n" + _fill(_PROXY, field))
    return balancer


def _penstock(hook: str) -> Callable[[Field, int], Running]:
    def start(field: Field, threads: int) -> Running:
        balancer = penstock(hook, field)

        def verify() -> None:
            if not balancer.reason(f"forwarded_{hook}"):
                raise LabError(f"the {hook} hook forwarded nothing")

        process = balancer.process
        return Running(field.vip, None if process is None else process.pid, verify)

    return start


def _every_port(field: Field) -> None:
    field.middle.sysctl("net/ipv4/ip_local_port_range", "1024 65535")


def _haproxy(field: Field, threads: int) -> Running:
    _every_port(field)
    file = field.directory / "haproxy.cfg"
    file.write_text(f"global\n    nbthread {threads}\n    maxconn 9900\n" + _fill(_PROXY, field))
    process = field.middle.start("haproxy", "-db", "-f", str(file))
    return _listening(field, "haproxy", process)


def _nginx(field: Field, threads: int) -> Running:
    _every_port(field)
    directory = field.directory / "stream"
    directory.mkdir()
    file = directory / "nginx.conf"
    module = next((path for path in _STREAM_MODULES if path.exists()), None)
    file.write_text(
        _NGINX.format(
            threads=threads,
            directory=directory,
            module=f"load_module {module};" if module else "",  # else compiled in
            vip=bracketed(field.vip),
            first=bracketed(field.reals[0]),
            second=bracketed(field.reals[1]),
            web=WEB,
            bulk=BULK,
        )
    )
    errors = str(directory / "error.log")
    return _listening(field, "nginx", field.middle.start("nginx", "-c", str(file), "-e", errors))


def _listening(field: Field, name: str, process: subprocess.Popen[bytes]) -> Running:
    until(
        f"{name} to listen",
        lambda: field.middle.listens(WEB) or process.poll() is not None,
    )
    if process.poll() is not None:
        raise LabError(f"{name} ended with exit status {process.returncode}")
    return Running(field.vip, process.pid)


def _nftables(field: Field, threads: int) -> Running:
    file = field.directory / "rules.nft"
    first, second = field.reals
    file.write_text(
        _NFTABLES.format(
            family="ip" if field.family == 4 else "ip6",
            vip=field.vip,
            first=first,
            second=second,
            first_bracketed=bracketed(first),
            web=WEB,
            bulk=BULK,
        )
    )
    field.middle.run("nft", "-f", str(file))
    for state, seconds in _CONNTRACK_SECONDS.items():
        field.middle.sysctl(f"net/netfilter/nf_conntrack_tcp_timeout_{state}", str(seconds))
    return Running(field.vip, None)


DIRECT: Final = "direct"
HAPROXY: Final = "haproxy"
CONTENDERS: Final = (
    Contender(DIRECT, (), _direct),
    Contender("penstock-tc", (), _penstock("tc")),
    Contender("penstock-xdp", ("ethtool",), _penstock("xdp"), (Links.PLAIN,)),
    Contender(HAPROXY, (HAPROXY,), _haproxy),
    Contender("nginx", ("nginx",), _nginx),
    Contender("nftables", ("nft",), _nftables),
)
