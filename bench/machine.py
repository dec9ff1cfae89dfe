# SPDX-License-Identifier: Apache-2.0
"""What the machine says of itself in /proc: CPU time, memory, the processes below a process."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

TICK_SECONDS: Final = 1 / os.sysconf("SC_CLK_TCK")
_CPUS: Final = os.cpu_count() or 1
_KTHREADD: Final = "2"  # the kernel's threads are children of this process
MIB: Final = 1 << 20
_CALM_SHARE: Final = 0.15
_LOOK_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class CpuTime:
    """CPU time of all processors so far, seconds; only differences mean something."""

    busy: float  # programs, kernel, interrupts and soft interrupts
    idle: float  # idle and waiting for I/O; what the hypervisor stole is in neither

    @classmethod
    def now(cls) -> Self:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
        numbers = [int(word) * TICK_SECONDS for word in first.split()[1:9]]
        idle, stolen = numbers[3] + numbers[4], numbers[7]
        # Idle time is clocked, while the kernel takes samples (CONFIG_HZ) of who is busy.
        return cls(time.monotonic() * _CPUS - idle - stolen, idle)

    def since(self, before: CpuTime) -> CpuTime:
        return CpuTime(self.busy - before.busy, self.idle - before.idle)

    @property
    def share(self) -> float:
        """Busy part of it, 0 to 1."""
        return self.busy / max(self.busy + self.idle, TICK_SECONDS)


def others_cpu() -> float:
    """CPU time of all programs that do not run below this one, their ended children's included.

    The kernel's own threads are not among them: ksoftirqd carries the packets of us all.
    """
    ours = set(with_descendants(os.getpid()))
    total = 0
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) not in ours:
            with contextlib.suppress(OSError):  # it has ended
                fields = _stat(int(path.name))
                if _KTHREADD not in (path.name, fields[1]):  # itself, or its child
                    total += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return total * TICK_SECONDS


def wait_for_calm(seconds: float) -> float:
    """Wait until others leave the machine alone, *seconds* at most; the busy share seen last."""
    deadline = time.monotonic() + seconds
    while True:
        before = CpuTime.now()
        time.sleep(_LOOK_SECONDS)
        share = CpuTime.now().since(before).share
        if share <= _CALM_SHARE or time.monotonic() >= deadline:
            return share


def process_cpu(pid: int) -> float:
    """User and system time of a process so far, seconds."""
    return sum(map(int, _stat(pid)[11:13])) * TICK_SECONDS  # proc_pid_stat(5): utime, stime


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return text.rpartition(")")[2].split()  # the name before it may hold spaces


def with_descendants(pid: int) -> list[int]:
    """*pid* and every process below it."""
    children: list[str] = []
    with contextlib.suppress(OSError):  # it, or one of its threads, has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += (thread / "children").read_text(encoding="ascii").split()
    return [pid, *(one for child in children for one in with_descendants(int(child)))]


def proportional_bytes(pids: Iterable[int]) -> int:
    """Memory of processes together (PSS: pages they share with others count in part).

    BPF maps in their address space are left out: those are the kernel's, and counted there.
    """
    total = 0
    for pid in pids:
        counts = True
        for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
            first = line.split(maxsplit=1)[0]
            if not first.endswith(":"):  # the head of a mapping, proc_pid_smaps(5)
                counts = "bpf-map" not in line
            elif counts and first == "Pss:":
                total += int(line.split()[1]) << 10
    return total


@dataclass(frozen=True, slots=True)
class Memory:
    """The whole machine's memory, bytes."""

    available: int
    slab: int  # the kernel's objects: sockets, connection tracking

    @classmethod
    def now(cls) -> Self:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}
        return cls(fields["MemAvailable"], fields["Slab"])
