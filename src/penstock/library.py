# SPDX-License-Identifier: Apache-2.0
"""Penstock inside a Python program: the daemon's loop on a thread, objects instead of files."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from penstock.api.wire import Done, Reload, SetState, SetWeight, Status
from penstock.config.haproxy import LoadResult
from penstock.config.haproxy import load as load_haproxy
from penstock.config.system_names import system_resolve
from penstock.control.controller import Controller
from penstock.control.desired import all_on_proxy
from penstock.control.overrides import OverrideStore
from penstock.control.refusal import refuse_unsupported
from penstock.engine.api import Counters, Engine, together
from penstock.errors import CapabilityError, PenstockError
from penstock.health.agents import Agents
from penstock.health.attempts import AttemptMaker
from penstock.health.runner import Runner
from penstock.instance import log
from penstock.instance.runtime import InstanceLock, RuntimePaths
from penstock.model import Configuration, EngineKind
from penstock.names import Follower

if TYPE_CHECKING:
    from penstock.engine.proxy.secure import TlsContexts

_T = TypeVar("_T")
_TICK = 1.0


def load(*paths: str | os.PathLike[str]) -> Configuration:
    """The configuration in haproxy.cfg files. Raises ConfigError with all that is wrong."""
    files = tuple(Path(path) for path in paths)
    return load_haproxy(files, environ=os.environ, resolve=system_resolve).configuration


class LoadBalancer:
    """A running load balancer; its methods may be called from any thread."""

    def __init__(
        self,
        configuration: Configuration,
        engines: Mapping[EngineKind, Engine],
        paths: RuntimePaths,
        lack: str | None = None,
    ) -> None:
        """*lack*: why there is no kernel engine among *engines*; its services run on the proxy."""
        self._configuration = configuration
        self._engines = engines
        self._lack = lack
        self._jobs: queue.SimpleQueue[tuple[Future[object], Callable[[], object]] | None] = (
            queue.SimpleQueue()
        )
        self._ending = threading.Lock()
        self._ended = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        chance = random.Random()  # noqa: S311  # jitter, not secrets
        self._runner = Runner(
            lambda change: self._controller.on_change(change),
            report=lambda key, result: self._controller.on_check(key, result),
            errors=lambda key: self._controller.errors_in_a_row(key),
            attempts=AttemptMaker(
                _tls_contexts().wrap, around=lambda key: self._controller.around(key), rng=chance
            ),
            rng=chance,
        )
        self._agents = Agents(
            lambda: self._controller.listener,
            rng=random.Random(),  # noqa: S311  # jitter, not secrets
        )
        self._names = Follower(lambda changes, outcome: self._controller.on_names(changes, outcome))
        self._controller = Controller(
            engines,
            self._runner,
            self._names,
            OverrideStore(paths.overrides, adopt=False),
            lambda: LoadResult(self._fitting(self._configuration)),
            adopted=False,
            clock=time.monotonic,
            agents=self._agents,
        )
        try:
            self._controller.start(LoadResult(self._fitting(configuration)))
        except BaseException:
            self._release()
            raise
        self._thread = threading.Thread(target=self._live, name="penstock", daemon=True)
        self._thread.start()

    def counters(self) -> Counters:
        """Live connections, totals, bytes and the datapath's reasons, read now."""
        return self._call(
            lambda: together([engine.counters() for engine in self._engines.values()])
        )

    def status(self) -> Status:
        """Services, real servers, their health and traffic, at one moment."""
        return self._call(self._controller.snapshot)

    def set_weight(self, pool: str, server: str, weight: int) -> None:
        """Change a real server's weight, 0-256. Raises CommandRefused."""
        self._call(lambda: self._controller.handle(SetWeight(pool, server, weight)))

    def set_state(self, pool: str, server: str, state: str) -> None:
        """``ready``, ``drain`` or ``maint``. Raises CommandRefused."""
        self._call(lambda: self._controller.handle(SetState(pool, server, state)))

    def reconfigure(self, configuration: Configuration) -> None:
        """Switch to another configuration; flows of what stays go on.

        Raises CommandRefused or ConfigError, and then nothing has changed.
        """

        def switch() -> None:
            _refuse(configuration, proxied=EngineKind.PROXY in self._engines)
            before = self._configuration
            self._configuration = configuration
            try:
                reply = self._controller.handle(Reload())
                assert isinstance(reply, Done)  # noqa: S101  # else it has raised
            except PenstockError:
                self._configuration = before
                raise

        self._call(switch)

    def stop(self) -> None:
        """End the loop; the engines are the caller's to close."""
        self._jobs.put(None)
        self._wake_writer.send(b"\0")
        self._thread.join()
        self._release()

    def _fitting(self, configuration: Configuration) -> Configuration:
        """*configuration* with files as they are now, on the engines that there are."""
        if EngineKind.PROXY in self._engines:
            from penstock.engine.proxy import tls_files  # noqa: PLC0415  # only where it is used

            configuration = tls_files.with_digests(configuration)
        return all_on_proxy(configuration, self._lack) if self._lack else configuration

    def _release(self) -> None:
        self._runner.close()
        self._agents.close()
        self._names.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _call(self, job: Callable[[], _T]) -> _T:
        future: Future[object] = Future()
        with self._ending:
            if self._ended:
                raise PenstockError("this load balancer has been stopped")
            self._jobs.put((future, job))
            self._wake_writer.send(b"\0")
        return cast(_T, future.result())

    def _live(self) -> None:
        try:
            self._loop()
        finally:
            with self._ending:
                self._ended = True
            while not self._jobs.empty():
                if job := self._jobs.get():
                    job[0].set_exception(PenstockError("this load balancer has been stopped"))

    def _loop(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_reader, selectors.EVENT_READ, None)
            workers: tuple[Runner | Agents | Follower, ...] = (
                *(self._runner, self._agents),
                self._names,
            )
            for worker in workers:
                selector.register(worker.fileno(), selectors.EVENT_READ, None)
            events = [one for one in map(_events_of, self._engines.values()) if one is not None]
            for fd in events:
                selector.register(fd, selectors.EVENT_READ, None)
            next_tick = time.monotonic() + _TICK
            while True:
                due = min(next_tick, *(worker.next_deadline() or next_tick for worker in workers))
                ready = selector.select(max(0.0, due - time.monotonic()))
                if any(key.fileobj is self._wake_reader for key, _ in ready):
                    self._wake_reader.recv(4096)
                while not self._jobs.empty():
                    job = self._jobs.get()
                    if job is None:
                        return
                    _carry_out(*job)
                for worker in workers:
                    worker.run_once(time.monotonic())
                if time.monotonic() >= next_tick or any(key.fd in events for key, _ in ready):
                    self._controller.tick()
                    next_tick = time.monotonic() + _TICK


def _events_of(engine: Engine) -> int | None:
    return engine.fileno()


def _carry_out(future: Future[object], job: Callable[[], object]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:
        future.set_exception(error)


@contextlib.contextmanager
def run(
    configuration: Configuration,
    *,
    engine: Engine | None = None,
    paths: RuntimePaths | None = None,
) -> Iterator[LoadBalancer]:
    """Run *configuration* until the block ends; then everything is taken down.

    Without *engine*, as ``penstock run`` does: the kernel engine where this process may have it,
    and the proxy engine for all else. *engine* stands in for the kernel engine, and then there is
    no other. Raises PenstockError.
    """
    log.to_stdlib()
    paths = paths or RuntimePaths.of(os.environ)
    lack = None if engine is not None else _lack()
    _refuse(configuration, proxied=engine is None)
    with contextlib.ExitStack() as stack:
        stack.callback(InstanceLock(paths).close)
        engines: dict[EngineKind, Engine] = {}
        for kind, opens in _engines(configuration, paths, engine, lack):
            engines[kind] = one = opens()
            stack.callback(one.close, keep=False)
        balancer = LoadBalancer(configuration, engines, paths, lack)
        stack.callback(balancer.stop)
        yield balancer


def _engines(
    configuration: Configuration, paths: RuntimePaths, own: Engine | None, lack: str | None
) -> Iterator[tuple[EngineKind, Callable[[], Engine]]]:
    """What to open, one after the other: each is closed should the next one fail."""
    if own is not None:
        yield EngineKind.KERNEL, lambda: own
        return
    if lack is None:
        yield EngineKind.KERNEL, lambda: _kernel_engine(configuration, paths)
    yield EngineKind.PROXY, lambda: _proxy_engine(configuration)


def _refuse(configuration: Configuration, *, proxied: bool) -> None:
    """Raises ConfigError for what the engines at hand cannot do."""
    if not proxied:
        services = tuple(
            replace(one, unsupported=one.unsupported or one.engine is EngineKind.PROXY)
            for one in configuration.services
        )
        configuration = replace(configuration, services=services)
    refuse_unsupported(configuration)
    if proxied:
        from penstock.engine.proxy import tls_files  # noqa: PLC0415  # only where it is used

        tls_files.check_files(configuration)


def _lack() -> str | None:
    """Why there is no kernel engine; None: there is one."""
    from penstock.kernel import probe  # noqa: PLC0415

    try:
        probe.probe()
    except CapabilityError as error:
        logging.getLogger("penstock").warning("every service runs on the proxy engine: %s", error)
        return str(error)
    return None


def _tls_contexts() -> TlsContexts:
    from penstock.engine.proxy.secure import TlsContexts  # noqa: PLC0415

    return TlsContexts()


def _proxy_engine(configuration: Configuration) -> Engine:
    from penstock.engine.proxy import Owner, ProxyEngine, worker_count  # noqa: PLC0415

    settings = configuration.settings
    owner = Owner.of(settings.user, settings.group)
    return ProxyEngine(worker_count(settings.workers), owner=owner)


def _kernel_engine(configuration: Configuration, paths: RuntimePaths) -> Engine:
    from penstock.engine.kernel import KernelEngine  # noqa: PLC0415  # only where it is used
    from penstock.kernel import bpffs  # noqa: PLC0415

    bpffs.mount()
    return KernelEngine.open(configuration.settings, pins=paths.pins, state=paths.directory)
