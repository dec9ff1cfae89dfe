# SPDX-License-Identifier: Apache-2.0
"""The Runtime API on a rig: ask(line) -> what a client would read."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from unit_rig import Clock, Rig

from penstock.config.haproxy.loading import loads
from penstock.control.controller import Controller
from penstock.engine.api import Engine
from penstock.model import Configuration
from penstock.runtime_api.commands import registry
from penstock.runtime_api.context import Context, Runtime, Session
from penstock.runtime_api.registry import Command, Registry
from penstock.runtime_api.server import RuntimeServer
from penstock.runtime_api.terminal import Terminal
from penstock.runtime_sockets import AccessLevel
from penstock.statistics.collector import Collector


def configuration_of(text: str) -> Configuration:
    return loads(text).configuration


def runtime_of(
    controller: Controller,
    commands: Iterable[Command] = (),
    *,
    engines: Iterable[Engine] = (),
    clock: Callable[[], float] = Clock(),  # noqa: B008  # it does not move
) -> Runtime:
    """All commands, and *commands*; numbers are those of *engines*."""
    both = Registry((*registry().commands, *commands))
    collector = Collector(engines, clock)
    return Runtime(controller, both, collector, {"HOME": "/root"}, clock=clock, began=clock())


def terminal_of(runtime: Runtime, level: AccessLevel = AccessLevel.ADMIN) -> Terminal:
    return Terminal(runtime.registry, Context(runtime, Session(level)))


def ask(terminal: Terminal, line: str) -> str:
    """Everything that *line* is answered with."""
    terminal.receive(line.encode() + b"\n")
    return "".join(pieces(terminal))


def pieces(terminal: Terminal) -> Iterator[str]:
    while (piece := terminal.output()) is not None:
        yield piece


@dataclass
class Daemon:
    """A server, and the loop it is on."""

    directory: Path
    commands: tuple[Command, ...] = ()
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.rig = Rig(Configuration(), self.directory)
        self.runtime = runtime_of(self.rig.controller, self.commands)
        self.server = RuntimeServer(self.selector, self.runtime, self.clock)

    def follow(self, text: str) -> None:
        """Run with the global section *text*."""
        self.server.stage(configuration_of(f"global\n{text}\n").settings.runtime_api).commit()

    def turn(self) -> bool:
        """Everything that is ready now; False when nothing is."""
        ready = self.selector.select(0)
        for key, events in ready:
            key.data(events)
        return bool(ready)

    def run(self) -> None:
        """Until there is nothing to do; bounded, so that a busy loop is a failure."""
        for _ in range(20_000):
            if not self.turn():
                return
        pytest.fail("the loop does not come to rest")

    def connect(self, name: str = "a.sock") -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(str(self.directory / name))
        return client

    def ask(self, line: str, name: str = "a.sock") -> str:
        """One command on a connection of its own, up to its end."""
        with self.connect(name) as client:
            client.sendall(line.encode() + b"\n")
            self.run()
            client.setblocking(False)
            return b"".join(iter(lambda: client.recv(1 << 16), b"")).decode()

    def close(self) -> None:
        self.server.close()
        self.selector.close()
