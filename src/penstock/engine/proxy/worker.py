# SPDX-License-Identifier: Apache-2.0
"""A worker process: takes connections and does what the daemon tells it over a socket.

It is started by the daemon and trusts what comes from there. When the daemon is gone it stops
listening, finishes its sessions and ends.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import traceback
from functools import partial
from pathlib import Path

from penstock.engine.api import (
    CutCause,
    PutPool,
    PutReal,
    PutService,
    RealKey,
    RemovePool,
    RemoveService,
    RetireReal,
    ServiceState,
    SetMaxconn,
    SetPeers,
    SetTables,
)
from penstock.engine.proxy import carriage, entrance
from penstock.engine.proxy.answers import Answers
from penstock.engine.proxy.board import Board
from penstock.engine.proxy.choose import Real
from penstock.engine.proxy.dial import bare_socket
from penstock.engine.proxy.flow import Flow
from penstock.engine.proxy.lane import opened
from penstock.engine.proxy.lane.plain import plain_listener
from penstock.engine.proxy.listening import Spot
from penstock.engine.proxy.loop import IN, Loop, Timed
from penstock.engine.proxy.messages import (
    Ask,
    Drain,
    Hello,
    Inbox,
    Kill,
    Listen,
    Order,
    PassOn,
    Put,
    Silence,
)
from penstock.engine.proxy.privileges import give_up
from penstock.engine.proxy.questions import Question, send_answer
from penstock.engine.proxy.session import Session
from penstock.engine.proxy.udp import Relay
from penstock.engine.proxy.world import Ear, Service, World
from penstock.logs.process import means_of
from penstock.logs.sinks import Sinks
from penstock.model import Protocol

_REST = 0.01  # seconds until the rate of sessions is looked at again; the loop's grain is above it
_STREAM = int(socket.SOCK_STREAM)
_MOST_ACCEPTS = 64  # a turn and listener (HAProxy: tune.maxaccept)


class Worker:
    """Everything a worker does but waiting for events, which is the loop's."""

    def __init__(self, link: socket.socket, number: int, workers: int) -> None:
        self.loop = Loop()
        self._link = link
        self._inbox = Inbox(link)
        self._number = number
        self._workers = workers
        self._ears: dict[Spot, Ear] = {}
        self._relays: dict[Spot, Relay] = {}
        self._descriptors: dict[int, int] = {}  # that logs go to: ours by the daemon's numbers
        self._rings: dict[str, int] = {}  # the sockets that lead to them
        self._sinks = Sinks(_complain, self._descriptors, self._rings.get)
        self.world: World | None = None
        self.loop.on_fault, self.loop.on_late_fault = self._on_fault, self._on_late_fault
        link.setblocking(False)
        self.loop.add(link.fileno(), IN, self._on_link)

    def run(self) -> None:
        self.loop.run()

    def _on_fault(self, fd: int, fault: Exception) -> None:
        """A fault of ours: it costs the session that it showed in, and no other."""
        traceback.print_exception(fault)
        world = self.world
        if world is None or fd == self._link.fileno():
            raise fault
        for session in list(world.sessions):
            if session.uses(fd):
                session.kill()

    def _on_late_fault(self, late: Timed | None, fault: Exception) -> None:
        """The same of a deadline, or of what was to be done later, which is not done then."""
        traceback.print_exception(fault)
        if isinstance(late, Session | Flow):
            late.kill()

    # -- the daemon ------------------------------------------------------------------------

    def _on_link(self, _events: int) -> None:
        try:
            messages = self._inbox.receive()
        except ConnectionError:
            self.loop.remove(self._link.fileno())
            self._drain()
            return
        for message, fds in messages:
            self._obey(message, fds)

    def _obey(self, message: Order, fds: list[int]) -> None:
        match message:
            case Hello(program, pid):
                self.world = World(
                    self.loop, Board(fds[0], self._workers), self._number, self._workers
                )
                self.world.on_room = self._on_room
                self.world.peers.descriptors = self._descriptors
                self.world.means = means_of(self._sinks, tag=program, pid=pid)
                self._answers = Answers(self.world)
                self._answer_link = socket.socket(fileno=fds[1])
                self._answer_link.setblocking(False)
                lane = self.world.lane = opened(self.world, self.loop.fileno(), self._number)
                if lane is not None:
                    lane.on_client, lane.on_over = self._on_lane, carriage.over
                    self.loop.wait, self.loop.after_wait = lane.wait, lane.deliver
            case Put(step, row, descriptors, rings):
                files = len(descriptors) - len(rings)
                self._descriptors.update(zip(descriptors[:files], fds[:files], strict=True))
                self._take_rings(rings, fds[files:])
                self._put(step, row)
            case Listen(spot, service):
                self._listen(spot, service, socket.socket(fileno=fds[0]))
            case Silence(spot):
                self._silence(spot)
            case Kill(key, cause):
                self._kill(key, cause)
            case Ask(number, question):
                send_answer(self._answer_link, number, self._answer(question))
            case PassOn():
                self._world().peers.pass_on()
            case Drain(at_once):
                if at_once:
                    self.loop.stopped = True
                else:
                    self._drain()

    def _take_rings(self, names: tuple[str, ...], fds: list[int]) -> None:
        """A ring's socket is the same as long as the daemon runs."""
        for name, fd in zip(names, fds, strict=True):
            if self._rings.setdefault(name, fd) != fd:
                os.close(fd)

    def _answer(self, question: Question) -> object:
        try:
            return self._answers.answer(question)
        except Exception as fault:  # of ours: it costs an operator the answer, and no session
            traceback.print_exception(fault)
            return None

    def _put(self, step: object, row: int) -> None:
        world = self._world()
        match step:
            case PutReal(state):
                world.put_real(state, row)
                self._settle(state.key.pool)
            case PutPool(state):
                world.put_pool(state, row)
                self._settle(state.name)
            case PutService(state):
                service = world.put_service(state, row)
                self._place(service)
                self._on_room(service)
            case RemoveService(name):
                gone = world.services.pop(name, None)
                if gone is not None and world.lane is not None:
                    world.lane.forget_service(gone)
            case RemovePool(name):
                world.pools.pop(name, None)
            case RetireReal(key):
                world.retire_real(key)
                if world.lane is not None:
                    world.lane.forget_server(key)
            case SetMaxconn(maxconn):
                world.maxconn = maxconn
                if world.lane is not None:
                    world.lane.limit(maxconn)
            case SetPeers(peers) if self._number == 0:  # where all tables are
                world.peers.put(peers)
            case SetTables(tables) if self._number == 0:
                world.peers.declare_all(tables)

    def _world(self) -> World:
        if self.world is None:
            raise RuntimeError("the daemon has not said hello")
        return self.world

    def _kill(self, key: RealKey, cause: CutCause) -> None:
        world = self._world()
        for session in list(world.sessions):
            if session.real is not None and session.real.state.key == key:
                session.kill(cause)
        if world.lane is not None:
            world.lane.kill(key)

    def _drain(self) -> None:
        """No new connections; the end when there are none left."""
        for spot in list(self._ears):
            self._silence(spot)
        if self.world is not None:
            self.world.peers.pass_on()
        self._end_when_idle()

    def _end_when_idle(self) -> None:
        world = self.world
        busy = world is not None and (
            world.sessions or (world.lane is not None and world.lane.live) or world.peers.busy
        )
        if not busy:
            self.loop.stopped = True
        else:
            self.loop.later(0.2, self._end_when_idle)

    # -- clients ---------------------------------------------------------------------------

    def _listen(self, spot: Spot, name: str, sock: socket.socket) -> None:
        service = self._world().services[name]
        ear = Ear(spot, sock, service, int(sock.family))
        self._ears[spot] = ear
        sock.setblocking(False)
        if spot.protocol is Protocol.UDP:
            self._relays[spot] = Relay(self._world(), ear)
        else:
            if ear.family != socket.AF_UNIX:  # connections have it from their listener
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.loop.add(sock.fileno(), IN, partial(self._accept, ear))
            self._place(service)

    def _silence(self, spot: Spot) -> None:
        ear = self._ears.pop(spot, None)
        if ear is not None:
            if spot in self._relays:
                self._relays.pop(spot).leave()
            else:
                self._withdraw(ear)
            ear.sock.close()

    def _withdraw(self, ear: Ear) -> None:
        """Nobody takes clients from it for now."""
        lane = self._world().lane
        if ear.laned and lane is not None:
            lane.silence(ear.sock.fileno())
        elif ear.polled:
            self.loop.remove(ear.sock.fileno())
        ear.laned = ear.polled = False

    def _settle(self, pool: str) -> None:
        """*pool* has changed, and with it what its services are to the lane."""
        world = self._world()
        if world.lane is not None:
            for service in world.services.values():
                if service.state.pool == pool:
                    self._place(service)

    def _place(self, service: Service) -> None:
        """Its plain listeners belong to the lane, where all it does is plain."""
        lane = self._world().lane
        if lane is None:
            return
        ears = [one for one in self._ears.values() if one.service is service]
        plain = bool(ears) and lane.takes(service)
        for ear in ears:
            fits = plain and plain_listener(ear.spot)
            if fits and not ear.laned:
                self._withdraw(ear)
                ear.laned = lane.listen(ear.sock.fileno(), service)
            elif not fits and ear.laned:
                self._withdraw(ear)
            if not ear.laned and not ear.polled and ear.spot.protocol is not Protocol.UDP:
                self._on_room(service)

    def _on_lane(self, service: Service, fd: int, real: Real | None, error: int) -> None:
        """A client of the lane's for whom it had no server that answers."""
        ears = [one for one in self._ears.values() if one.service is service and one.laned]
        if not ears:  # it has stopped listening since
            os.close(fd)
            return
        ear = ears[0]
        sock = bare_socket(ear.family, _STREAM, 0, fd)
        sock.setblocking(False)
        try:
            raw: object = sock.getpeername()
        except OSError:  # it is gone already
            raw = None
        Session(self._world(), service, ear.spot, sock, raw).go_on(real, error)

    def _accept(self, ear: Ear, _events: int) -> None:
        world, service = self._world(), ear.service
        for _ in range(_MOST_ACCEPTS):
            if self._is_full(world, service):
                self._pause(ear)
                return
            try:
                # As socket.accept() does it, without asking the listener twice what it is.
                fd, raw = ear.sock._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    self._pause(ear)
                    self.loop.later(0.1, lambda: self._on_room(service))
                return
            if service.state.rates:
                world.rates.accepted(self.loop.now)
            sock = bare_socket(ear.family, _STREAM, 0, fd)
            sock.setblocking(False)
            entrance.start(Session(world, service, ear.spot, sock, raw))

    def _is_full(self, world: World, service: Service) -> bool:
        limit = service.state.maxconn
        lane = world.lane
        if limit and service.live + (lane.live_of(service) if lane is not None else 0) >= limit:
            service.full = True
            return True
        if service.too_fast(self.loop.now) or (
            service.state.rates
            and world.rates.too_fast(
                service.state.rates, self.loop.now, tls=_speaks_tls(service.state)
            )
        ):
            if not service.resting:
                service.resting = True
                self.loop.later(_REST, partial(self._rested, service))
            return True
        total = world.total_live + (lane.live if lane is not None else 0)
        return bool(world.maxconn) and total >= world.maxconn

    def _rested(self, service: Service) -> None:
        service.resting = False
        self._on_room(service)

    def _pause(self, ear: Ear) -> None:
        """What is not accepted waits in the listen queue, as with HAProxy."""
        if ear.polled:
            ear.polled = False
            self.loop.remove(ear.sock.fileno())

    def _on_room(self, service: Service) -> None:
        """Somebody has left: listen again where it was full."""
        world = self._world()
        if world.lane is not None:
            world.lane.lent(service)
            world.lane.resume()
        service.full = service.full and self._is_full(world, service)
        for ear in self._ears.values():
            if not ear.polled and not ear.laned and not self._is_full(world, ear.service):
                ear.polled = True
                self.loop.add(ear.sock.fileno(), IN, partial(self._accept, ear))


_NAME = "penstock-worker"  # in ps and top
_OUT_OF_FILES = (23, 24, 12, 105)  # ENFILE, EMFILE, ENOMEM, ENOBUFS


def _speaks_tls(state: ServiceState) -> bool:
    return any(one.tls is not None for one in state.front.listeners)


def _complain(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def main(arguments: list[str]) -> None:
    fd, number, workers, user, group = (int(word) for word in arguments)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(_NAME)  # a forked one looks like the daemon else
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(one, signal.SIG_IGN)  # the daemon's to decide, over the link
    with contextlib.suppress(OSError, ValueError):
        _raise_limits()
    give_up(user, group)
    worker = Worker(socket.socket(fileno=fd), number, workers)
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000)  # sessions hold each other and are unlinked by hand
    worker.run()


def _raise_limits() -> None:
    import resource  # noqa: PLC0415

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
