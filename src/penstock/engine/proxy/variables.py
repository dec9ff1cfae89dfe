# SPDX-License-Identifier: Apache-2.0
"""Variables of the whole process, which rules set in the first worker."""

from __future__ import annotations

from collections.abc import Callable

from penstock.engine.proxy.questions import GetVariable, Question, SetVariable
from penstock.rules.samples import Sample


class ProxyVariables:
    """Asks the first worker and tells all of them; without workers it keeps what is set."""

    def __init__(self, ask: Callable[[Question, int], object], workers: Callable[[], int]) -> None:
        self._ask = ask
        self._workers = workers
        self._set: dict[str, Sample] = {}

    def get(self, name: str) -> Sample | None:
        """Raises DatapathError where the worker does not answer."""
        if not self._workers():
            return self._set.get(name)
        return self._ask(GetVariable(name), 0)  # type: ignore[return-value]  # what was set

    def put(self, name: str, sample: Sample) -> None:
        """Raises DatapathError where a worker does not answer."""
        self._set[name] = sample
        for number in range(self._workers()):
            self._ask(SetVariable(name, sample), number)
