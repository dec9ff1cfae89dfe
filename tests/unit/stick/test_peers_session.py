# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stick import peers_wire as wire
from penstock.stick.model import KeyType, Stored, TableSpec
from penstock.stick.peers_session import (
    HEARTBEAT,
    SILENCE,
    Code,
    Lesson,
    PeerSession,
    Progress,
    State,
)
from penstock.stick.table import Entry, Table

_SPECS = (
    TableSpec("a", KeyType.INTEGER, 1000, expire=10_000, stored=(Stored("gpc0"),)),
    TableSpec("p/b", KeyType.STRING, 1000, key_length=8, stored=(Stored("server_key"),)),
)


def _tables(*specs: TableSpec) -> dict[str, Table]:
    return {spec.wire_name: Table(spec, shared=True) for spec in specs or _SPECS}


def _count(table: Table, key: int, amount: int, now: int) -> Entry:
    entry = table.enter(key, now)
    assert entry is not None
    table.add(entry, "gpc0", amount, now)
    table.touch(entry, now)
    return entry


def _counts(table: Table, now: int) -> dict[object, object]:
    return {entry.key: table.read(entry, "gpc0", now) for entry in table.rows(now)}


class Pair:
    """A connector and a listener whose bytes arrive at once."""

    def __init__(
        self,
        here: Mapping[str, Table],
        there: Mapping[str, Table],
        now: int = 0,
        *,
        learn: bool = False,
        progress: Progress | None = None,
        minor: int = 1,
        there_complete: bool = True,
    ) -> None:
        self.now = now
        self.here = PeerSession(
            "me", here, now, remote="you", learn=learn, progress=progress, minor=minor
        )
        self.there = PeerSession("you", there, now, known={"me"}, complete=there_complete)
        self.run()

    def run(self, piece: int = 1 << 20) -> bytes:
        """Exchange until both are silent; what the connector sent."""
        said = b""
        while True:
            self.here.push(self.now)
            self.there.push(self.now)
            out, back = self.here.take(), self.there.take()
            if not out and not back:
                return said
            said += out
            for at in range(0, len(out), piece):
                self.there.receive(out[at : at + piece], self.now)
            for at in range(0, len(back), piece):
                self.here.receive(back[at : at + piece], self.now)


def test_the_hello() -> None:
    session = PeerSession("me", {}, 0, remote="you", process=4711)
    assert session.take() == b"HAProxyS 2.1\nyou\nme 4711 1\n"


def test_both_know_when_it_is_open() -> None:
    pair = Pair(_tables(), _tables())
    assert (pair.here.state, pair.there.state) == (State.OPEN, State.OPEN)
    assert pair.there.remote == "me"
    assert pair.here.code == pair.there.code == Code.SUCCESS


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (b"HTTP 2.1\n", 501),
        (b"HAProxyS\n", 501),
        (b"HAProxyS 3.0\n", 502),
        (b"HAProxyS 2.2\n", 502),
        (b"HAProxyS x\n", 502),
        ("HAProxyS 2.²\n".encode(), 502),
        (b"HAProxyS 2." + b"1" * 5000 + b"\n", 502),
        (b"HAProxyS 2.1\nother\n", 503),
        (b"HAProxyS 2.1\nyou\nstranger 1 1\n", 504),
        (b"HAProxyS 2.1\nyou\nme\n", 501),
        (b"x" * 2000, 501),
    ],
)
def test_who_is_refused(hello: bytes, code: int) -> None:
    session = PeerSession("you", {}, 0, known={"me"})
    session.receive(hello, 0)
    assert session.take() == b"%d\n" % code
    assert session.state is State.CLOSED


def test_a_hello_in_pieces_with_carriage_returns() -> None:
    session = PeerSession("you", {}, 0, known={"me"})
    for byte in b"HAProxyS 2.0\r\nyou\r\nme 1 1\r\n":
        session.receive(bytes((byte,)), 0)
    assert session.take() == b"200\n"
    assert session.minor == 0


@pytest.mark.parametrize("status", [b"300\n", b"503\n", b"nonsense\n", b"2" * 5000 + b"\n"])
def test_a_refusal_closes(status: bytes) -> None:
    session = PeerSession("me", {}, 0, remote="you")
    session.receive(status, 0)
    assert session.state is State.CLOSED


def test_changes_go_both_ways() -> None:
    here, there = _tables(), _tables()
    pair = Pair(here, there)
    _count(here["a"], 1, 5, 0)
    _count(there["a"], 2, 6, 0)
    assert pair.here.behind
    pair.run()
    assert not pair.here.behind
    assert _counts(here["a"], 0) == _counts(there["a"], 0) == {1: 5, 2: 6}
    # And nothing goes back to where it came from.
    assert pair.run() == b""


def test_changes_are_incremental_where_they_follow() -> None:
    here, there = _tables(), _tables()
    pair = Pair(here, there)
    for key in range(3):
        _count(here["a"], key, 1, 0)
    said = pair.run()
    kinds = []
    at = 0
    while (found := wire.read_message(said, at)) is not None:
        kinds.append(found[0].kind)
        at = found[1]
    assert kinds == [wire.Kinds.DEFINE, wire.Kinds.UPDATE, *[wire.Kinds.INCREMENTAL] * 2]


def test_what_was_acknowledged_is_not_told_again() -> None:
    here, there = _tables(), _tables()
    progress = Progress()
    _count(here["a"], 1, 5, 0)
    Pair(here, there, progress=progress)
    assert progress.acked == {"a": 1}
    _count(here["a"], 2, 5, 0)
    again = _tables()
    Pair(here, again, progress=progress)
    assert _counts(again["a"], 0) == {2: 5}


def test_an_acknowledgement_of_another_life_does_not_count() -> None:
    here, there = _tables(), _tables()
    _count(here["a"], 1, 5, 0)
    Pair(here, there, progress=Progress({"a": 99}))
    assert _counts(there["a"], 0) == {1: 5}


@pytest.mark.parametrize("minor", [0, 1])
def test_a_lesson_tells_all_that_is_known(minor: int) -> None:
    here, there = _tables(), _tables()
    there["a"].learn(1, ((5,),), 0)  # hearsay, which is not told otherwise
    _count(there["a"], 2, 6, 3000)
    pair = Pair(here, there, 4000, learn=True, minor=minor)
    assert pair.here.lesson is Lesson.FINISHED
    assert _counts(here["a"], 4000) == {1: 5, 2: 6}
    # Who speaks 2.1 says how long an entry has left.
    assert (here["a"].get(1, 10_000) is None) == (minor == 1)
    assert here["a"].get(2, 12_999) is not None
    assert (here["a"].get(2, 13_000) is None) == (minor == 1)


def test_a_teacher_says_that_it_does_not_know_all() -> None:
    pair = Pair(_tables(), _tables(), learn=True, there_complete=False)
    assert pair.here.lesson is Lesson.PARTIAL


def test_changes_during_a_lesson_are_told_after_it() -> None:
    here, there = _tables(), _tables()
    for key in range(3):
        _count(there["a"], key, 1, 0)
    teacher = PeerSession("you", there, 0, known={"me"})
    teacher.receive(b"HAProxyS 2.1\nyou\nme 1 1\n" + wire.control(wire.Control.REQUEST), 0)
    teacher.push(0)
    _count(there["a"], 1, 10, 0)
    _count(there["a"], 7, 1, 0)
    teacher.push(0)  # not yet confirmed: silence
    pupil = PeerSession("me", here, 0, remote="you", learn=True)
    pupil.take()
    pupil.receive(teacher.take(), 0)
    assert _counts(here["a"], 0) == {0: 1, 1: 1, 2: 1}
    teacher.receive(pupil.take(), 0)
    # The pupil asked once more, as it does when it opens.
    teacher.push(0)
    pupil.receive(teacher.take(), 0)
    teacher.receive(pupil.take(), 0)
    teacher.push(0)
    pupil.receive(teacher.take(), 0)
    assert _counts(here["a"], 0) == {0: 1, 1: 11, 2: 1, 7: 1}


def test_tables_that_differ_are_passed_over() -> None:
    here = _tables(_SPECS[0], TableSpec("c", KeyType.IP, 10), TableSpec("d", KeyType.IP, 10))
    other = TableSpec("a", KeyType.STRING, 10, stored=(Stored("gpc0"),))
    there = _tables(other, TableSpec("d", KeyType.IP, 10, stored=(Stored("conn_cnt"),)))
    pair = Pair(here, there)
    _count(here["a"], 1, 5, 0)
    for name in ("c", "d"):
        entry = here[name].enter(7, 0)
        assert entry is not None
        here[name].touch(entry, 0)
    pair.run()
    assert (len(there["a"]), len(there["d"])) == (0, 1)
    assert pair.here.state is State.OPEN


def test_time() -> None:
    pair = Pair(_tables(), _tables())
    assert pair.here.deadline() == HEARTBEAT
    pair.here.tick(HEARTBEAT - 1)
    assert pair.here.take() == b""
    pair.here.tick(HEARTBEAT)
    assert pair.here.take() == wire.control(wire.Control.HEARTBEAT)
    assert pair.here.deadline() == SILENCE
    pair.here.tick(SILENCE)
    assert pair.here.state is State.CLOSED


def test_who_is_heard_of_stays() -> None:
    pair = Pair(_tables(), _tables())
    for now in range(1000, 20_000, 1000):
        pair.now = now
        pair.here.tick(now)
        pair.there.tick(now)
        pair.run()
    assert pair.here.state is pair.there.state is State.OPEN


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"\xff\x00", wire.fault(wire.Fault.PROTOCOL)),
        (wire.table_message(wire.Kinds.DEFINE, b"\x01"), wire.fault(wire.Fault.PROTOCOL)),
        (b"\x0a\x80" + wire.encode(1 << 20), wire.fault(wire.Fault.SIZE)),
        (wire.fault(wire.Fault.PROTOCOL), b""),
    ],
)
def test_what_ends_a_conversation(data: bytes, answer: bytes) -> None:
    pair = Pair(_tables(), _tables())
    pair.here.receive(data, 0)
    assert pair.here.state is State.CLOSED
    assert pair.here.take() == answer


def test_messages_from_later_versions_are_passed_over() -> None:
    pair = Pair(_tables(), _tables())
    pair.here.receive(b"\x00\x17" + wire.table_message(wire.Kinds.ACK, b"\x63\0\0\0\1more"), 0)
    pair.here.receive(b"\x0a\xc8\x02ab", 0)
    # An array without its size.
    unusable = b"\x01\x01a\x02\x04" + wire.encode(1 << 23)
    pair.here.receive(wire.table_message(wire.Kinds.DEFINE, unusable), 0)
    pair.here.receive(wire.update(b"\0\0\0\1\1", number=1), 0)
    assert pair.here.state is State.OPEN


def test_a_large_lesson_comes_in_parts() -> None:
    spec = TableSpec("a", KeyType.INTEGER, 20_000, stored=(Stored("gpc0"),))
    here, there = _tables(spec), _tables(spec)
    for key in range(20_000):
        there["a"].learn(key, ((1,),), 0)
    teacher = PeerSession("you", there, 0, known={"me"})
    teacher.receive(b"HAProxyS 2.1\nyou\nme 1 1\n" + wire.control(wire.Control.REQUEST), 0)
    teacher.push(0)
    assert 65536 < teacher.pending < 70000
    pair = Pair(here, there, learn=True)
    pair.run()
    assert pair.here.lesson is Lesson.FINISHED
    assert len(here["a"]) == 20_000


_STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 9), st.integers(1, 40)), max_size=25
)


@given(_STEPS, st.booleans())
def test_both_end_up_with_the_last_word(
    steps: list[tuple[bool, int, int, int]], learn: bool
) -> None:
    here, there = _tables(), _tables()
    pair = Pair(here, there, learn=learn)
    expected: dict[int, int] = {}
    for mine, key, amount, piece in steps:
        _count((here if mine else there)["a"], key, amount, pair.now)
        expected[key] = expected.get(key, 0) + amount
        pair.run(piece)
    assert _counts(here["a"], pair.now) == _counts(there["a"], pair.now) == expected
    assert pair.here.state is pair.there.state is State.OPEN


@given(st.binary(max_size=200))
def test_any_bytes_are_borne(data: bytes) -> None:
    pair = Pair(_tables(), _tables())
    pair.here.receive(data, 0)
    pair.here.push(0)
    pair.here.take()


_LINES = st.lists(
    st.sampled_from([b"HAProxyS 2.1", b"HAProxyS 2.", b"you", b"me 1 1", b"200", b"\r", b"\xb2"])
    | st.binary(max_size=20),
    max_size=5,
)


@given(_LINES, st.booleans())
def test_any_hello_is_borne(lines: list[bytes], calls: bool) -> None:
    session = PeerSession("you", _tables(), 0, remote="me" if calls else None, known={"me"})
    session.receive(b"\n".join(lines) + b"\n", 0)
    session.take()


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 10, 10, 10, 255]), st.integers(0, 140), st.binary()),
        max_size=8,
    )
)
def test_any_messages_are_borne(messages: list[tuple[int, int, bytes]]) -> None:
    """Well formed outside, behind a definition that can be used."""
    pair = Pair(_tables(), _tables())
    pair.here.receive(wire.define(7, _SPECS[0]), 0)
    for group, kind, body in messages:
        head = bytes((group, kind))
        pair.here.receive(head + (wire.encode(len(body)) + body if kind >= 128 else b""), 0)
        pair.here.push(0)
        pair.here.take()
