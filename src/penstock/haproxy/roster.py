# SPDX-License-Identifier: Apache-2.0
"""The processes that a master looks after; told to its next self through the environment. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Final

VARIABLE: Final = "PENSTOCK_MASTER"


@dataclass(slots=True)
class Child:
    pid: int
    since: int  # seconds since the epoch
    version: str = "-"
    program: str | None = None  # its name in the configuration; None: it is a worker
    link: int = -1  # descriptor by which a worker is passed clients
    reloads: int = 0  # that it has outlived
    leaving: bool = False

    @property
    def is_worker(self) -> bool:
        return self.program is None


@dataclass(slots=True)
class Roster:
    """Everything that a master knows."""

    since: int = 0
    reloads: int = 0
    failed: int = 0  # reloads, in a row
    waits: bool = False  # the configuration is read and runs: there is nothing to start
    survives: bool = False  # master-worker no-exit-on-failure
    children: list[Child] = field(default_factory=list)

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Roster:
        """What ``to_text()`` made."""
        known = json.loads(text)
        known["children"] = [Child(**one) for one in known["children"]]
        return cls(**known)

    def workers(self, *, leaving: bool) -> Iterator[Child]:
        return (one for one in self.children if one.is_worker and one.leaving is leaving)

    def programs(self, *, leaving: bool) -> Iterator[Child]:
        return (one for one in self.children if not one.is_worker and one.leaving is leaving)

    def current(self) -> Child | None:
        """The worker that takes connections."""
        return next(self.workers(leaving=False), None)

    def find(self, prefix: str) -> Child | None:
        """The worker that ``@1`` (by age) or ``@!1234`` (by process id) means."""
        text = prefix[1:]
        if text.startswith("!"):
            number = text[1:]
            found = (one for one in self.children if one.is_worker and str(one.pid) == number)
            return next(found, None)
        return self.current() if text == "1" else None

    def table(self, pid: int, version: str, now: int) -> str:
        """What ``show proc`` answers; *pid* is the master's."""
        lines = [
            "#" + _row("<PID>", "<type>", "<reloads>", "<uptime>", "<version>", first=14),
            _row(
                str(pid),
                "master",
                f"{self.reloads} [failed: {self.failed}]",
                _uptime(now - self.since),
                version,
            ),
            "# workers",
            *(_line(one, now) for one in self.workers(leaving=False)),
        ]
        if old := list(self.workers(leaving=True)):
            lines += ["# old workers", *(_line(one, now) for one in old)]
        lines += ["# programs", *(_line(one, now) for one in self.programs(leaving=False))]
        if old := list(self.programs(leaving=True)):
            lines += ["# old programs", *(_line(one, now) for one in old)]
        return "\n".join(lines) + "\n"


def _row(*cells: str, first: int = 15) -> str:
    widths = (first, 15, 15, 15, 15)
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


def _line(one: Child, now: int) -> str:
    kind = one.program or "worker"
    return _row(str(one.pid), kind, str(one.reloads), _uptime(now - one.since), one.version)


def _uptime(seconds: int) -> str:
    minutes, second = divmod(max(seconds, 0), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}d{hour:02}h{minute:02}m{second:02}s"
