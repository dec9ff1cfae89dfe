# SPDX-License-Identifier: Apache-2.0
"""Runs what was read, in this process, until a signal ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from penstock import daemon
from penstock.config.haproxy import LoadResult
from penstock.engine.kernel import KernelEngine
from penstock.engine.proxy import Owner, ProxyEngine, worker_count
from penstock.engine.proxy.handover import Inheritance
from penstock.errors import CapabilityError, PenstockError
from penstock.haproxy.arguments import Arguments
from penstock.haproxy.predecessors import Predecessors
from penstock.haproxy.voice import Voice, speak_through
from penstock.instance.runtime import InstanceLock, RuntimePaths
from penstock.instance.tenure import Beside, Tenure
from penstock.kernel import bpffs, probe
from penstock.model import Configuration, EngineKind
from penstock.proxied import LocalAddress, LocalKind

_PROGRAM = "haproxy"  # what logs call it, for whoever reads them looks for that


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The processes around this one."""

    before: Predecessors = field(default_factory=Predecessors)
    master: socket.socket | None = None


def serve(
    arguments: Arguments,
    loaded: LoadResult,
    voice: Voice,
    up: Callable[[], None],
    around: Surroundings,
) -> int:
    """The exit status; *up* is called when clients can connect. May end by a signal instead."""
    for number in (signal.SIGQUIT, signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_IGN)  # HAProxy reports, pauses and resumes; none ends it
    speak_through(voice, everything=arguments.debug or arguments.verbose)
    try:
        ended = _run(replace(loaded, warnings=()), voice, up, around)  # they have been told
    except PenstockError as error:
        voice.alert(str(error))
        voice.alert("[haproxy.main()] Some protocols failed to start their listeners! Exiting.")
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        if number in ended:  # whoever waits for this process learns what ended it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
    return 0


def _run(
    loaded: LoadResult, voice: Voice, up: Callable[[], None], around: Surroundings
) -> frozenset[int]:
    paths = RuntimePaths.of(os.environ)
    settings = loaded.configuration.settings
    tenure = Tenure(paths)
    own = paths.of_process(os.getpid())
    lock = InstanceLock(own)
    paths.remove_deserted()
    keep = False
    with contextlib.ExitStack() as stack:
        stack.callback(lock.close)
        stack.callback(own.remove)
        stack.callback(lambda: tenure.close(keep=keep))
        proxy = ProxyEngine(
            _workers(loaded.configuration),
            owner=Owner.of(settings.user, settings.group),
            program=_PROGRAM,
            forks=True,
            inheritance=Inheritance(around.before.listeners()),
        )
        stack.callback(lambda: proxy.close(keep=False))
        engine, lack = _kernel_engine(tenure, loaded.configuration, around.before)
        load: Callable[[], LoadResult] = lambda: loaded  # noqa: E731
        if lack is not None:
            load = daemon.without_kernel(load, lack)
        if lack:
            voice.warning(f"every service runs on the proxy engine: {lack}")
        beside = Beside(tenure, proxy, own, around.master)
        options = daemon.Options(ready=up, beside=beside, program=_PROGRAM, events=voice.event)
        place = own if engine is None else replace(own, control=paths.socket)
        try:
            return daemon.serve(engine, proxy, load, load(), paths=place, options=options)
        except BaseException:
            keep = engine is not None and engine.adopted  # another configuration ran before us
            raise


def _kernel_engine(
    tenure: Tenure, configuration: Configuration, before: Predecessors
) -> tuple[KernelEngine | None, str | None]:
    """It, or why there is none ("": nothing needs it)."""
    services = [one for one in configuration.services if not one.disabled]
    if all(one.engine is EngineKind.PROXY for one in services):
        return None, ""
    try:
        probe.probe()
    except CapabilityError as error:
        return None, str(error)
    if (lack := tenure.claim(before.release)) is not None:
        return None, lack
    bpffs.mount()
    return tenure.open(configuration.settings), None


def _workers(configuration: Configuration) -> int:
    """As many as there are threads; one where nothing could spread connections over them."""
    listeners = [one for service in configuration.services for one in service.front.listeners]
    if listeners and all(_is_inherited(one.address) for one in listeners):
        return 1
    return worker_count(configuration.settings.workers)


def _is_inherited(address: object) -> bool:
    return isinstance(address, LocalAddress) and address.kind is LocalKind.INHERITED
