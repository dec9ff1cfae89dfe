# SPDX-License-Identifier: Apache-2.0
"""What commands of the Runtime API are given to work with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.control.controller import Controller
from penstock.engine.proxy.handover import Handed
from penstock.logs.rings import Rings
from penstock.runtime_api.registry import Registry
from penstock.runtime_sockets import AccessLevel, RuntimeSocket, SeverityOutput
from penstock.statistics.collector import Collector
from penstock.statistics.roster import Roster
from penstock.statistics.served import Tally
from penstock.statistics.view import View


@dataclass(slots=True)
class Session:
    """What commands see of their client, and may change."""

    level: AccessLevel
    severity: SeverityOutput = SeverityOutput.NONE
    timeout: float = 10.0  # seconds of silence
    interactive: bool = False
    expert: bool = False
    experimental: bool = False
    closing: bool = False  # nothing more is read or written
    bare: bool = False  # no line break after this command
    exposes_listeners: bool = False  # may be handed the listening sockets
    hands_over: bool = False  # they go out now
    granted: AccessLevel = AccessLevel.USER  # the socket's, whatever it was lowered to

    def __post_init__(self) -> None:
        self.granted = self.level


@dataclass(slots=True)
class Runtime:
    """What is the same for all clients."""

    controller: Controller
    registry: Registry
    collector: Collector
    environ: Mapping[str, str] = field(default_factory=dict)
    sockets: tuple[RuntimeSocket, ...] = ()  # that are open
    listeners: Callable[[], Sequence[Handed]] = tuple  # for the next process
    release: Callable[[], bool] = bool  # let go of the kernel engine; whether there was one
    tallies: Callable[[str], Tally | None] = lambda name: None  # of HTTP frontends of our own
    clock: Callable[[], float] = time.monotonic
    began: float = field(default_factory=time.monotonic)  # on ``clock``
    started: float = field(default_factory=time.time)  # the same moment on the wall clock
    rings: Rings | None = None  # None: there are none
    lines_received: Callable[[], int] = int  # by log-forward sections
    roster: Roster = field(default_factory=Roster)
    startup_logs: Sequence[str] = ()  # what was said when penstock was started


@dataclass(frozen=True, slots=True)
class Context:
    """One client's way to everything."""

    runtime: Runtime
    session: Session

    @property
    def controller(self) -> Controller:
        return self.runtime.controller

    def view(self) -> View:
        """All there is to see, at this moment."""
        runtime = self.runtime
        return View(
            runtime.controller,
            runtime.collector,
            runtime.clock(),
            runtime.roster,
            runtime.tallies,
        )
