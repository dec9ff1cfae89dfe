# SPDX-License-Identifier: Apache-2.0
"""Where an instance lives: its runtime directory, lock, control socket and pin directory.

Rules belong to a network namespace, so each has an instance of its own unless told otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import InstanceRunning, PenstockError

_BPFFS = Path("/sys/fs/bpf")
_DEFAULT = Path("/run/penstock")
_SHARED = Path("/tmp")  # noqa: S108  # what others put there is not taken: create() looks
_DEFAULT_NAME = re.compile(r"penstock(-net-[0-9]+)?")
_SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h, Linux 5.14
_YIELDS = "yields"  # after the pid in the lock
_RACES = 10  # lost in a row to instances that end: more have another reason
_FIRST_COOKIE = 1
_FIRST_INODE = 0xEFFFFFF9  # NET_NS_INIT_INO, include/uapi/linux/nsfs.h


def foreign_namespace() -> int | None:
    """This network namespace's cookie; None in the initial one, and where the kernel has none.

    Cookies are never used twice while the machine runs; inode numbers are.
    """
    import socket  # noqa: PLC0415  # only where no directory is set

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
            raw = any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    except OSError:
        return None
    cookie = int.from_bytes(raw, sys.byteorder)
    return None if cookie == _FIRST_COOKIE or _inode() == _FIRST_INODE else cookie


def _inode() -> int:
    """The first namespace is known by this since cookies are counted with all other namespaces."""
    try:
        return os.stat("/proc/thread-self/ns/net").st_ino
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class RuntimePaths:
    """Two instances are apart when their directories are."""

    directory: Path
    pins: Path
    control: Path | None = None  # the control socket, where it is not in the directory

    @classmethod
    def of(
        cls,
        environ: Mapping[str, str],
        pin_path: Path | None = None,
        foreign: Callable[[], int | None] = foreign_namespace,
    ) -> RuntimePaths:
        """From PENSTOCK_RUNTIME_DIR and PENSTOCK_PIN_PATH, or this network namespace's defaults.

        The default pin path follows from the runtime directory, so that setting one is enough.
        """
        if "PENSTOCK_RUNTIME_DIR" in environ:
            directory = Path(environ["PENSTOCK_RUNTIME_DIR"]).absolute()
        else:
            directory = _default(environ, os.geteuid())
            cookie = foreign()
            if cookie is not None:
                directory = directory.with_name(f"{directory.name}-net-{cookie}")
        pins = pin_path or (
            Path(environ["PENSTOCK_PIN_PATH"]) if "PENSTOCK_PIN_PATH" in environ else None
        )
        return cls(directory, pins or _BPFFS / _pin_name(directory))

    def of_process(self, pid: int) -> RuntimePaths:
        """Beside these, for one of several instances in a network namespace."""
        directory = self.directory.with_name(f"{self.directory.name}-haproxy-{pid}")
        return RuntimePaths(directory, self.pins.with_name(f"{self.pins.name}-haproxy-{pid}"))

    def remove_deserted(self) -> None:
        """Remove what processes beside these have left that were killed."""
        for directory in self.directory.parent.glob(f"{self.directory.name}-haproxy-*"):
            left = RuntimePaths(directory, self.pins)
            with contextlib.suppress(PenstockError):
                lock = InstanceLock(left)
                left.remove()
                lock.close()

    @property
    def socket(self) -> Path:
        return self.control or self.directory / "control.sock"

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def overrides(self) -> Path:
        return self.directory / "overrides.json"

    @property
    def rules(self) -> Path:
        return self.directory / "rules.jsonl"

    @property
    def succession(self) -> Path:
        """Where the next process asks for what it takes over."""
        return self.directory / "succession.sock"

    @property
    def log(self) -> Path:
        """What a daemon that was started on demand has to say."""
        return self.directory / "log"

    def create(self) -> None:
        """Make the runtime directory. Raises PenstockError."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PenstockError(
                f"cannot make the runtime directory {self.directory}: {error.strerror}; "
                "set PENSTOCK_RUNTIME_DIR to one you may write to"
            ) from error
        found = self.directory.lstat()
        if self.directory.parent == _SHARED and (
            not stat.S_ISDIR(found.st_mode)
            or found.st_uid != os.geteuid()
            or stat.S_IMODE(found.st_mode) & 0o077
        ):
            raise PenstockError(
                f"{self.directory} is not a directory that is yours alone; "
                "set PENSTOCK_RUNTIME_DIR to one that is"
            )

    def open(self, path: Path, flags: int = 0) -> int:
        """A descriptor to read and write a file in the directory; either is made if need be.

        Raises PenstockError.
        """
        races = 0
        while True:
            self.create()
            try:
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
            except OSError as error:
                # An instance that has just ended may have taken the directory along.
                if not isinstance(error, FileNotFoundError) or races == _RACES:
                    raise PenstockError(f"cannot open {path}: {error.strerror}") from error
            races += 1

    def remove(self) -> None:
        """Remove what is ours but for the lock, which is its holder's."""
        # A socket has a name of its own until it listens; who was killed just then has left it.
        begun = self.directory.glob(f"{self.succession.name}.*.tmp")
        for path in (self.socket, self.succession, self.overrides, self.rules, self.log, *begun):
            path.unlink(missing_ok=True)


def _default(environ: Mapping[str, str], user: int) -> Path:
    """Of root, of a user with a session, and of one without (a service account, a container)."""
    if user == 0:
        return _DEFAULT
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "penstock"
    return _SHARED / f"penstock-{user}"


def _pin_name(directory: Path) -> str:
    if directory.parent == _DEFAULT.parent and _DEFAULT_NAME.fullmatch(directory.name):
        return directory.name
    import hashlib  # noqa: PLC0415  # OpenSSL takes its time to load

    return "penstock-" + hashlib.blake2b(bytes(directory), digest_size=6).hexdigest()


class InstanceLock:
    """Held for as long as a daemon runs; the kernel lets go of it when the daemon dies."""

    def __init__(self, paths: RuntimePaths, *, yields: bool = False) -> None:
        """*yields*: gives way to an instance that does not. Makes the directory if need be.

        Raises InstanceRunning.
        """
        self._paths = paths
        self._fd = paths.open(paths.lock)
        while not self._take():
            os.close(self._fd)
            self._fd = paths.open(paths.lock)
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}{f' {_YIELDS}' if yields else ''}\n".encode(), 0)
        except OSError as error:
            os.close(self._fd)
            raise PenstockError(f"cannot write {paths.lock}: {error.strerror}") from error

    def _take(self) -> bool:
        """False where its holder removed the file at its end, after we had opened it."""
        paths = self._paths
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner, _, mark = os.read(self._fd, 32).decode(errors="replace").strip().partition(" ")
            os.close(self._fd)
            raise InstanceRunning(
                f"penstock{f' (pid {owner})' if owner else ''} is already running with runtime "
                f"directory {paths.directory}; set PENSTOCK_RUNTIME_DIR for a second instance",
                yields=int(owner) if mark == _YIELDS else 0,
                pid=int(owner) if owner.isdecimal() else 0,
            ) from None
        return os.fstat(self._fd).st_nlink > 0

    def close(self) -> None:
        """Let go; the directory goes along where nothing else is left in it."""
        with contextlib.suppress(OSError):
            if os.listdir(self._paths.directory) == [self._paths.lock.name]:
                self._paths.lock.unlink()
                self._paths.directory.rmdir()
        os.close(self._fd)
