# SPDX-License-Identifier: Apache-2.0
"""A real ``penstock run`` inside a namespace: started, asked, reloaded, killed, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, ClassVar, Final, Protocol

import penstock
from penstock.api.client import ask
from penstock.api.wire import GetStatus, PoolStatus, RealStatus, ServiceStatus, Status
from penstock.errors import NotRunning
from penstock.instance.runtime import RuntimePaths
from penstock.lab.network import LabError, Namespace, stop, until

_START_SECONDS: Final = 30.0
_PACKAGE_ROOT: Final = str(Path(penstock.__file__).parents[1])


class Starter(Protocol):
    """Starts ``penstock WORDS`` in a namespace; it ends with the namespace."""

    def __call__(
        self,
        namespace: Namespace,
        words: tuple[str, ...],
        output: IO[bytes],
        own: Mapping[str, str],
        /,
    ) -> subprocess.Popen[bytes]: ...


def _as_a_program(
    namespace: Namespace, words: tuple[str, ...], output: IO[bytes], own: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    return namespace.start(sys.executable, "-m", "penstock", *words, output=output, env=own)


class Balancer:
    """One instance of penstock, with its log and runtime directory in *directory*.

    Its configuration lies there too, unless *file* names another file or directory.
    """

    starts: ClassVar[Starter] = staticmethod(_as_a_program)

    def __init__(self, namespace: Namespace, directory: Path, file: Path | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.namespace = namespace
        self.file = file or directory / "haproxy.cfg"
        self.log = directory / "log"
        self.environment = {
            "PENSTOCK_RUNTIME_DIR": str(directory / "run"),
            "PYTHONPATH": os.pathsep.join([_PACKAGE_ROOT, os.environ.get("PYTHONPATH", "")]),
        }
        self.paths = RuntimePaths.of(self.environment)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, configuration: str, *options: str) -> None:
        """Write the file, start the daemon, wait until it answers. Raises LabError with its log."""
        self.file.write_text(configuration)
        self.launch(*options)
        self.wait_ready()

    def launch(self, *options: str) -> None:
        """Start the daemon on the file as it is, without waiting."""
        self._run(*options, str(self.file))

    def start_rules(self, *options: str) -> None:
        """Start a daemon without a haproxy.cfg, for IPVS rules; wait until it answers."""
        self._run("--ipvs", *options)
        self.wait_ready()

    def wait_ready(self) -> None:
        until("penstock to answer", self._answers, _START_SECONDS)

    def command(
        self, *arguments: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``penstock ARGUMENTS`` against this instance, whatever its exit status."""
        return self.namespace.run(
            *(sys.executable, "-m", "penstock", *arguments),
            check=False,
            env=self.environment,
            stdin=stdin,
        )

    def status(self) -> Status:
        """What ``penstock status`` knows. Raises NotRunning."""
        reply = ask(self.paths.socket, GetStatus())
        if not isinstance(reply, Status):
            raise LabError(f"an answer of another kind: {reply}")
        return reply

    def pool(self, name: str) -> PoolStatus:
        return next(pool for pool in self.status().pools if pool.name == name)

    def service(self, name: str) -> ServiceStatus:
        return next(service for service in self.status().services if service.name == name)

    def real(self, pool: str, name: str) -> RealStatus:
        return next(real for real in self.pool(pool).reals if real.name == name)

    def reason(self, name: str) -> int:
        """How often the datapath did something for the reason called *name*."""
        return next((one.count for one in self.status().reasons if one.name == name), 0)

    def reload(self, configuration: str) -> subprocess.CompletedProcess[str]:
        """Replace the file and run ``penstock reload``."""
        self.file.write_text(configuration)
        return self.command("reload")

    def kill(self) -> None:
        """kill -9, as a crash would be."""
        process = self._running()
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        process = self._running()
        stop([process])
        return process.returncode

    def said(self) -> str:
        """Everything it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _run(self, *words: str) -> None:
        with self.log.open("ab") as log:
            self.process = self.starts(self.namespace, ("run", *words), log, self.environment)

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise LabError("penstock was not started")
        return self.process

    def _answers(self) -> bool:
        process = self._running()
        if process.poll() is not None:
            raise LabError(
                f"penstock ended with exit status {process.returncode}:\n{self.said().strip()}"
            )
        try:
            return self.status().pid == process.pid
        except NotRunning:
            return False
