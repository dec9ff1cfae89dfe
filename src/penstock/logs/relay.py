# SPDX-License-Identifier: Apache-2.0
"""Which targets of a ``log-forward`` section get a line of somebody else's, and in what shape."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.logs.model import RingBuffer, Target
from penstock.logs.outlet import Means, Sampler
from penstock.logs.received import Received, read
from penstock.logs.relayed import heading_of, relayed_head


class Relay:
    """One section's."""

    __slots__ = ("_means", "_ways")

    def __init__(self, targets: Iterable[Target], means: Means) -> None:
        self._means = means
        self._ways = tuple(_Way(target, means) for target in targets)

    def pass_on(self, line: bytes) -> None:
        """*line* as it came, without what ended it."""
        received = read(line.rstrip(b"\n\0"))
        now = self._means.clock()
        for way in self._ways:
            way.pass_on(received, now)


class _Way:
    """To one target."""

    __slots__ = ("_means", "_sampler", "_send", "_target")

    def __init__(self, target: Target, means: Means) -> None:
        self._target = target
        self._means = means
        self._sampler = None if target.sampling is None else Sampler(target.sampling)
        self._send = means.open_sink(target.destination)

    def pass_on(self, received: Received, now: int) -> None:
        target = self._target
        said = -1 if received.level is None else received.level
        if said > target.level or (self._sampler is not None and not self._sampler.takes()):
            return
        facility = target.facility if received.facility is None else received.facility
        heading = target.heading or heading_of(received)
        level = max(said, int(target.floor))
        head = relayed_head(heading, received, (int(facility), level), self._means.dates, now)
        if isinstance(target.destination, RingBuffer):
            text = received.text[: target.length]
            self._send((head + text)[: target.destination.longest])
        else:
            self._send((head + received.text)[: target.length] + b"\n")
