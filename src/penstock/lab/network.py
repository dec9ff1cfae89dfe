# SPDX-License-Identifier: Apache-2.0
"""Network namespaces joined by veth pairs, the processes in them, and their complete removal.

Everything is named after this process, so that several labs run at once, and everything goes when
the ``Network`` is closed: processes first, namespaces after. Processes are started with nsenter,
because ``ip netns exec`` mounts a /sys of its own, in which /sys/fs/bpf is empty.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from penstock.errors import PenstockError

NAMESPACES: Final = Path("/run/netns")
PROGRAMS: Final = ("ip", "nsenter", "setpriv")
_CLONE_NEWNET: Final = 0x40000000  # include/uapi/linux/sched.h
_STOP_SECONDS: Final = 10.0
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = count()


class LabError(PenstockError):
    """The lab could not be set up, or something in it did not do what was waited for."""


def missing() -> str | None:
    """One sentence saying what this machine lacks for a lab; None: nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"the program {program} is missing (Debian, Ubuntu: iproute2, util-linux)"
    return None


def until(what: str, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for *condition*. Raises LabError naming *what* when it does not come about in time."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


class Namespace:
    """One network namespace; made and removed by its ``Network``."""

    def __init__(self, name: str, role: str) -> None:
        self.name = name
        self.role = role
        self.path = NAMESPACES / name
        self.processes: list[subprocess.Popen[bytes]] = []

    def create(self) -> None:
        _ip("netns", "add", self.name)
        # Addresses are usable at once: nobody else is on these links.
        for what in ("all", "default"):
            self.sysctl(f"net/ipv6/conf/{what}/accept_dad", "0")
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> str:
        """Run ``ip`` in here and give what it prints. Raises LabError."""
        return _ip("-n", self.name, *arguments)

    def up(self, interface: str, *addresses: str) -> None:
        """Give *interface* these addresses (``a.b.c.d/len``) and switch it on."""
        for address in addresses:
            nodad = ("nodad",) if ":" in address else ()
            self.ip("address", "add", address, "dev", interface, *nodad)
        self.ip("link", "set", interface, "up")

    def route(self, destination: str, via: str) -> None:
        self.ip("-6" if ":" in via else "-4", "route", "add", destination, "via", via)

    def links_are_up(self) -> bool:
        """Whether every interface that is switched on has its carrier and its IPv6 address."""
        links = [
            line for line in self.ip("-o", "link", "show", "up").splitlines() if "lo:" not in line
        ]
        tentative = self.ip("-o", "-6", "address", "show", "tentative")
        return all(" state UP " in link for link in links) and not tentative

    def forward(self) -> None:
        """Make a router of it."""
        self.sysctl("net/ipv4/ip_forward", "1")
        self.sysctl("net/ipv6/conf/all/forwarding", "1")

    def sysctl(self, name: str, value: str | None = None) -> str:
        """Read ``net/…`` here, after setting it when *value* is given."""
        path = Path("/proc/sys") / name
        with self.entered():
            if value is not None:
                path.write_text(value)
            return path.read_text().strip()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets which this thread makes meanwhile belong to the namespace."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self.path.open("rb") as there:
                _setns(there.fileno())
            try:
                yield
            finally:
                _setns(before)
        finally:
            os.close(before)

    def command(self, *command: str) -> list[str]:
        """*command* as one that runs in here, and gets SIGTERM should this process die."""
        return [
            "nsenter",
            f"--net={self.path}",
            "setpriv",
            "--pdeathsig",
            "TERM",
            *command,
        ]

    def run(
        self,
        *command: str,
        timeout: float = 60.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. Raises LabError with what it said when it fails."""
        done = subprocess.run(  # noqa: S603  # the caller's own program
            self.command(*command),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            input=stdin,
            env=None if env is None else {**os.environ, **env},
        )
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{' '.join(command)}: exit status {done.returncode}: {said}")
        return done

    def start(
        self,
        *command: str,
        output: IO[bytes] | int | None = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program that runs until the network is closed, or until it is stopped."""
        # A session of its own: Ctrl-C reaches us alone, and we stop things in order.
        process = subprocess.Popen(  # noqa: S603  # the caller's own program
            self.command(*command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=None if env is None else {**os.environ, **env},
        )
        self.processes.append(process)
        return process

    def listens(self, port: int, *, udp: bool = False) -> bool:
        """Whether a socket in here is bound (UDP) or listening (TCP) on *port*."""
        kind = "u" if udp else "t"
        out = _run(["ss", "-N", self.name, f"-Hln{kind}", f"sport = :{port}"])
        return bool(out.strip())

    def stop_processes(self) -> None:
        stop(self.processes)
        # Children that outlived the program we started: a daemon among them has to tidy up.
        if self._signal_strangers(signal.SIGTERM):
            with contextlib.suppress(LabError):
                until("the rest to end", lambda: not self._strangers(), _STOP_SECONDS)
            self._signal_strangers(signal.SIGKILL)

    def delete(self) -> None:
        if self.path.exists():
            _ip("netns", "delete", self.name)

    def _signal_strangers(self, number: signal.Signals) -> bool:
        """Whether there are any."""
        found = self._strangers()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return bool(found)

    def _strangers(self) -> list[int]:
        if not self.path.exists():
            return []
        pids = (int(word) for word in _ip("netns", "pids", self.name).split())
        return [pid for pid in pids if pid != os.getpid()]


class Network:
    """The namespaces of one lab. As a context manager it is gone afterwards, come what may."""

    def __init__(self, tag: str = "psl") -> None:
        self._prefix = f"{tag}{os.getpid()}-{next(_numbers)}"
        self.namespaces: list[Namespace] = []
        self._closers: list[Callable[[], None]] = []
        self._indices = count(100)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def namespace(self, role: str) -> Namespace:
        """A new namespace whose name ends in *role*, the second of that role in *role*-2."""
        name = f"{self._prefix}-{role}"
        taken = sum(one.role == role for one in self.namespaces)
        namespace = Namespace(f"{name}-{taken + 1}" if taken else name, role)
        self.namespaces.append(namespace)  # before it exists: an interrupt must not lose it
        namespace.create()
        return namespace

    def settle(self) -> None:
        """Wait until every link that is switched on carries packets. Raises LabError.

        The kernel notices a new link's carrier a moment late and drops what is sent before
        (net/core/link_watch.c).
        """
        until("links to come up", lambda: all(one.links_are_up() for one in self.namespaces))

    def on_close(self, action: Callable[[], None]) -> None:
        """Run *action* before processes are stopped; the last one first."""
        self._closers.append(action)

    def link(
        self, one: Namespace, one_name: str, other: Namespace, other_name: str, mtu: int = 1500
    ) -> None:
        """A veth pair between two namespaces, still down and without addresses."""
        # Both ends numbered alike, as the first ones in two namespaces are, are no veths to the
        # kernel's eyes: it tells of their carrier up to a second late (linkwatch_urgent_event()).
        near, far = str(next(self._indices)), str(next(self._indices))
        _ip(
            *("link", "add", one_name, "index", near, "mtu", str(mtu)),
            *("netns", one.name, "type", "veth"),
            *("peer", "name", other_name, "index", far, "mtu", str(mtu), "netns", other.name),
        )

    def bridge(self, namespace: Namespace, name: str = "br0") -> None:
        """A switch without addresses of its own."""
        namespace.ip("link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        namespace.ip("link", "set", name, "up")

    def close(self) -> None:
        """Stop all processes, remove all namespaces. A second Ctrl-C does not stop it half-way."""
        with _uninterrupted():
            while self._closers:
                self._closers.pop()()
            for namespace in self.namespaces:
                namespace.stop_processes()
            while self.namespaces:
                self.namespaces.pop().delete()


def stop(processes: Sequence[subprocess.Popen[bytes]], seconds: float = _STOP_SECONDS) -> None:
    """SIGTERM to each; SIGKILL to those that still run after *seconds*."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    signals = (signal.SIGINT, signal.SIGTERM)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> str:
    return _run(["ip", *arguments])


def _run(command: list[str]) -> str:
    done = subprocess.run(  # noqa: S603  # ip and ss with our own arguments
        command, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
