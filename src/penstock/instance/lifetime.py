# SPDX-License-Identifier: Apache-2.0
"""When a daemon that was started on demand ends: once nobody else uses its network namespace.

A namespace lives for as long as a process is in it. The kernel's IPVS is none and goes with the
namespace; a daemon that stayed would keep it, and its interfaces, after ``ip netns del``. What
uses a namespace is read from /proc: bind mounts, processes and threads in it, open descriptors.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from penstock.instance.runtime import foreign_namespace

_EVERY: Final = 5.0  # seconds between two looks
# One look may fall between two commands of a script that has entered by a descriptor of its own.
_IDLE_LOOKS: Final = 2
_PROC: Final = Path("/proc")


class Lifetime:
    """Takes a look every few seconds; over after so many in a row that found no use.

    *looks* say whether they found one, the cheap ones first: the rest is not asked then.
    """

    def __init__(
        self, looks: Sequence[Callable[[], bool]], now: float, every: float = _EVERY
    ) -> None:
        self._looks = looks
        self._every = every
        self._due = now + every
        self._idle = 0
        self.over = False

    def look(self, now: float) -> bool:
        """Look if it is time to; whether this life is over."""
        if now >= self._due:
            self._due = now + self._every
            self._idle = 0 if any(look() for look in self._looks) else self._idle + 1
            self.over = self._idle >= _IDLE_LOOKS
        return self.over


def of_this_namespace(now: float) -> Lifetime | None:
    """The life of this process; None in the initial namespace, which is always in use."""
    if foreign_namespace() is None:
        return None
    uses = Uses(os.readlink(_PROC / "self/ns/net"))
    return Lifetime((uses.is_mounted, uses.has_processes, uses.is_held), now)


class Uses:
    """Who else refers to the network namespace that /proc calls *name* (``net:[4026532177]``).

    What may not be looked at, being another user's or having ended, does not count.
    """

    def __init__(self, name: str, proc: Path = _PROC, pid: int | None = None) -> None:
        self._name = name
        self._proc = proc
        self._own = str(pid or os.getpid())

    def is_mounted(self) -> bool:
        """Whether a name holds it (``ip netns``, Docker, CNI) among the mounts we see."""
        return self._mounts(self._own)

    def has_processes(self) -> bool:
        """Whether another process is in it."""
        return any(_link(process / "ns/net") == self._name for process in self._processes())

    def is_held(self) -> bool:
        """Whether a thread, a descriptor or a mount that we do not see holds it."""
        seen = {_link(self._proc / self._own / "ns/mnt")}
        for process in self._processes():
            if any(_link(task / "ns/net") == self._name for task in _entries(process / "task")):
                return True
            if any(_link(descriptor) == self._name for descriptor in _entries(process / "fd")):
                return True
            mounts = _link(process / "ns/mnt")
            if mounts not in seen:
                seen.add(mounts)
                if self._mounts(process.name):
                    return True
        return False

    def _processes(self) -> Iterator[Path]:
        for entry in _entries(self._proc):
            if entry.name.isdecimal() and entry.name != self._own:
                yield entry

    def _mounts(self, pid: str) -> bool:
        # number parent major:minor root mountpoint ...: the root of an nsfs mount is its namespace
        with contextlib.suppress(OSError), (self._proc / pid / "mountinfo").open("rb") as lines:
            name = self._name.encode()
            return any(line.split(maxsplit=4)[3] == name for line in lines)
        return False


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
