# SPDX-License-Identifier: Apache-2.0
"""The kernel engine held to what every engine must do, on a loopback device of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from bpf_namespace import Namespace
from unit_conformance import CHECKS, Subject, bring, key, refused, serve_one, service, whole

from penstock.control.plan import diff
from penstock.engine.api import DatapathState, PutService, RealKey, RemovePool, RetireReal
from penstock.engine.kernel import KernelEngine
from penstock.kernel.bpffs import BPFFS, mount
from penstock.lab.network import until
from penstock.model import Bind, PortRange, Settings

pytestmark = pytest.mark.root

_PATIENCE = 20.0


class Kernel:
    """The kernel engine, and a server behind it."""

    def __init__(self, pins: Path, state: Path) -> None:
        self._pins, self._state = pins, state
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(_PATIENCE)
        self.server_port = self._server.getsockname()[1]
        self.engine = self._open()

    def _open(self) -> KernelEngine:
        return KernelEngine.open(Settings(max_flows=1024), pins=self._pins, state=self._state)

    def crash_and_come_back(self) -> None:
        self.engine.close(keep=True)
        self.engine = self._open()

    def bind(self, number: int) -> Bind:
        return Bind(ip_address("127.0.0.1"), PortRange.single(1000 + number))

    @contextlib.contextmanager
    def occupied(self) -> Iterator[Bind]:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = PortRange.single(taken.getsockname()[1])
            yield Bind(ip_address("127.0.0.1"), port)

    @contextlib.contextmanager
    def connected(self, bind: Bind, service: str, key: RealKey) -> Iterator[None]:
        where = str(bind.vip), bind.ports.first
        with socket.create_connection(where, timeout=_PATIENCE):
            behind, _ = self._server.accept()
            with behind:
                yield
        until("it is over", lambda: not self._pins.exists() or not self.engine.live(key))

    def is_free(self, bind: Bind) -> bool:
        with socket.socket() as one:
            try:
                one.bind((str(bind.vip), bind.ports.first))
            except OSError:
                return False
        return True

    def close(self) -> None:
        self._server.close()
        if self._pins.exists():
            self.engine.close(keep=False)

    def leftovers(self) -> list[str]:
        return [str(path) for path in (self._pins, *self._state.iterdir()) if path.exists()]


@pytest.fixture
def subject(built_object: Path, tmp_path: Path) -> Iterator[Kernel]:
    mount(BPFFS)
    namespace = Namespace("link set lo up\n", {})
    pins = BPFFS / f"penstock-conformance-{os.getpid()}"
    try:
        with namespace.inside():
            made = Kernel(pins, tmp_path)
            yield made
            made.close()
    finally:
        shutil.rmtree(pins, ignore_errors=True)
        namespace.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_kernel_engine(check: Callable[[Subject], None], subject: Kernel) -> None:
    check(subject)


def test_what_is_taken_over_is_put_again_or_taken_away(subject: Kernel) -> None:
    """A service that the new configuration does not have must not go on for ever."""
    state = whole(subject)
    bring(subject.engine, state)
    subject.crash_and_come_back()
    assert subject.engine.observe().reals == state.reals
    fewer = DatapathState(
        state.reals, state.pools, {"front": state.services["front"]}, state.maxconn
    )
    bring(subject.engine, fewer)
    assert set(subject.engine.counters().services) == {"front"}
    assert diff(subject.engine.observe(), fewer) == ()
    subject.crash_and_come_back()
    bring(subject.engine, DatapathState())
    counters = subject.engine.counters()
    assert (counters.services, counters.reals) == ({}, {})


def test_what_is_taken_over_is_in_use_as_before(subject: Kernel) -> None:
    serve_one(subject)
    subject.crash_and_come_back()
    refused(subject.engine, RemovePool("web"))
    refused(subject.engine, RetireReal(key(subject)))


def test_a_service_that_is_refused_costs_no_number(subject: Kernel) -> None:
    serve_one(subject)
    engine = subject.engine
    first = engine._service_ids.take()
    engine._service_ids.free(first)
    blocked = replace(service(subject, "blocked"), binds=(subject.bind(1),), pool="unknown")
    for _ in range(3):
        refused(engine, PutService(blocked))
    assert engine._service_ids.take() == first


def test_a_service_whose_interface_comes_later_is_served_then(subject: Kernel) -> None:
    serve_one(subject)
    engine = subject.engine
    bind = replace(subject.bind(1), interface="later0")
    late = replace(service(subject, "late"), binds=(bind,))
    refused(engine, PutService(late))
    assert "late" not in engine.observe().services
    link = "ip link add later0 type veth peer name later1"
    subprocess.run(link.split(), check=True)
    engine.apply(PutService(late))
    assert engine._vips["late"]
