# SPDX-License-Identifier: Apache-2.0
"""The composition root of ``penstock run``: reading it tells the whole story.

Lock the runtime directory, load the configuration, bring up (or take over) the datapath, start
checks, answer on the control socket, and go round one loop until told to stop.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from penstock.api.server import ControlServer
from penstock.config.haproxy import LoadResult, load
from penstock.config.system_names import system_resolve
from penstock.control.controller import Controller, Staged
from penstock.control.desired import all_on_proxy
from penstock.control.overrides import OverrideStore
from penstock.control.refusal import refuse_unsupported
from penstock.control.state_file import Recalled, recall
from penstock.director import Director
from penstock.engine.api import Engine
from penstock.engine.kernel import KernelEngine
from penstock.engine.kernel.journal_reader import JournalReader
from penstock.engine.proxy import Owner, ProxyEngine, worker_count
from penstock.engine.proxy.listening import each_port, open_socket
from penstock.engine.proxy.secure import TlsContexts
from penstock.engine.proxy.tls_files import check_files, with_digests
from penstock.errors import (
    CapabilityError,
    InstanceRunning,
    PenstockError,
)
from penstock.events import Events
from penstock.health.agents import Agents
from penstock.health.attempts import AttemptMaker
from penstock.health.runner import Runner
from penstock.instance import notify
from penstock.instance.beside import BesideOthers
from penstock.instance.lifetime import Lifetime, of_this_namespace
from penstock.instance.log import own_log
from penstock.instance.main_loop import AT_ONCE, MainLoop, Worker, register, run_once, signals
from penstock.instance.runtime import InstanceLock, RuntimePaths
from penstock.instance.surroundings import mtu, surroundings
from penstock.instance.tenure import Beside
from penstock.ipvs.journal import Journal
from penstock.ipvs_sync import Synchroniser
from penstock.kernel import bpffs, probe
from penstock.logs.events import EventLog
from penstock.logs.flows import FlowLog
from penstock.logs.forwarder import Forwarder
from penstock.logs.outlet import Means
from penstock.logs.process import PROGRAM, means_of
from penstock.logs.rings import Rings
from penstock.logs.sinks import Sinks
from penstock.mail.queues import MailQueues
from penstock.model import Configuration, EngineKind, Hook
from penstock.names import Follower
from penstock.runtime_api.commands import registry
from penstock.runtime_api.context import Runtime
from penstock.runtime_api.server import RuntimeServer
from penstock.statistics.collector import Collector
from penstock.web.running import Running
from penstock.web.server import WebServer
from penstock.web.site import site

_log = structlog.get_logger("penstock")
_YIELD_SECONDS = 10.0  # for an instance to end that gives way
_COLLECT_AFTER = 100_000  # objects made since the last look for cycles; Python: 700
_START_SECONDS = 10.0  # that workers may take to start before we go on without them


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says beside the files."""

    hook: Hook | None = None
    keep_datapath: bool = False
    on_demand: bool = False  # ends by itself when its network namespace is no longer used
    rules_only: bool = False  # IPVS rules, which need the kernel engine
    beside: Beside | None = None  # one of several processes in haproxy's place
    program: str = PROGRAM  # the tag of its lines in logs
    ready: Callable[[], None] = notify.ready  # called when clients can connect
    events: Events = own_log  # told what becomes of proxies and servers, beside the log targets


def load_files(paths: tuple[Path, ...], options: Options) -> LoadResult:
    """Load what the daemon is to run. Raises ConfigError, also for what no engine here can do."""
    loaded = load(paths, environ=os.environ, resolve=system_resolve)
    refuse_unsupported(loaded.configuration)
    check_files(loaded.configuration)
    loaded = replace(loaded, configuration=with_digests(loaded.configuration))
    return _with_options(loaded, options)


def no_files(options: Options) -> LoadResult:
    """What a daemon runs that has IPVS rules alone, which come by its control socket."""
    return _with_options(LoadResult(Configuration()), options)


def _with_options(loaded: LoadResult, options: Options) -> LoadResult:
    if options.hook is None:
        return loaded
    settings = replace(loaded.configuration.settings, hook=options.hook)
    return replace(loaded, configuration=replace(loaded.configuration, settings=settings))


def run(loader: Callable[[], LoadResult], paths: RuntimePaths, options: Options) -> None:
    """Run in the foreground until SIGTERM or SIGINT. Raises PenstockError before it is up."""
    lack = _lack(options)
    with contextlib.ExitStack() as stack:
        stack.callback(_lock(paths, options, loader).close)
        if lack is not None:
            loader = without_kernel(loader, lack)
        loaded = loader()
        for warning in loaded.warnings:
            _log.warning(str(warning))
        settings = loaded.configuration.settings
        owner = Owner.of(settings.user, settings.group)
        proxy = ProxyEngine(worker_count(settings.workers), owner, forks=True)
        engine: KernelEngine | None = None
        if lack is None:
            bpffs.mount()
            engine = KernelEngine.open(settings, pins=paths.pins, state=paths.directory)
        else:
            _log.warning(f"every service runs on the proxy engine: {lack}")
        keep = options.keep_datapath
        lifetime = of_this_namespace(time.monotonic()) if options.on_demand else None
        try:
            ended = serve(
                engine, proxy, loader, loaded, paths=paths, options=options, lifetime=lifetime
            )
            keep = keep or signal.SIGUSR1 in ended
        except PenstockError:
            # Another configuration was running before us.
            keep = keep or (engine is not None and engine.adopted)
            raise
        except Exception:
            keep = True  # a fault of ours: traffic goes on, and the next run takes it over
            raise
        finally:
            proxy.close(keep=keep)
            if engine is not None:
                engine.close(keep=keep)
            if not keep:
                paths.remove()
        _log.info("stopped", datapath="kept" if keep and engine is not None else "removed")


def _lack(options: Options) -> str | None:
    """Why there is no kernel engine; None: there is one. Raises CapabilityError for rules alone."""
    try:
        probe.probe()
    except CapabilityError as error:
        if options.rules_only:
            raise
        return str(error)
    return None


def without_kernel(loader: Callable[[], LoadResult], lack: str) -> Callable[[], LoadResult]:
    """*loader* for where there is no kernel engine, because of *lack*."""

    def load_for_proxy() -> LoadResult:
        loaded = loader()
        return replace(loaded, configuration=all_on_proxy(loaded.configuration, lack))

    return load_for_proxy


def _lock(paths: RuntimePaths, options: Options, loader: Callable[[], LoadResult]) -> InstanceLock:
    """The lock; from an instance that was started on demand it is taken over with its datapath.

    Such a one is what the kernel module would be, in nobody's way. Raises InstanceRunning.
    """
    try:
        return InstanceLock(paths, yields=options.on_demand)
    except InstanceRunning as running:
        if options.on_demand or not running.yields:
            raise
        loader()  # a configuration that is refused must not end what runs
        _log.info("taking over from the one that was started on demand", pid=running.yields)
        os.kill(running.yields, signal.SIGUSR1)
    deadline = time.monotonic() + _YIELD_SECONDS
    while True:
        try:
            return InstanceLock(paths)
        except InstanceRunning:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def serve(
    engine: KernelEngine | None,
    proxy: ProxyEngine,
    loader: Callable[[], LoadResult],
    loaded: LoadResult,
    *,
    paths: RuntimePaths,
    options: Options,
    lifetime: Lifetime | None = None,
) -> frozenset[int]:
    """Until told to stop; the signals that did."""
    controllers: list[Controller] = []  # one, which is made of those that call it

    def running() -> Controller:
        return controllers[0]

    adopted = engine is not None and engine.adopted
    engines: dict[EngineKind, Engine] = {EngineKind.PROXY: proxy}
    director: Director | None = None
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(closing(_runner(running)))
        jitter = random.Random()  # noqa: S311  # no secret
        agents = stack.enter_context(closing(Agents(lambda: running().listener, rng=jitter)))
        names = stack.enter_context(
            closing(Follower(lambda changes, outcome: running().on_names(changes, outcome)))
        )
        rings = stack.enter_context(closing(Rings()))
        proxy.ring = rings.descriptor
        sinks = stack.enter_context(closing(Sinks(_log.warning, ring=rings.descriptor)))
        means = means_of(sinks, tag=options.program)
        events = EventLog(options.events, means)
        mails = stack.enter_context(closing(MailQueues(socket.gethostname(), _log.warning)))
        workers: list[Worker] = [runner, agents, names, rings, mails]
        followers: list[Callable[[Configuration], None]] = [
            lambda to: rings.configure(to.rings, means.named(to.settings.naming)),
            events.configure,
            mails.configure,
        ]
        if engine is not None:
            flows = FlowLog(engine.journal, means, time.monotonic_ns)
            followers.append(flows.configure)
            workers.append(JournalReader(engine.journal, flows, time.thread_time))
            engines = {EngineKind.KERNEL: engine, **engines}
        if engine is not None and options.beside is None:
            director, peers = _director(engine, paths, stack, adopted=adopted)
            workers.append(peers)
        collector = Collector(engines.values(), time.monotonic)
        followers.append(lambda _: collector.hold())
        controllers.append(
            Controller(
                engines,
                runner,
                names,
                OverrideStore(paths.overrides, adopt=adopted),
                loader,
                adopted=adopted,
                clock=time.monotonic,
                director=director,
                events=events,
                mail=mails,
                agents=agents,
                follow=partial(_tell_all, followers),
            )
        )
        return _live(
            running(),
            collector,
            engines,
            tuple(workers),
            loaded,
            rings=rings,
            means=means,
            paths=paths,
            options=options,
            lifetime=lifetime,
        )


def _runner(running: Callable[[], Controller]) -> Runner:
    """All checks; *running* is told what comes of them."""
    chance = random.Random()  # noqa: S311  # jitter, not secrets
    return Runner(
        lambda change: running().on_change(change),
        report=lambda key, result: running().on_check(key, result),
        errors=lambda key: running().errors_in_a_row(key),
        attempts=AttemptMaker(
            TlsContexts().wrap, around=lambda key: running().around(key), rng=chance
        ),
        rng=chance,
    )


def _director(
    engine: KernelEngine, paths: RuntimePaths, stack: contextlib.ExitStack, *, adopted: bool
) -> tuple[Director, Synchroniser]:
    """Who owns IPVS's rules, and who tells their connections to other directors."""
    journal = Journal(paths.rules, adopt=adopted)
    stack.callback(journal.close)
    peers = Synchroniser(engine.sync)
    stack.callback(peers.close)
    director = Director(
        engine.rules, journal, mtu=mtu, surroundings=surroundings, synchronise=peers.follow
    )
    return director, peers


def _said(loaded: LoadResult) -> tuple[str, ...]:
    """The lines of `show startup-logs`, worded as HAProxy words its own."""
    return tuple(f"[WARNING]  ({os.getpid()}) : config : {one}" for one in loaded.warnings)


def _tell_all(
    followers: list[Callable[[Configuration], None]], configuration: Configuration
) -> None:
    for one in followers:
        one(configuration)


def _live(
    controller: Controller,
    collector: Collector,
    engines: dict[EngineKind, Engine],
    workers: tuple[Worker, ...],
    loaded: LoadResult,
    *,
    rings: Rings,
    means: Means,
    paths: RuntimePaths,
    options: Options,
    lifetime: Lifetime | None,
) -> frozenset[int]:
    """Start, answer, and go round; the signals that ended it."""
    with selectors.DefaultSelector() as selector, signals(selector) as pending:
        controller.start(loaded, None if controller.adopted else _recalled(loaded.configuration))
        collector.tick()
        server = ControlServer(paths.socket, selector, controller.handle, time.monotonic)
        commands = Runtime(
            controller, registry(), collector, os.environ, startup_logs=_said(loaded)
        )
        runtime = RuntimeServer(selector, commands, time.monotonic)
        web = WebServer(partial(site, statistics=Running(commands)), time.monotonic)
        commands.tallies = web.tally
        forwarder = Forwarder(open_socket, each_port)
        commands.rings, commands.lines_received = rings, lambda: forwarder.received
        all_workers: list[Worker] = [*workers, web, forwarder]
        regain = None
        try:
            if options.beside is not None:
                beside_others = BesideOthers(
                    options.beside, selector, controller, collector, all_workers
                )
                beside_others.answer(commands, runtime, pending)
                regain = beside_others.regain
            controller.stage = partial(_stage, runtime, web, forwarder, means)
            controller.stage(loaded.configuration).commit()
            for worker in all_workers:
                register(selector, worker.fileno(), partial(run_once, worker))
            for engine in engines.values():
                events = engine.fileno()
                if events is not None:
                    register(selector, events, controller.tick)
            _wait_for(engines)
            _log.info(
                "running",
                services=len(loaded.configuration.services),
                took_over=controller.adopted,
                pid=os.getpid(),
            )
            options.ready()
            # What is there by now stays; looking for cycles among 100,000 rules takes its time.
            gc.freeze()
            gc.enable()
            gc.set_threshold(_COLLECT_AFTER)
            beside, servers = options.beside, (server, runtime)
            going = MainLoop(selector, all_workers, controller, collector, servers, pending, regain)
            going.loop(lifetime, reloads=beside is None)
            if beside is not None and not pending & AT_ONCE:
                beside.proxy.pass_on()  # before tables go with their services
                controller.stop_serving()
                web.stage(()).commit()  # whoever is connected still gets an answer
                forwarder.stage((), means).commit()
                going.drain(loaded.configuration.settings.process.hard_stop_after)
            if beside is None:  # else it is the master's to say
                notify.stopping()
            return frozenset(pending)
        finally:
            forwarder.close()
            web.close()
            runtime.close()
            server.close()


def _wait_for(engines: dict[EngineKind, Engine]) -> None:
    """Until workers have started: whoever hears that we run may connect, and so may our checks."""
    proxy = engines[EngineKind.PROXY]
    deadline = time.monotonic() + _START_SECONDS
    while isinstance(proxy, ProxyEngine) and not proxy.is_ready and time.monotonic() < deadline:
        time.sleep(0.005)


def _recalled(configuration: Configuration) -> Recalled:
    """States of servers that were saved before; what is wrong with their files is only told."""
    found = recall(configuration, lambda path: Path(path).read_text("utf-8", "replace"))
    for warning in found.warnings:
        _log.warning(warning)
    return found


def _stage(
    runtime: RuntimeServer,
    web: WebServer,
    forwarder: Forwarder,
    means: Means,
    configuration: Configuration,
) -> Staged:
    """Open the sockets that *configuration* adds. Raises PenstockError, and has opened none."""
    staged = AllStaged([runtime.stage(configuration.settings.runtime_api)])
    try:
        staged.parts.append(web.stage(configuration.http))
        named = means.named(configuration.settings.naming)
        staged.parts.append(forwarder.stage(configuration.log_forwards, named))
    except PenstockError:
        staged.drop()
        raise
    return staged


@dataclass(frozen=True, slots=True)
class AllStaged:
    """Several that go together."""

    parts: list[Staged]

    def commit(self) -> None:
        for part in self.parts:
            part.commit()

    def drop(self) -> None:
        for part in self.parts:
            part.drop()
