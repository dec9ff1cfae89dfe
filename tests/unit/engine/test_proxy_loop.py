# SPDX-License-Identifier: Apache-2.0
"""Deadlines of the proxy's loop, against a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.proxy.loop import Loop

GRAIN = 0.02


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class One:
    loop: Loop
    seen: float = 0.0
    patience: float | None = None
    moment: int = 0
    expired: list[float] = field(default_factory=list)

    def wait(self, patience: float | None) -> None:
        self.patience, self.seen = patience, self.loop.now
        self.loop.watch(self)

    def expire(self) -> None:
        self.expired.append(self.loop.now)


def at(loop: Loop, clock: Clock, moment: float) -> None:
    clock.now = moment
    loop.turn(0)


# Of one session: seconds to the next act, and what it is: seen, another patience, or none.
acts = st.lists(
    st.tuples(
        st.floats(0.01, 3.0),
        st.one_of(st.just("seen"), st.none(), st.sampled_from([0.5, 2.0, 5.0])),
    ),
    max_size=12,
)


@given(st.lists(acts, min_size=1, max_size=5))
def test_everybody_expires_after_its_own_silence(
    everybody: list[list[tuple[float, object]]],
) -> None:
    clock = Clock()
    loop = Loop(clock)
    start = clock.now
    sessions = [One(loop) for _ in everybody]
    due: list[tuple[float, One, object]] = []
    for one, script in zip(sessions, everybody, strict=True):
        moment = start
        one.wait(2.0)
        for wait, act in script:
            moment += wait
            due.append((moment, one, act))
    expected: dict[int, float | None] = {id(one): start + 2.0 for one in sessions}
    for moment, one, act in sorted(due, key=lambda item: item[0]):
        at(loop, clock, moment)
        deadline = expected[id(one)]
        if one.expired:
            assert deadline is not None
            continue
        assert deadline is None or deadline > moment - 3 * GRAIN
        if act == "seen":
            one.seen = loop.now
            expected[id(one)] = None if one.patience is None else loop.now + one.patience
        else:
            assert act is None or isinstance(act, float)
            one.wait(act)
            expected[id(one)] = None if act is None else loop.now + act
    for step in range(400):
        at(loop, clock, clock.now + GRAIN * (step % 2 + 1))
    for one in sessions:
        deadline = expected[id(one)]
        assert len(one.expired) == (deadline is not None)
        if deadline is not None:
            # Turns were as far apart as acts are; never early.
            assert one.expired[0] >= deadline - 1e-6
    loop.close()


def test_one_that_was_seen_late_does_not_wait_for_those_behind_it() -> None:
    clock = Clock()
    loop = Loop(clock)
    first, second = One(loop), One(loop)
    first.wait(30.0)
    at(loop, clock, 1001.0)
    first.seen = loop.now
    at(loop, clock, 1029.0)
    second.wait(30.0)
    at(loop, clock, 1030.1)  # first is found to have been seen since
    assert not first.expired
    at(loop, clock, 1031.1)
    assert first.expired
    assert not second.expired
    loop.close()


def test_a_nearer_deadline_counts_at_once_and_one_that_is_gone_never() -> None:
    clock = Clock()
    loop = Loop(clock)
    one, gone = One(loop), One(loop)
    one.wait(600.0)
    gone.wait(1.0)
    one.wait(1.0)
    loop.unwatch(gone)
    at(loop, clock, 1002.0)
    assert one.expired == [1002.0]
    assert not gone.expired
    loop.close()


def test_one_that_expires_may_end_another_of_the_same_moment() -> None:
    clock = Clock()
    loop = Loop(clock)
    other = One(loop)

    class Ends(One):
        def expire(self) -> None:
            super().expire()
            other.patience = None
            loop.unwatch(other)

    one = Ends(loop)
    one.wait(1.0)
    other.wait(1.0)
    at(loop, clock, 1002.0)
    assert one.expired
    assert not other.expired
    loop.close()


def test_a_fault_in_what_is_late_costs_nobody_else() -> None:
    clock = Clock()
    loop = Loop(clock)
    faults: list[tuple[object, str]] = []
    loop.on_late_fault = lambda late, fault: faults.append((late, str(fault)))

    class Faulty(One):
        def expire(self) -> None:
            raise ValueError("expired")

    def fail() -> None:
        raise ValueError("called")

    faulty, other = Faulty(loop), One(loop)
    calls: list[str] = []
    for one in (faulty, other):
        one.wait(1.0)
    loop.later(1.0, fail)
    loop.later(1.0, lambda: calls.append("later"))
    loop.again(fail)
    loop.again(lambda: calls.append("again"))
    at(loop, clock, 1000.0)
    at(loop, clock, 1002.0)
    assert faults == [(None, "called"), (faulty, "expired"), (None, "called")]
    assert calls == ["again", "later"]
    assert other.expired == [1002.0]
