# SPDX-License-Identifier: Apache-2.0
"""One connection with a peer, without the connection: bytes in, bytes out (doc/peers.txt).

Both sides speak alike once the hello is answered. What the other side tells goes into the tables
at once; what changed here is told whenever ``push`` is called. Times in ms.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

from penstock.stick import peers_entries as entries
from penstock.stick import peers_wire as wire
from penstock.stick.peers_view import SharedView
from penstock.stick.peers_wire import Control, Definition, Fault, Group, Kinds, WireError
from penstock.stick.table import Entry, Table, Value

PROTOCOL: Final = "HAProxyS"
HEARTBEAT: Final = 3000  # PEER_HEARTBEAT_TIMEOUT
SILENCE: Final = 5000  # PEER_RECONNECT_TIMEOUT: who is not heard of for so long is gone
_LINE_MAX: Final = 1024
_STATUS: Final = re.compile(rb"[0-9]{3}")
_BATCH: Final = 65536  # bytes made at a time: a resync of a large table comes in parts


class Code(IntEnum):
    """How a hello is answered."""

    SUCCESS = 200
    TRY_AGAIN = 300
    PROTOCOL = 501
    VERSION = 502
    HOST = 503  # the name it calls us by is not ours
    PEER = 504  # we do not know the name it has


class State(Enum):
    HELLO = "hello"  # a listener waits for it
    STATUS = "status"  # a connector waits for the answer
    OPEN = "open"
    CLOSED = "closed"  # after what is left to send


class Lesson(Enum):
    """Whether we know what the other side knew before."""

    NONE = "none"  # not asked for
    WANTED = "wanted"
    ASKED = "asked"
    FINISHED = "finished"
    PARTIAL = "partial"  # the other side does not know all itself


@dataclass(slots=True)
class Progress:
    """How far a peer has acknowledged our changes: kept from one connection to the next."""

    acked: dict[str, int] = field(default_factory=dict)  # by name of table
    heartbeats_sent: int = 0
    heartbeats_heard: int = 0
    silences: int = 0  # of connections that ended because nothing was heard
    faults: int = 0  # of messages that could not be read


@dataclass(slots=True)
class _Shared:
    """A table as this connection sees it."""

    table: Table
    number: int
    pushed: int = 0
    received: int = 0  # of the other side's changes
    confirmed: int = 0
    definition: Definition | None = None


class PeerSession:
    """A conversation with one peer.

    As a connector, *remote* is whom we call; as a listener *known* are the names that may call.
    *tables* are by the names that peers have for them. *learn* asks for all that the other side
    knows; *complete* says whether we know all ourselves.
    """

    def __init__(
        self,
        local: str,
        tables: Mapping[str, Table],
        now: int,
        *,
        remote: str | None = None,
        known: Container[str] = (),
        progress: Progress | None = None,
        learn: bool = False,
        complete: bool = True,
        process: int = 1,
        minor: int = 1,
    ) -> None:
        self.local = local
        self.remote = remote
        self.state = State.HELLO if remote is None else State.STATUS
        self.code: int | None = None
        self.lesson = Lesson.WANTED if learn else Lesson.NONE
        self.complete = complete
        self.minor = minor
        self._known = known
        self._progress = progress or Progress()
        self._in = bytearray()
        self._out = bytearray()
        self._lines: list[bytes] = []
        self._shared = [
            _Shared(table, number) for number, table in enumerate(tables.values(), start=1)
        ]
        self._current: _Shared | None = None  # whose entries the other side sends
        self._announced: _Shared | None = None  # whose entries we send
        self._sent, self._heard = entries.SentTexts(), entries.HeardTexts()
        self._lesson_left: list[tuple[_Shared, list[Entry]]] | None = None
        self._taught = False  # and not yet confirmed
        self.confirmed = False  # the other side has said that it has learned all
        self._heartbeat = now + HEARTBEAT
        self._last_heard = now
        if remote is not None:
            self._out += f"{PROTOCOL} 2.{minor}\n{remote}\n{local} {process} 1\n".encode()

    # -- bytes and time --------------------------------------------------------------------------

    def take(self) -> bytes:
        """What is to be sent now."""
        out = bytes(self._out)
        self._out.clear()
        return out

    @property
    def pending(self) -> int:
        """Bytes that wait to be taken."""
        return len(self._out)

    def deadline(self) -> int:
        """When ``tick`` is to be called."""
        return min(self._heartbeat, self._last_heard + SILENCE)

    def tick(self, now: int) -> None:
        """Do what time demands: a heartbeat, or giving up on one who is silent."""
        if self.state is State.CLOSED:
            return
        if now >= self._last_heard + SILENCE:
            self.state = State.CLOSED
            self._progress.silences += 1
        elif now >= self._heartbeat:
            self._heartbeat = now + HEARTBEAT
            if self.state is State.OPEN:
                self._out += wire.control(Control.HEARTBEAT)
                self._progress.heartbeats_sent += 1

    @property
    def behind(self) -> bool:
        """Whether ``push`` has something to say."""
        if self.state is not State.OPEN:
            return False
        if self._lesson_left is not None:
            return True
        if self._taught or self.lesson is Lesson.ASKED:
            return False
        return any(shared.pushed != shared.table.update for shared in self._shared)

    @property
    def teaching(self) -> bool:
        """Whether the other side has asked for all, and has not confirmed that it has it."""
        return self._lesson_left is not None or self._taught

    def heartbeat_in(self, now: int) -> int:
        """ms until the next heartbeat is due, if nothing else is said before."""
        return self._heartbeat - now

    def texts(self) -> tuple[dict[int, str], dict[int, str]]:
        """What was sent, and heard, once to be called by a number from 1."""
        return self._sent.known(), self._heard.known()

    def shared(self) -> tuple[SharedView, ...]:
        """Our tables, and how far they have been told."""
        return tuple(
            SharedView(
                one.table.spec.name,
                one.number,
                one.definition.number if one.definition is not None else 0,
                self._progress.acked.get(one.table.spec.wire_name, 0),
                one.pushed,
                one.received,
                one.table.update,
            )
            for one in self._shared
        )

    def use_progress(self, progress: Progress) -> None:
        """As a listener, once ``remote`` is known: how far that peer was last time."""
        self._progress = progress
        for shared in self._shared:
            shared.pushed = self._start(shared)

    def ask(self) -> None:
        """Ask, once the conversation is open, for all that the other side knows."""
        if self.state is State.OPEN:
            self.lesson = Lesson.ASKED
            self._out += wire.control(Control.REQUEST)

    def refuse(self, code: Code) -> None:
        """Answer a hello with *code* and close; what was opened already is just closed."""
        if self.state is State.HELLO:
            self.code = code
            self._out += f"{code}\n".encode()
        self.state = State.CLOSED

    def receive(self, data: bytes, now: int) -> None:
        """Take in what the other side sent."""
        if self.state is State.CLOSED:
            return
        self._last_heard = now
        self._in += data
        try:
            while self.state in (State.HELLO, State.STATUS) and self._line(now):
                pass
            at = 0
            while self.state is State.OPEN and (found := wire.read_message(self._in, at)):
                message, at = found
                self._message(message, now)
            del self._in[:at]
        except wire.Oversized:
            self._fail(Fault.SIZE)
        except WireError:
            self._fail(Fault.PROTOCOL)
        if self.state is State.OPEN:
            self._acknowledge()

    def _fail(self, fault: Fault) -> None:
        self._out += wire.fault(fault)
        self.state = State.CLOSED
        self._progress.faults += 1

    # -- hello -----------------------------------------------------------------------------------

    def _line(self, now: int) -> bool:
        end = self._in.find(b"\n")
        if end < 0:
            if len(self._in) > _LINE_MAX:
                self.refuse(Code.PROTOCOL)
            return False
        line = bytes(self._in[:end]).removesuffix(b"\r")
        del self._in[: end + 1]
        if self.state is State.STATUS:
            self._status(line, now)
            return True
        self._lines.append(line)
        code = self._hello()
        if code is Code.SUCCESS:
            self.code = code
            self._out += f"{code}\n".encode()
            self._open(now)
        elif code is not None:
            self.refuse(code)
        return True

    def _hello(self) -> Code | None:
        """The answer to the lines so far; None: more are to come."""
        text = [line.decode(errors="surrogateescape") for line in self._lines]
        match len(text):
            case 1:
                return self._version(text[0])
            case 2:
                return None if text[1] == self.local else Code.HOST
        name, blank, _ = text[2].partition(" ")
        if not blank:
            return Code.PROTOCOL
        if name not in self._known:
            return Code.PEER
        self.remote = name
        return Code.SUCCESS

    def _version(self, line: str) -> Code | None:
        name, blank, version = line.partition(" ")
        if name != PROTOCOL or not blank:
            return Code.PROTOCOL
        major, dot, minor = version.partition(".")
        if not dot or major != "2" or minor not in ("0", "1"):
            return Code.VERSION
        self.minor = int(minor)
        return None

    def _status(self, line: bytes, now: int) -> None:
        if not _STATUS.fullmatch(line):
            self.state = State.CLOSED
            return
        self.code = int(line)
        if self.code == Code.SUCCESS:
            self._open(now)
        else:
            self.state = State.CLOSED

    def _open(self, now: int) -> None:
        self.state = State.OPEN
        self._heartbeat = now + HEARTBEAT
        for shared in self._shared:
            shared.pushed = self._start(shared)
        if self.lesson is Lesson.WANTED:
            self.ask()

    def _start(self, shared: _Shared) -> int:
        """After which change we begin; an acknowledgement of another life does not count."""
        acked = self._progress.acked.get(shared.table.spec.wire_name, 0)
        return acked if acked <= shared.table.update else 0

    # -- what the other side says ----------------------------------------------------------------

    def _message(self, message: wire.Message, now: int) -> None:
        match message.group:
            case Group.CONTROL:
                self._control(message.kind, now)
            case Group.ERROR:
                self.state = State.CLOSED
            case Group.TABLE:
                self._table_message(message, now)
            case Group.RESERVED:
                raise WireError("a message of the reserved class")

    def _control(self, kind: int, now: int) -> None:
        match kind:
            case Control.REQUEST:
                self._begin_lesson(now)
            case Control.FINISHED | Control.PARTIAL:
                if self.lesson is Lesson.ASKED:
                    finished = kind == Control.FINISHED
                    self.lesson = Lesson.FINISHED if finished else Lesson.PARTIAL
                self._out += wire.control(Control.CONFIRM)
            case Control.HEARTBEAT:
                self._progress.heartbeats_heard += 1
            case Control.CONFIRM:
                if self._taught:
                    self._taught, self.confirmed = False, True
                    for shared in self._shared:
                        self._progress.acked[shared.table.spec.wire_name] = shared.pushed

    def _begin_lesson(self, now: int) -> None:
        self._taught = False
        self._lesson_left = []
        for shared in self._shared:
            # In the order of changes, last one first: taken from the end, the number that is
            # acknowledged at last is the highest.
            rows = sorted(shared.table.rows(now), key=lambda entry: -entry.update)
            self._lesson_left.append((shared, rows))
            # What changes from here on is a change to be told after the lesson.
            shared.pushed = shared.table.update
            shared.table.commit(shared.pushed)

    def _table_message(self, message: wire.Message, now: int) -> None:
        match message.kind:
            case Kinds.DEFINE:
                self._define(message.body)
            case Kinds.SWITCH:
                number = wire.Reader(message.body).number()
                self._current = next(
                    (
                        one
                        for one in self._shared
                        if one.definition is not None and one.definition.number == number
                    ),
                    None,
                )
            case Kinds.ACK:
                reader = wire.Reader(message.body)
                self._acked(reader.number(), reader.word())
            case Kinds.UPDATE | Kinds.INCREMENTAL | Kinds.UPDATE_TIMED | Kinds.INCREMENTAL_TIMED:
                self._update(message, now)

    def _define(self, body: bytes) -> None:
        self._current = None
        try:
            definition = wire.read_definition(body)
        except wire.Unusable:
            return
        for shared in self._shared:
            if shared.definition is not None and shared.definition.number == definition.number:
                shared.definition = None
        for shared in self._shared:
            spec = shared.table.spec
            if spec.wire_name != definition.name:
                continue
            if (spec.key, spec.key_size) == (definition.key, definition.key_size):
                shared.definition = definition
                self._current = shared
            return

    def _update(self, message: wire.Message, now: int) -> None:
        shared = self._current
        if shared is None or shared.definition is None:
            return  # of a table that we do not have
        reader = wire.Reader(message.body)
        if message.kind in (Kinds.UPDATE, Kinds.UPDATE_TIMED):
            shared.received = reader.word()
        else:
            shared.received = shared.received + 1 & 0xFFFFFFFF
        remaining = None
        if message.kind in (Kinds.UPDATE_TIMED, Kinds.INCREMENTAL_TIMED):
            remaining = reader.word()
        table = shared.table
        key = entries.read_key(reader, table.spec)
        said = entries.read_values(reader, shared.definition.layout, self._heard, now)
        values: tuple[tuple[Value, ...] | None, ...] = tuple(
            said.get(data.name) for _, data in table.layout
        )
        entry = table.learn(key, values, now)
        if entry is not None and remaining is not None and table.spec.expire:
            table.expire_at(entry, now + min(remaining, table.spec.expire))

    def _acked(self, number: int, update: int) -> None:
        # HAProxy: what is acknowledged while we teach says nothing of later changes.
        if self._lesson_left is not None or self._taught:
            return
        for shared in self._shared:
            if shared.number == number:
                # Numbers travel without what exceeds 32 bits.
                full = (shared.table.update & ~0xFFFFFFFF) | update
                if full > shared.table.update:
                    full -= 1 << 32
                if full >= 0:
                    self._progress.acked[shared.table.spec.wire_name] = full

    def _acknowledge(self) -> None:
        for shared in self._shared:
            if shared.received != shared.confirmed and shared.definition is not None:
                self._out += wire.ack(shared.definition.number, shared.received)
                shared.confirmed = shared.received

    # -- what we say -----------------------------------------------------------------------------

    def push(self, now: int) -> None:
        """Make messages of what the other side is to know; more is left if ``pending`` is large."""
        if self.state is not State.OPEN:
            return
        if self._lesson_left is not None:
            self._teach(now)
        elif not self._taught and self.lesson is not Lesson.ASKED:
            for shared in self._shared:
                if shared.pushed != shared.table.update:
                    self._push(shared, now)

    def _push(self, shared: _Shared, now: int) -> None:
        table = shared.table
        self._announce(shared)
        first = True
        for entry in table.changes_after(shared.pushed):
            if len(self._out) > _BATCH:
                return
            follows = not first and entry.update == shared.pushed + 1
            body = self._entry(shared, entry, now)
            self._out += wire.update(body, number=None if follows else entry.update)
            shared.pushed = entry.update
            table.commit(entry.update)
            first = False
        shared.pushed = table.update

    def _teach(self, now: int) -> None:
        assert self._lesson_left is not None  # noqa: S101  # the caller has looked
        while self._lesson_left:
            shared, left = self._lesson_left[0]
            if left:
                self._announce(shared)
            while left:
                if len(self._out) > _BATCH:
                    return
                entry = left.pop()
                lasting = shared.table.spec.expire
                remaining = max(entry.expires - now, 0) if lasting else 0
                number = entry.update or shared.pushed
                self._out += wire.update(
                    self._entry(shared, entry, now),
                    number=number,
                    remaining=remaining if self.minor else None,
                )
            self._lesson_left.pop(0)
        self._lesson_left = None
        self._taught = True
        self._out += wire.control(Control.FINISHED if self.complete else Control.PARTIAL)

    def _announce(self, shared: _Shared) -> None:
        if self._announced is not shared:
            self._out += wire.define(shared.number, shared.table.spec)
            self._announced = shared

    def _entry(self, shared: _Shared, entry: Entry, now: int) -> bytes:
        table = shared.table
        return entries.encode_key(table.spec, entry.key) + entries.encode_values(
            table.layout, table.values(entry), self._sent, now
        )
