# SPDX-License-Identifier: Apache-2.0
"""Who runs a file in the lab: penstock, or the HAProxy that it is to be compared with."""

from __future__ import annotations

import csv
import io
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from penstock.api.client import ask
from penstock.api.wire import Done, Reload
from penstock.lab.balancer import Balancer
from penstock.lab.network import LabError, Namespace, stop, until

_SMALL: Final = "global\n    penstock.max-flows 65536\n"  # a lab needs no larger table
_IDLE: Final = (
    "listen idle\n    bind 127.0.0.1:1\n    mode tcp\n"
    "    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n"
)
# A lab has no limit to raise: a file may say what connections it likes.
_ADMIN: Final = "global\n    stats socket {socket} level admin\n    no strict-limits\n"


@dataclass(frozen=True, slots=True)
class ServerNow:
    """One server of a pool, as whoever runs the file sees it."""

    name: str
    up: bool  # may be given new connections, by what checks say
    backup: bool
    checked: bool  # a check has had a result, or there is none to wait for
    live: int  # connections


class Runner(Protocol):
    """Runs one file after the other."""

    def run(self, text: str) -> None:
        """Replace what runs by *text*. Raises CommandRefused or LabError when it is refused."""

    def pools(self) -> Mapping[str, Sequence[ServerNow]]:
        """The servers of every pool, in the file's order."""

    def forwarded(self) -> int:
        """Packets that the kernel engine has sent on so far."""


class Penstock:
    """One daemon, reloaded from file to file."""

    def __init__(self, namespace: Namespace, directory: Path, *options: str) -> None:
        self.balancer = Balancer(namespace, directory / "penstock")
        self.balancer.start(_SMALL + _IDLE, *options)

    def run(self, text: str) -> None:
        self.balancer.file.write_text(_SMALL + text)
        reply = ask(self.balancer.paths.socket, Reload())
        if not isinstance(reply, Done):
            raise LabError(f"an answer of another kind: {reply}")

    def pools(self) -> Mapping[str, Sequence[ServerNow]]:
        return {
            pool.name: [
                ServerNow(
                    real.name,
                    real.state in ("UP", "no check"),
                    real.backup,
                    bool(real.check) or real.state in ("no check", "MAINT"),
                    real.traffic.live,
                )
                for real in pool.reals
            ]
            for pool in self.balancer.status().pools
        }

    def forwarded(self) -> int:
        reasons = {one.name: one.count for one in self.balancer.status().reasons}
        return reasons.get("forwarded_tc", 0) + reasons.get("forwarded_xdp", 0)

    def stop(self) -> None:
        self.balancer.stop()


class Haproxy:
    """One process a file."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self._namespace = namespace
        self._directory = directory / "haproxy"
        self._directory.mkdir()
        self._socket = self._directory / "admin.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, text: str) -> None:
        self.stop()
        self._socket.unlink(missing_ok=True)
        file, log = self._directory / "haproxy.cfg", self._directory / "log"
        file.write_text(_ADMIN.format(socket=self._socket) + text)
        with log.open("wb") as output:
            process = self._namespace.start("haproxy", "-db", "-f", str(file), output=output)
        self._process = process
        until("haproxy to answer", lambda: self._answers() or process.poll() is not None)
        if process.poll() is not None:
            raise LabError(f"haproxy ended: {log.read_text(errors='replace').strip()}")

    def pools(self) -> Mapping[str, Sequence[ServerNow]]:
        found: dict[str, list[ServerNow]] = {}
        for row in csv.DictReader(io.StringIO(self._ask("show stat").removeprefix("# "))):
            if row["svname"] in ("FRONTEND", "BACKEND"):
                found.setdefault(row["pxname"], [])
                continue
            found.setdefault(row["pxname"], []).append(
                ServerNow(
                    row["svname"],
                    row["status"].startswith("UP") or row["status"] == "no check",
                    row["bck"] == "1",
                    row["check_status"] != "INI",
                    int(row["scur"] or 0),
                )
            )
        return found

    def forwarded(self) -> int:
        return 0

    def stop(self) -> None:
        if self._process is not None:
            stop([self._process])

    def _answers(self) -> bool:
        try:
            return bool(self._ask("show info"))
        except OSError:
            return False

    def _ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5.0)
            connection.connect(str(self._socket))
            connection.sendall(f"{command}\n".encode())
            with connection.makefile("r") as answer:
                return answer.read()
