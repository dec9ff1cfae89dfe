# SPDX-License-Identifier: Apache-2.0
"""What a haproxy.cfg says of the process that runs it (HAProxy manual 3.1, 3.6).

``penstock haproxy`` heeds it; ``penstock run`` leaves it to the service manager.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.errors import InvalidModel


@dataclass(frozen=True, slots=True)
class Program:
    """A program that the master runs beside its workers."""

    name: str
    command: tuple[str, ...]
    restart_on_reload: bool = True  # option start-on-reload
    user: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if not self.command:
            raise InvalidModel(f"program {self.name} has no command")


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    daemon: bool = False
    master_worker: bool = False
    ends_with_worker: bool = True  # the master, when its worker has failed
    max_reloads: int | None = None  # that a worker outlives; None: any number
    quiet: bool = False
    pidfile: str | None = None
    hard_stop_after: int | None = None  # ms that sessions have after SIGUSR1; None: for ever
    programs: tuple[Program, ...] = ()
