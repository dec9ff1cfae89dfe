# SPDX-License-Identifier: Apache-2.0
"""Where an instance lives: its runtime directory, lock, control socket and pin directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import InstanceRunning, PenstockError

_BPFFS = Path("/sys/fs/bpf")
_DEFAULT = Path("/run/penstock")


@dataclass(frozen=True, slots=True)
class RuntimePaths:
    """Two instances are apart when their directories are."""

    directory: Path
    pins: Path

    @classmethod
    def of(cls, environ: Mapping[str, str], pin_path: Path | None = None) -> RuntimePaths:
        """From PENSTOCK_RUNTIME_DIR and PENSTOCK_PIN_PATH, or the defaults.

        The default pin path follows from the runtime directory, so that setting one is enough.
        """
        if "PENSTOCK_RUNTIME_DIR" in environ:
            directory = Path(environ["PENSTOCK_RUNTIME_DIR"]).absolute()
        elif os.geteuid() == 0 or "XDG_RUNTIME_DIR" not in environ:
            directory = _DEFAULT
        else:
            directory = Path(environ["XDG_RUNTIME_DIR"]) / "penstock"
        pins = pin_path or (
            Path(environ["PENSTOCK_PIN_PATH"]) if "PENSTOCK_PIN_PATH" in environ else None
        )
        if pins is None:
            tail = ""
            if directory != _DEFAULT:
                tail = "-" + hashlib.blake2b(bytes(directory), digest_size=6).hexdigest()
            pins = _BPFFS / f"penstock{tail}"
        return cls(directory, pins)

    @property
    def socket(self) -> Path:
        return self.directory / "control.sock"

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def overrides(self) -> Path:
        return self.directory / "overrides.json"

    def create(self) -> None:
        """Make the runtime directory. Raises PenstockError."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PenstockError(
                f"cannot make the runtime directory {self.directory}: {error.strerror}; "
                "set PENSTOCK_RUNTIME_DIR to one you may write to"
            ) from error


class InstanceLock:
    """Held for as long as a daemon runs; the kernel lets go of it when the daemon dies."""

    def __init__(self, paths: RuntimePaths) -> None:
        try:
            self._fd = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PenstockError(f"cannot open {paths.lock}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._fd, 32).decode(errors="replace").strip()
            os.close(self._fd)
            raise InstanceRunning(
                f"penstock{f' (pid {owner})' if owner else ''} is already running with runtime "
                f"directory {paths.directory}; set PENSTOCK_RUNTIME_DIR for a second instance"
            ) from None
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self._fd)
            raise PenstockError(f"cannot write {paths.lock}: {error.strerror}") from error

    def close(self) -> None:
        os.close(self._fd)
