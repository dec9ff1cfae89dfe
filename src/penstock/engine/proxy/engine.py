# SPDX-License-Identifier: Apache-2.0
"""The daemon's side of the proxy engine: workers, what they are told and what they count."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from penstock.engine.api import (
    Counters,
    CutCause,
    ObservedState,
    PoolState,
    PutPool,
    PutReal,
    PutService,
    RealKey,
    RealState,
    RemovePool,
    RemoveService,
    RetireReal,
    ServiceState,
    SetMaxconn,
    SetPeers,
    SetTables,
    Step,
    Traffic,
    fingerprint,
)
from penstock.engine.figures import Figure, Readings, Table
from penstock.engine.proxy.board import MAX_ROWS, MAX_WORKERS, Board, Column
from penstock.engine.proxy.handover import Handed, Inheritance
from penstock.engine.proxy.messages import Drain, Kill, Order, PassOn, Put
from penstock.engine.proxy.places import Places, spots_of
from penstock.engine.proxy.privileges import NOBODY_ELSE, Owner
from penstock.engine.proxy.process import WorkerProcess
from penstock.engine.proxy.questions import EndSession, PassingOn, Question, Sessions
from penstock.engine.proxy.tables import ProxyTables
from penstock.engine.proxy.variables import ProxyVariables
from penstock.engine.sessions import SessionView
from penstock.errors import DatapathError
from penstock.logs.model import Descriptor, RingBuffer
from penstock.logs.process import PROGRAM
from penstock.logs.sinks import is_open
from penstock.proxied import LocalAddress, LocalKind
from penstock.stick.model import TableSpec
from penstock.stick.sections import PeersSpec

_log = structlog.get_logger("penstock")


@dataclass(slots=True)
class _Rows:
    """Which row of the board is whose."""

    free: list[int] = field(default_factory=list)
    next: int = 0

    def take(self, board: Board) -> int:
        if self.free:
            row = self.free.pop()
            board.clear(row)
            return row
        if self.next == MAX_ROWS:
            raise DatapathError(f"the proxy engine knows at most {MAX_ROWS} servers and services")
        self.next += 1
        return self.next - 1


class ProxyEngine:
    """Implements ``engine.api.Engine`` with worker processes."""

    def __init__(
        self,
        workers: int = 1,
        owner: Owner = NOBODY_ELSE,
        program: str = PROGRAM,
        inheritance: Inheritance | None = None,
        *,
        forks: bool = False,
    ) -> None:
        """*workers*: processes; they are started when there is something to listen on.

        *program*: what log lines call us. *inheritance*: sockets of the process before, which are
        listened on instead of own ones. *forks*: this process is penstock's own, and its workers
        may be forked from it.
        """
        self._forks = forks
        self._program = program
        self._listened = Places(self._send, inheritance or Inheritance())
        self._passing_on = False  # another process is told what tables hold
        self.stick_tables = ProxyTables(self.ask)
        self.variables = ProxyVariables(self.ask, lambda: len(self._workers))
        self._owner = owner
        self._count = workers
        self._board = Board.create(workers)
        self._workers: list[WorkerProcess] = []
        self._rows = _Rows()
        self._reals: dict[RealKey, RealState] = {}
        self._retired: set[RealKey] = set()
        self._pools: dict[str, PoolState] = {}
        self._services: dict[str, ServiceState] = {}
        self._real_rows: dict[RealKey, int] = {}
        self._service_rows: dict[str, int] = {}
        self._pool_rows: dict[str, int] = {}
        # Who has which row of services, pools and reals; None: somebody has come or gone.
        self._places: tuple[dict[str, int], dict[str, int], dict[RealKey, int]] | None = None
        self._dump = 0  # the number of the last look at all sessions
        self._maxconn = 0
        self._peers: tuple[PeersSpec, ...] = ()
        self._tables: tuple[TableSpec, ...] = ()
        # The socket that takes the events of a ring; -1: nobody keeps rings.
        self.ring: Callable[[str], int] = lambda name: -1

    # -- the state -------------------------------------------------------------------------

    def observe(self) -> ObservedState:
        return ObservedState(
            dict(self._reals),
            {name: fingerprint(state) for name, state in self._pools.items()},
            {name: fingerprint(state) for name, state in self._services.items()},
            self._maxconn,
            self._peers,
            self._tables,
        )

    def apply(self, step: Step) -> None:  # noqa: PLR0912 one branch a step
        """Raises DatapathError where a port cannot be listened on; then nothing has changed."""
        self._replaced(step)
        match step:
            case PutReal(state):
                self._put_real(state)
            case PutPool(state):
                missing = [key for key in state.members if key not in self._reals]
                if missing:
                    raise DatapathError(f"pool {state.name} wants {missing[0]}, not put before")
                self._pools[state.name] = state
                if state.name not in self._pool_rows:
                    self._pool_rows[state.name] = self._rows.take(self._board)
                self._tell(Put(step, self._pool_rows[state.name]))
                self._settle(state.name)
            case PutService(state):
                self._put_service(state)
            case RemoveService(name):
                self._remove_service(name)
            case RemovePool(name):
                if any(service.pool == name for service in self._services.values()):
                    raise DatapathError(f"pool {name} is still in use")
                del self._pools[name]
                self._tell(Put(step))
            case RetireReal(key):
                if any(key in pool.members for pool in self._pools.values()):
                    raise DatapathError(f"real server {key} is still in use")
                del self._reals[key]
                self._retired.add(key)
                self._tell(Put(step))
            case SetMaxconn(maxconn):
                self._maxconn = maxconn
                self._tell(Put(step))
            case SetPeers(peers):
                self._peers = peers
                self._tell(self._peers_order())
            case SetTables(tables):
                self._tables = tables
                self._tell(Put(step))

    def _replaced(self, step: Step) -> None:
        if not isinstance(step, PutReal) or step.state.key not in self._reals:
            self._places = None

    def _put_real(self, state: RealState) -> None:
        key = state.key
        self._retired.discard(key)
        if key not in self._real_rows:
            self._real_rows[key] = self._rows.take(self._board)
        before = self._reals.get(key)
        self._reals[key] = state
        self._tell(Put(PutReal(state), self._real_rows[key]))
        if before is not None and bool(before.maxconn) != bool(state.maxconn):
            self._settle(key.pool)

    def _put_service(self, state: ServiceState) -> None:
        if state.pool is not None and state.pool not in self._pools:
            raise DatapathError(f"service {state.name} wants a pool not put before")
        wanted, workers, backlog = spots_of(state), self._workers_for(state), _backlog(state)
        fresh = self._listened.open(wanted, len(workers), backlog)
        if state.name not in self._service_rows:
            self._service_rows[state.name] = self._rows.take(self._board)
        self._services[state.name] = state
        self._start()
        self._tell(self._order(state))
        self._listened.put(state.name, wanted, workers, backlog=backlog, fresh=fresh)

    def _order(self, state: ServiceState) -> Put:
        """What workers are told of a service: also the open files that it logs to."""
        targets = state.log.journal.targets if state.log is not None else ()
        numbers = {
            one.destination.number
            for one in targets
            if isinstance(one.destination, Descriptor) and is_open(one.destination.number)
        }
        named = {one.destination.name for one in targets if isinstance(one.destination, RingBuffer)}
        rings = sorted(name for name in named if self.ring(name) >= 0)
        return Put(
            PutService(state),
            self._service_rows[state.name],
            (*sorted(numbers), *(self.ring(name) for name in rings)),
            tuple(rings),
        )

    def _workers_for(self, state: ServiceState) -> tuple[int, ...]:
        """One worker where numbers must be exact at every moment: limits, queues and tables."""
        return (0,) if self._count == 1 or self._is_exact(state) else tuple(range(self._count))

    def _is_exact(self, state: ServiceState) -> bool:
        front = state.front
        if state.rates:
            return True
        if state.maxconn or front.table or front.rate_limit or front.tcp_rules or front.routes:
            return True
        pool = self._pools.get(state.pool) if state.pool is not None else None
        if pool is None:
            return False
        back = pool.back
        return bool(
            back.table
            or back.stick
            or back.tcp_rules
            or any(self._reals[key].maxconn for key in pool.members)
        )

    def _settle(self, pool: str) -> None:
        """*pool* has changed, and with it maybe where its services must run."""
        for name, state in self._services.items():
            if state.pool == pool:
                self._listened.move(name, self._workers_for(state), backlog=_backlog(state))

    def _remove_service(self, name: str) -> None:
        del self._services[name]
        self._listened.remove(name)
        self._tell(Put(RemoveService(name)))
        # The row stays until sessions are over; tick() looks.

    def hand_over(self) -> list[Handed]:
        """What is listened on, for another process to go on with; paths stay from now on."""
        return self._listened.hand_over()

    def pass_on(self) -> None:
        """Another process takes our place among peers: it is told what tables hold."""
        self._passing_on = bool(self._workers)
        if self._passing_on:
            self._workers[0].send(PassOn())

    def settled(self) -> None:
        """Everything that is listened on has been put: the rest of the inheritance is nobody's."""
        self._listened.settled()

    # -- workers ---------------------------------------------------------------------------

    def _start(self) -> None:
        while len(self._workers) < self._count:
            number = len(self._workers)
            process = self._worker(number)
            process.greet(self._board.fileno())
            self._workers.append(process)
            for order in self._everything():
                process.send(order)

    def _everything(self) -> Iterable[Order]:
        """What a new worker has to know."""
        yield Put(SetMaxconn(self._maxconn))
        yield self._peers_order()
        yield Put(SetTables(self._tables))
        for key, state in self._reals.items():
            yield Put(PutReal(state), self._real_rows[key])
        for pool in self._pools.values():
            yield Put(PutPool(pool), self._pool_rows[pool.name])
        for name, service in self._services.items():
            if name in self._service_rows:
                yield self._order(service)

    def _peers_order(self) -> Put:
        """With the sockets that peers call by, where they are inherited."""
        numbers = {
            int(one.listen[0].name)
            for one in self._peers
            if one.listen is not None
            and isinstance(one.listen[0], LocalAddress)
            and one.listen[0].kind is LocalKind.INHERITED
        }
        return Put(SetPeers(self._peers), descriptors=tuple(sorted(filter(is_open, numbers))))

    def _worker(self, number: int) -> WorkerProcess:
        return WorkerProcess(number, self._count, self._owner, self._program, forks=self._forks)

    def _send(self, number: int, order: Order, fds: tuple[int, ...]) -> None:
        self._workers[number].send(order, fds)

    def _tell(self, order: Order) -> None:
        for worker in self._workers:
            worker.send(order)

    def _revive(self, number: int) -> None:
        """A worker has died: its sessions are lost, its sockets are not."""
        dead = self._workers[number]
        _log.error("a proxy worker has died, starting another", pid=dead.pid, status=dead.status())
        dead.close()
        area = self._board.area(number)
        for row in range(self._rows.next):
            for column in (Column.LIVE, Column.QUEUED):
                area[row * len(Column) + column] = 0
        area.release()
        process = self._worker(number)
        self._workers[number] = process
        process.greet(self._board.fileno())
        for order in self._everything():
            process.send(order)
        for listen, fds in self._listened.of(number):
            process.send(listen, fds)

    # -- what is asked -----------------------------------------------------------------------

    def counters(self) -> Counters:
        return Counters(
            {name: self._traffic(self._service_rows[name]) for name in self._services},
            {key: self._traffic(self._real_rows[key]) for key in self._reals},
            flows=sum(self._board.read(row, Column.LIVE) for row in self._service_rows.values()),
        )

    def readings(self, figures: Collection[Figure] = tuple(Figure)) -> Readings:
        """*figures* of everything that is in service."""
        columns = {one: self._board.column(one, self._rows.next) for one in figures}
        services, pools, reals = self._places or self._placed()
        return Readings(Table(services, columns), Table(pools, columns), Table(reals, columns))

    def _placed(self) -> tuple[dict[str, int], dict[str, int], dict[RealKey, int]]:
        """Who has which row; the same objects until something comes or goes."""
        self._places = (
            {name: self._service_rows[name] for name in self._services},
            {name: self._pool_rows[name] for name in self._pools},
            {key: self._real_rows[key] for key in self._reals},
        )
        return self._places

    def forget_maxima(self) -> None:
        self._board.forget_maxima(self._rows.next)

    def _traffic(self, row: int) -> Traffic:
        read = self._board.read
        return Traffic(
            live=read(row, Column.LIVE),
            total=read(row, Column.TOTAL),
            bytes_in=read(row, Column.BYTES_IN),
            bytes_out=read(row, Column.BYTES_OUT),
        )

    def busy(self) -> bool:
        if any(self._board.read(row, Column.LIVE) for row in self._service_rows.values()):
            return True
        if self._passing_on:
            with contextlib.suppress(DatapathError):  # it is asked again
                self._passing_on = self.ask(PassingOn()) is True
        return self._passing_on

    def live(self, key: RealKey) -> int:
        row = self._real_rows.get(key)
        return self._board.read(row, Column.LIVE) if row is not None else 0

    def errors_in_a_row(self, key: RealKey) -> int:
        row = self._real_rows.get(key)
        return self._board.read(row, Column.ERRORS_IN_A_ROW) if row is not None else 0

    def cut(self, key: RealKey, cause: CutCause = CutCause.OPERATOR) -> int:
        row = self._real_rows.get(key)
        if row is None:
            return 0
        parts = self._board.parts(row, Column.LIVE)
        # Only who has any: another might be late, and cut connections that come after this.
        for worker, live in zip(self._workers, parts, strict=False):
            if live:
                worker.send(Kill(key, cause))
        return sum(parts)

    def ask(self, question: Question, worker: int = 0) -> object:
        """What a worker answers; the first one has all tables. None: no worker runs.

        Raises DatapathError where it does not answer soon.
        """
        return self._workers[worker].ask(question) if worker < len(self._workers) else None

    def sessions(self) -> Iterator[Sequence[SessionView]]:
        """All of all workers, some at a time; those that begin or end meanwhile may be missed."""
        self._dump += 1
        for number in range(len(self._workers)):
            more = True
            while more:
                answer = self.ask(Sessions(self._dump), number)
                if not isinstance(answer, tuple):
                    break
                found, more = answer
                yield found

    def session(self, number: int) -> SessionView | None:
        return next((one for page in self.sessions() for one in page if one.id == number), None)

    def end_session(self, number: int) -> bool:
        """End one of them at both ends; False: it is not there."""
        return any(
            self.ask(EndSession(number), worker) is True for worker in range(len(self._workers))
        )

    def pids(self) -> list[int]:
        """Of the workers, in order."""
        return [worker.pid for worker in self._workers]

    def fileno(self) -> int | None:
        return None

    @property
    def is_ready(self) -> bool:
        """Whether all workers do what they have been told: new ones take a moment to start."""
        return all(worker.has_heard for worker in self._workers)

    def tick(self) -> None:
        for number, worker in enumerate(self._workers):
            if worker.status() is not None:
                self._revive(number)
        for key in [key for key in self._retired if not self.live(key)]:
            self._retired.remove(key)
            self._rows.free.append(self._real_rows.pop(key))
        gone = [name for name in self._service_rows if name not in self._services]
        for name in gone:
            if not self._board.read(self._service_rows[name], Column.LIVE):
                self._rows.free.append(self._service_rows.pop(name))
        gone = [name for name in self._pool_rows if name not in self._pools]
        for name in gone:
            if not self._board.read(self._pool_rows[name], Column.LIVE):
                self._rows.free.append(self._pool_rows.pop(name))

    def close(self, *, keep: bool) -> None:
        """*keep*: workers finish their sessions on their own; else they are cut."""
        self._listened.close()
        for worker in self._workers:
            worker.end(Drain(at_once=not keep), wait=not keep)
        self._workers.clear()
        self._board.close()


def _backlog(state: ServiceState) -> int:
    return state.front.backlog or state.maxconn


def worker_count(threads: int) -> int:
    """How many workers to run: as many as ``nbthread`` says, or as there are processors."""
    return max(1, min(threads or len(os.sched_getaffinity(0)), MAX_WORKERS))
