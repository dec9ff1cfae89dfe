# SPDX-License-Identifier: Apache-2.0
"""An ``Admission`` as the steps that the datapath takes (types.h, struct step). Pure.

A step goes on at one of two others, always further down, so that alternatives (several ranges of
ports) and the end of a stage are jumps and need no steps of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.admission import (
    MAX_COUNT,
    AddressTest,
    Admission,
    AdmissionRule,
    AdmissionTest,
    CountTest,
    End,
    Increment,
    NetworkSet,
    PortTest,
    Ranges,
    SourceTable,
    Track,
    Verdict,
)
from penstock.errors import DatapathError
from penstock.rules.model import Stage

MAX_STEPS: Final = 1024  # admit.h, MANY_STEPS squared
_NEVER: Final[Ranges] = ((1, 0),)
_ADDRESS = {End.SOURCE: "source", End.DESTINATION: "destination"}
_TURNED = {Stage.CONNECTION: "connection", Stage.SESSION: "session", Stage.CONTENT: "request"}
_PORT = {End.SOURCE: "source-port", End.DESTINATION: "destination-port"}


@dataclass(frozen=True, slots=True)
class Step:
    """One step; ``then`` and ``otherwise`` count from the first one."""

    kind: str  # enum step_kind, in the model's spelling
    then: int = 0
    otherwise: int = 0
    low: int = 0
    high: int = MAX_COUNT
    of: NetworkSet | SourceTable | None = None
    tracked: bool = False
    turned: str = ""  # enum turned: what a refusal is counted as


def steps_of(admission: Admission) -> tuple[Step, ...]:
    """The steps, to be begun with the first; empty: everybody is admitted and nothing counted.

    Raises DatapathError where they are more than the datapath takes.
    """
    plan = _Plan()
    entry = accepted = plan.add(Step("accept"))
    for stage in reversed(admission.stages):
        behind = following = entry
        for rule in reversed(stage):
            following = plan.rule(rule, behind, following)
        entry = following
    if entry == accepted:
        return ()
    steps = plan.forward(entry)
    if len(steps) > MAX_STEPS:
        raise DatapathError(f"its rules need {len(steps)} steps; the datapath takes {MAX_STEPS}")
    return steps


class _Plan:
    """Steps from the last to the first: each is added after those it may go on at."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._verdicts: dict[tuple[Verdict, str], int] = {}

    def add(self, step: Step) -> int:
        self._steps.append(step)
        return len(self._steps) - 1

    def rule(self, rule: AdmissionRule, behind: int, following: int) -> int:
        """Where *rule* begins; *behind* comes after its stage, *following* is the next rule."""
        match rule.action:
            case Verdict.ACCEPT:
                at = behind
            case Verdict():
                at = self._refusal(rule.action, rule.stage)
            case Track(table):
                at = self.add(Step("track", following, following, of=table))
            case Increment(table):
                at = self.add(Step("increment", following, following, of=table, tracked=True))
        for test in reversed(rule.tests):
            at = self._test(test, at, following)
        return at

    def _refusal(self, verdict: Verdict, stage: Stage) -> int:
        """HAProxy counts what it drops silently as requests, though it may have been no session."""
        turned = _TURNED[stage]
        if verdict is Verdict.DROP and stage is not Stage.CONTENT:
            turned = "dropped"
        if (verdict, turned) not in self._verdicts:
            self._verdicts[verdict, turned] = self.add(Step(verdict.value, turned=turned))
        return self._verdicts[verdict, turned]

    def _test(self, test: AdmissionTest, holds: int, fails: int) -> int:
        yes, no = (fails, holds) if test.negated else (holds, fails)
        match test:
            case AddressTest():
                return self.add(Step(_ADDRESS[test.end], yes, no, of=test.networks))
            case PortTest():
                return self._ranges(Step(_PORT[test.end]), test.ranges, yes, no)
            case CountTest():
                step = Step(test.counter.value, of=test.table, tracked=test.tracked)
                return self._ranges(step, test.ranges, yes, no)

    def _ranges(self, model: Step, ranges: Ranges, yes: int, no: int) -> int:
        for low, high in reversed(ranges or _NEVER):
            no = self.add(Step(model.kind, yes, no, low, high, model.of, model.tracked))
        return no

    def forward(self, entry: int) -> tuple[Step, ...]:
        """The steps in the order in which they are taken; nothing before *entry* is reached."""
        return tuple(
            Step(
                one.kind,
                max(entry - one.then, 0),
                max(entry - one.otherwise, 0),
                one.low,
                one.high,
                one.of,
                one.tracked,
                one.turned,
            )
            for one in reversed(self._steps[: entry + 1])
        )
