# SPDX-License-Identifier: Apache-2.0
"""Real programs as servers and as load: nginx, wrk, iperf3."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock.lab.network import LabError, Namespace, until
from penstock.lab.rig import bracketed

_NGINX: Final = """\
daemon off; worker_processes {workers}; pid {directory}/pid; error_log {directory}/error.log crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log off; tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 600s;
    client_header_timeout 600s; default_type text/plain;
    client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    {servers}
}}
"""
_COUNTS: Final = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_WRONG: Final = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_REQUESTS: Final = re.compile(r"(\d+) requests in")
_RATE: Final = re.compile(r"Requests/sec:\s+([0-9.]+)")


def web_servers(
    namespace: Namespace, directory: Path, names: dict[str, str], port: int = 80, workers: int = 1
) -> None:
    """An nginx in *namespace* that answers with a name on each address of *names*."""
    directory.mkdir(parents=True, exist_ok=True)
    servers = "\n    ".join(
        f"server {{ listen {bracketed(address)}:{port} backlog=16384; "
        f'location / {{ return 200 "{name}\\n"; }} }}'
        for address, name in names.items()
    )
    file = directory / "nginx.conf"
    file.write_text(_NGINX.format(directory=directory, servers=servers, workers=workers))
    process = namespace.start("nginx", "-c", str(file), "-e", str(directory / "error.log"))
    until(
        "nginx to listen", lambda: namespace.listens(port) or process.poll() is not None, seconds=10
    )
    if process.poll() is not None:
        raise LabError(f"nginx ended: {(directory / 'error.log').read_text()}")


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of wrk came to."""

    requests: int
    rate: float  # requests a second
    connect_errors: int
    read_errors: int
    write_errors: int
    timeouts: int
    wrong: int  # answers other than 2xx and 3xx

    @property
    def errors(self) -> int:
        return (
            self.connect_errors + self.read_errors + self.write_errors + self.timeouts + self.wrong
        )


def wrk_command(
    address: str, port: int, *, seconds: float, connections: int, close: bool
) -> list[str]:
    """wrk against a server, with one connection a request when *close*."""
    header = ["-H", "Connection: close"] if close else []
    return [
        *("wrk", "-t2", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "4s", *header),
        f"http://{bracketed(address)}:{port}/",
    ]


def read_wrk(text: str) -> Load:
    """wrk's report. Raises LabError when it is none."""
    requests, rate = _REQUESTS.search(text), _RATE.search(text)
    if requests is None or rate is None:
        raise LabError(f"wrk said: {text.strip()}")
    counts, wrong = _COUNTS.search(text), _WRONG.search(text)
    connect, read, write, timeout = map(int, counts.groups()) if counts else (0, 0, 0, 0)
    refused = int(wrong[1]) if wrong else 0
    return Load(int(requests[1]), float(rate[1]), connect, read, write, timeout, refused)


def wrk(
    namespace: Namespace,
    address: str,
    port: int,
    *,
    seconds: float = 2.0,
    connections: int = 16,
    close: bool = False,
) -> Load:
    """Run wrk in *namespace* to its end."""
    command = wrk_command(address, port, seconds=seconds, connections=connections, close=close)
    return read_wrk(namespace.run(*command, timeout=seconds + 30).stdout)


def iperf_server(namespace: Namespace, address: str, port: int = 5201) -> None:
    namespace.start("iperf3", "-s", "-B", address, "-p", str(port))
    until("iperf3 to listen", lambda: namespace.listens(port))


def iperf(
    namespace: Namespace, address: str, port: int = 5201, arguments: Sequence[str] = ()
) -> float:
    """Bits a second that iperf3 in *namespace* moved to *address* (``-R``: from it)."""
    done = namespace.run("iperf3", "-J", "-c", address, "-p", str(port), *arguments, check=False)
    report = json.loads(done.stdout)
    if "error" in report:
        raise LabError(f"iperf3: {report['error']}")
    return float(report["end"]["sum_received"]["bits_per_second"])
