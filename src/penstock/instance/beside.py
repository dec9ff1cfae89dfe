# SPDX-License-Identifier: Apache-2.0
"""What a process does for the one that comes next, and for its master."""

from __future__ import annotations

import selectors
import signal
from dataclasses import dataclass, field
from functools import partial

from penstock.control.controller import Controller
from penstock.engine.kernel.journal_reader import JournalReader
from penstock.instance.main_loop import Worker, register, run_once
from penstock.instance.tenure import Beside
from penstock.model import EngineKind
from penstock.runtime_api.context import Runtime
from penstock.runtime_api.server import RuntimeServer
from penstock.statistics.collector import Collector


@dataclass(frozen=True, slots=True)
class BesideOthers:
    """One of several processes in haproxy's place."""

    beside: Beside
    selector: selectors.BaseSelector
    controller: Controller
    collector: Collector
    workers: list[Worker]
    readers: list[JournalReader] = field(default_factory=list)  # of an engine that we let go of

    def answer(self, commands: Runtime, runtime: RuntimeServer, pending: set[int]) -> None:
        """Hand over what they ask for; end with the master."""
        commands.listeners = self.beside.proxy.hand_over
        commands.release = self.release
        runtime.listen_for_next(str(self.beside.paths.succession))
        if self.beside.master is not None:
            runtime.attach(self.beside.master, lambda: pending.add(int(signal.SIGTERM)))
        self.beside.proxy.settled()

    def release(self) -> bool:
        """Let go of the kernel engine, and of everything that looks at it."""
        tenure = self.beside.tenure
        if tenure.engine is None:
            return False
        self.controller.let_go(EngineKind.KERNEL)
        self.collector.let_go(tenure.engine)
        self.selector.unregister(tenure.engine.fileno())
        for worker in [one for one in self.workers if isinstance(one, JournalReader)]:
            self.selector.unregister(worker.fileno())
            self.workers.remove(worker)
            self.readers.append(worker)
        return tenure.release()

    def regain(self) -> None:
        """Take the kernel engine up again where whoever we let go of it for has ended too early."""
        engine = self.beside.tenure.regain()
        if engine is None:
            return
        for reader in self.readers:
            reader.follow(engine.journal)
            self.workers.append(reader)
            register(self.selector, reader.fileno(), partial(run_once, reader))
        self.readers.clear()
        register(self.selector, engine.fileno(), self.controller.tick)
        self.collector.take_up(engine)
        self.controller.take_up(EngineKind.KERNEL, engine)
