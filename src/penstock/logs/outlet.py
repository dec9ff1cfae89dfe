# SPDX-License-Identifier: Apache-2.0
"""Which of a proxy's targets gets a line, and in what shape. Pure: sinks and clock are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from penstock.logs.dates import Dates
from penstock.logs.heading import Sender, head_of
from penstock.logs.model import Destination, Journal, Naming, RingBuffer, Sampling, Target

Send = Callable[[bytes], None]
Open = Callable[[Destination], Send]


class Sampler:
    """The places of a ``sample`` in turn; as HAProxy's, it counts what a level has let through."""

    __slots__ = ("_at", "_place", "_sampling")

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._place = 0
        self._at = 0  # the range that is next

    def takes(self) -> bool:
        sampling = self._sampling
        place = self._place + 1
        low, high = sampling.ranges[self._at]
        inside = low <= place <= high
        if inside and place == high:
            self._at = (self._at + 1) % len(sampling.ranges)
        self._place = place % sampling.size
        return inside


class _Way:
    """To one target."""

    __slots__ = ("event", "floor", "head", "length", "level", "room", "sampler", "send")

    def __init__(self, target: Target, sender: Sender, means: Means) -> None:
        self.level = int(target.level)
        self.floor = int(target.floor)
        self.length = target.length
        self.room = target.length - 1  # for all but the LF
        to = target.destination
        self.event = to.longest if isinstance(to, RingBuffer) else 0  # bytes of a ring's event
        self.sampler = Sampler(target.sampling) if target.sampling is not None else None
        self.send = means.open_sink(target.destination)
        self.head = head_of(
            target.heading,
            target.facility,
            sender,
            means.dates,
            send_hostname=means.send_hostname,
        )


@dataclass(frozen=True, slots=True)
class Means:
    """What all of a process's lines are made and sent with."""

    sender: Sender  # as the configuration names it
    send_hostname: bool
    dates: Dates
    open_sink: Open
    clock: Callable[[], int]  # nanoseconds since 1970

    def named(self, naming: Naming) -> Means:
        """As *naming* has it."""
        return replace(self, sender=self.sender.named(naming), send_hostname=naming.send_hostname)


class Outlet:
    """Where one proxy's lines go."""

    __slots__ = ("_clock", "_ways", "lines")

    def __init__(self, journal: Journal, means: Means) -> None:
        sender = means.sender if journal.tag is None else replace(means.sender, tag=journal.tag)
        self._clock = means.clock
        self.lines = 0  # of sessions (``%lc``)
        self._ways = tuple(_Way(target, sender, means) for target in journal.targets)

    def __bool__(self) -> bool:
        return bool(self._ways)

    def write(self, level: int, line: str, structured: bytes = b"") -> None:
        """*line* has no LF; *structured* is RFC 5424's, with a blank at its end."""
        now = self._clock()
        text = line.encode("utf-8", "surrogateescape")
        for way in self._ways:
            if level > way.level or (way.sampler is not None and not way.sampler.takes()):
                continue
            head = way.head(max(level, way.floor), now, structured)
            if way.event:
                way.send((head + text[: way.length])[: way.event])
            else:
                way.send((head + text)[: way.room] + b"\n")
