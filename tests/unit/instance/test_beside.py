# SPDX-License-Identifier: Apache-2.0
"""An engine that is handed on, and taken up again where the next process has ended too early."""

from __future__ import annotations

import os
import selectors
from types import SimpleNamespace

from penstock.engine.kernel.journal_reader import JournalReader
from penstock.instance.beside import BesideOthers
from penstock.model import EngineKind


class Journal:
    """What the datapath tells: nothing, through a descriptor that is a pipe's."""

    full = 0.0

    def __init__(self) -> None:
        self.end, self.begin = os.pipe()
        self.one_in = 0

    def fileno(self) -> int:
        return self.end

    def thin_out(self, one_in: int) -> None:
        self.one_in = one_in

    def close(self) -> None:
        os.close(self.end)
        os.close(self.begin)


class Engine:
    def __init__(self) -> None:
        self.journal = Journal()
        self._end, self._begin = os.pipe()

    def fileno(self) -> int:
        return self._end

    def close(self) -> None:
        self.journal.close()
        os.close(self._end)
        os.close(self._begin)


class Tenure:
    """Holds the engine, or has let go of it and may open it anew."""

    def __init__(self, engine: Engine) -> None:
        self.engine: Engine | None = engine
        self.next_has_ended = False

    def release(self) -> bool:
        assert self.engine is not None
        self.engine.close()
        self.engine = None
        return True

    def regain(self) -> Engine | None:
        if self.next_has_ended and self.engine is None:
            self.engine = Engine()
            return self.engine
        return None


class Told:
    """The controller, the collector and the log of flows: what each of them was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def let_go(self, what: object) -> None:
        self.calls.append(("let go", what))

    def take_up(self, kind: object, engine: object = None) -> None:
        self.calls.append(("take up", engine or kind))

    def follow(self, journal: object) -> None:
        self.calls.append(("follow", journal))

    def tick(self) -> None:
        self.calls.append(("tick", None))


def test_whoever_looked_at_the_engine_looks_at_it_again() -> None:
    first = Engine()
    tenure, controller, collector, flows = Tenure(first), Told(), Told(), Told()
    reader = JournalReader(first.journal, flows, lambda: 0.0)  # type: ignore[arg-type]
    with selectors.DefaultSelector() as selector:
        selector.register(reader.fileno(), selectors.EVENT_READ)
        selector.register(first.fileno(), selectors.EVENT_READ)
        workers = [reader]
        others = BesideOthers(
            SimpleNamespace(tenure=tenure),  # type: ignore[arg-type]
            selector,
            controller,  # type: ignore[arg-type]
            collector,  # type: ignore[arg-type]
            workers,  # type: ignore[arg-type]
        )
        assert others.release()
        assert not others.release()
        assert workers == []
        others.regain()  # the next one has it
        assert tenure.engine is None
        tenure.next_has_ended = True
        others.regain()
        again = tenure.engine
        assert again is not None
        assert workers == [reader]
        assert set(selector.get_map()) == {again.fileno(), again.journal.fileno()}
        assert again.journal.one_in == reader.one_in
        assert flows.calls == [("follow", again.journal)]
        assert collector.calls == [("let go", first), ("take up", again)]
        assert controller.calls == [("let go", EngineKind.KERNEL), ("take up", again)]
        others.regain()  # nothing is taken up twice
        assert workers == [reader]
        again.close()
