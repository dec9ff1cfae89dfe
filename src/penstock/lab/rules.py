# SPDX-License-Identifier: Apache-2.0
"""A director under test: rules given to it as ``ipvsadm`` would, and who answers whom then.

Clients and reals are numbers here: client 5 is 10.50.0.5 or fd50::5, real 2 is rs2. Who answered
is a text with a character a connection: the real's number, "-" for a refusal, "?" for silence, "!"
for anything else.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock.lab.balancer import Balancer
from penstock.lab.director import Directed, serve
from penstock.lab.network import LabError
from penstock.lab.steps import Steps

_DEFAULTS: Final = {  # net.ipv4.vs.* that tests change
    "am_droprate": 10,
    "conn_reuse_mode": 1,
    "drop_packet": 0,
    "expire_nodest_conn": 0,
    "expire_quiescent_template": 0,
    "sloppy_tcp": 0,
}
_ROW: Final = re.compile(r"  -> \S*[.:](\d+)\]?:\d+ +(\w+) +(\d+) +(\d+) +(\d+)")


@dataclass(frozen=True, slots=True)
class Counted:
    """What the listing says of one destination."""

    method: str
    weight: int
    active: int
    inactive: int


class Director:
    """One penstock that runs IPVS rules in *site*; *serves*: with servers on the reals."""

    def __init__(
        self, site: Directed, directory: Path, hook: str = "tc", *, serves: bool = True
    ) -> None:
        if hook == "xdp":
            site.for_xdp()
        self.hook = hook
        self.site = site
        self.balancer = Balancer(site.director.namespace, directory / "penstock")
        self.servers = serve(site) if serves else None
        self._addresses = 0
        self._changed: set[str] = set()
        self._direct: set[int] = set()
        self._pending: list[str] = []
        self._timeouts_changed = False
        self._steps: list[Steps] = []

    def start(self) -> None:
        """Run a daemon for rules alone."""
        self.balancer.start_rules("--hook", self.hook)

    def later(self, *lines: str) -> None:
        """Give it these ipvsadm lines before anything else is asked of it."""
        self._pending += lines

    def admin(self, *lines: str) -> None:
        """Give it these ipvsadm lines, all at once. Raises LabError with what it says of them."""
        self._pending += lines
        self.flush()

    def flush(self) -> None:
        """Give it what waits."""
        if not self._pending:
            return
        text = "".join(f"{line}\n" for line in self._pending)
        self._pending.clear()
        done = self.balancer.command("ipvsadm", "-R", stdin=text)
        if done.returncode or done.stderr or done.stdout:
            raise LabError(f"ipvsadm -R: {done.returncode}: {done.stdout}{done.stderr}")

    def ipvsadm(self, *arguments: str) -> str:
        """What one ipvsadm command prints. Raises LabError where it fails."""
        self.flush()
        self._timeouts_changed |= arguments[0] == "--set"
        done = self.balancer.command("ipvsadm", *arguments)
        if done.returncode or done.stderr:
            raise LabError(f"ipvsadm {' '.join(arguments)}: {done.returncode}: {done.stderr}")
        return done.stdout

    def sysctl(self, name: str, value: int) -> None:
        """Set net.ipv4.vs.*name* until the next ``reset``."""
        self.flush()
        self._changed.add(name)
        done = self.balancer.command("sysctl", f"net.ipv4.vs.{name}={value}")
        if done.returncode:
            raise LabError(f"penstock sysctl {name}: {done.stderr}")

    def connections(self, wanted: str = "") -> list[tuple[str, ...]]:
        """``-Lnc``'s rows in columns without the expiry; those with *wanted* in them, sorted."""
        rows = (line.split() for line in self.ipvsadm("-Lnc").splitlines()[2:] if wanted in line)
        return sorted((row[0], *row[2:]) for row in rows)

    def expiry(self, *wanted: str) -> int:
        """Seconds that the one connection with all of *wanted* in its row still has."""
        rows = self.ipvsadm("-Lnc").splitlines()[2:]
        (line,) = (row for row in rows if all(one in row for one in wanted))
        minutes, seconds = line.split()[1].split(":")
        return int(minutes) * 60 + int(seconds)

    def service(
        self,
        scheduler: str,
        options: str = "",
        *,
        family: int = 4,
        udp: bool = False,
        port: int = 0,
    ) -> Service:
        """A new virtual service on an address that no test has used yet."""
        self._addresses += 1
        vip = f"203.0.113.{self._addresses}" if family == 4 else f"2001:db8::{self._addresses:x}"
        return Service(self, vip, port or (53 if udp else 80), scheduler, options, udp=udp)

    def address(self) -> str:
        """A VIP of its own for what is no Service."""
        self._addresses += 1
        return f"203.0.113.{self._addresses}"

    def answer_directly(self, *numbers: int) -> None:
        """Let these reals have the VIPs and answer clients past the director, from now on."""
        for number in set(numbers) - self._direct:
            self.site.answer_directly(self.site.reals[number - 1])
            self._direct.add(number)

    def steps(self, address: str, port: int, timeout: float) -> Steps:
        made = self.site.steps(address, port, timeout)
        self._steps.append(made)
        return made

    def reset(self) -> None:
        """No services, nothing held, timeouts and sysctls as they were at the start."""
        while self._steps:
            self._steps.pop().close()
        self._pending.clear()
        self.later("-C")
        if self._timeouts_changed:
            self.ipvsadm("--set", "900", "120", "300")
            self._timeouts_changed = False
        for name in self._changed:
            self.balancer.command("sysctl", f"net.ipv4.vs.{name}={_DEFAULTS[name]}")
        self._changed.clear()


class Service:
    """One virtual service, and clients that ask it."""

    def __init__(
        self,
        director: Director,
        vip: str,
        port: int,
        scheduler: str,
        options: str,
        *,
        udp: bool,
    ) -> None:
        self.director = director
        self.vip = vip
        self.port = port
        self._six = ":" in vip
        self._udp = udp
        self.text = f"[{vip}]:{port}" if self._six else f"{vip}:{port}"
        self.key = f"{'-u' if udp else '-t'} {self.text}"
        # Where everything happens on one CPU, the ICMPv6 error comes while connect() still holds
        # the socket: the client hears only the one that its next SYN brings, a second later.
        self._steps = director.steps(vip, port, timeout=1.5 if self._six and not udp else 0.5)
        director.later(f"-A {self.key} -s {scheduler} {options}")

    def real(self, number: int, port: int = 0) -> str:
        """Real *number*'s address and port, as ipvsadm wants it."""
        port = self.port if port == 0 else port
        return f"[fd00:1::{number}]:{port}" if self._six else f"10.0.1.{number}:{port}"

    def add(self, reals: Mapping[int, int] | Iterable[int], options: str = "-m") -> Service:
        """Add these reals in order, with their weights if it is a mapping; gives itself."""
        weights = reals if isinstance(reals, Mapping) else dict.fromkeys(reals, 1)
        self.director.admin(
            *(
                f"-a {self.key} -r {self.real(number)} {options} -w {weight}"
                for number, weight in weights.items()
            )
        )
        return self

    def edit(self, number: int, weight: int, options: str = "-m") -> None:
        self.director.admin(f"-e {self.key} -r {self.real(number)} {options} -w {weight}")

    def remove(self, *numbers: int) -> None:
        self.director.admin(*(f"-d {self.key} -r {self.real(number)}" for number in numbers))

    def change(self, scheduler: str, options: str = "") -> None:
        """``-E``."""
        self.director.admin(f"-E {self.key} -s {scheduler} {options}")

    def ask(self, *clients: int | str) -> str:
        """Who answers one exchange from each client, in order; "5:4000" is client 5's port 4000."""
        kind = "u" if self._udp else "s"
        return "".join(self._who(f"{kind} x {self.source(client)}") for client in clients)

    def hold(self, *clients: int | str) -> str:
        """Who answers, and the connections stay; ``release`` names them by client."""
        return "".join(self._who(f"o {client} {self.source(client)}") for client in clients)

    def release(self, *clients: int | str) -> None:
        for client in clients:
            self._steps.step(f"c {client}")

    def held(self, client: int | str) -> str:
        """Who answers on a connection that is held."""
        connection = self.connection(client)
        try:
            connection.send(b"?")
            return _number(connection.recv(4096).decode())
        except TimeoutError:
            return "?"
        except OSError:
            return "-"

    def connection(self, client: int | str) -> socket.socket:
        """The client's end of a connection that is held."""
        return self._steps.held(str(client))

    def counted(self) -> dict[int, Counted]:
        """The listing of each destination, by the real's number."""
        listing = self.director.ipvsadm("-Ln", *self.key.split())
        return {
            int(found[1], 16 if self._six else 10): Counted(
                found[2], int(found[3]), int(found[4]), int(found[5])
            )
            for found in map(_ROW.match, listing.splitlines())
            if found
        }

    def delete(self) -> None:
        self.director.admin(f"-D {self.key}")

    def source(self, client: int | str) -> str:
        """A client's address, with the port where one is given."""
        number, colon, port = str(client).partition(":")
        if self._six:
            address = f"fd50::{int(number):x}"
            return f"[{address}]:{port}" if colon else address
        return f"10.50.{int(number) >> 8}.{int(number) & 255}{colon}{port}"

    def _who(self, step: str) -> str:
        self.director.flush()
        return _number(self._steps.step(step).split(" ", 3)[3])


def _number(answer: str) -> str:
    if found := re.match(r"rs(\d)", answer):
        return found[1]
    if "timed out" in answer:
        return "?"
    return "-" if "refused" in answer else "!"
