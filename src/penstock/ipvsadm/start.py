# SPDX-License-Identifier: Apache-2.0
"""Starts a daemon at the first command, as the kernel loads its module then.

The daemon is detached from the command: its own session, ``/``, no descriptors but its log. It
serves the network namespace of the command, which it inherits. Of several commands that start one
at once the instance lock lets one daemon live, and all of them wait for that one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

import penstock
from penstock.api.client import ask
from penstock.api.wire import Reply, Request
from penstock.errors import NotRunning, PenstockError
from penstock.instance.runtime import RuntimePaths

_PATIENCE: Final = 60.0  # seconds: loading programs takes long on a busy machine, but not so long
_PAUSE: Final = 0.02  # seconds between two tries to reach it
_LOG_LIMIT: Final = 1 << 20  # bytes of log from which on a new daemon starts it anew
_BPFFS: Final = "sys/fs/bpf"
_CLONE_NEWNS: Final = 0x00020000  # include/uapi/linux/sched.h
_CANNOT_EXECUTE: Final = 126
# A service's that ran the command: the daemon must not report to its manager in its name.
_NOT_INHERITED: Final = frozenset(
    (
        *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID"),
        *("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "MAINPID"),
    )
)


def ask_started(paths: RuntimePaths, request: Request) -> Reply:
    """Send *request* to the daemon, starting one where none answers. Raises PenstockError."""
    with contextlib.suppress(NotRunning):
        return ask(paths.socket, request)
    ensure_daemon(paths)
    return ask(paths.socket, request)


def ensure_daemon(paths: RuntimePaths) -> None:
    """Have a daemon answer on *paths*; start one if need be and wait for it.

    Raises PenstockError with its last word when it does not come up.
    """
    if _answers(paths.socket):
        return
    log = _open_log(paths)
    try:
        _start_and_wait(paths, log)
    finally:
        os.close(log)


def _start_and_wait(paths: RuntimePaths, log: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    begin = os.fstat(log).st_size
    child = 0
    while not _answers(paths.socket):
        if not child and not _locked(paths.lock):
            child = _spawn(paths, log)
        ended, status = os.waitpid(child, os.WNOHANG) if child else (0, 0)
        if ended and status:
            raise PenstockError(_last_word(log, begin) or _unexplained(status))
        if ended:  # another one has the lock: that one will answer, or end and leave it to us
            child = 0
        if time.monotonic() > deadline:
            raise PenstockError(
                f"penstock has not come up in {_PATIENCE:g} s; its log is {paths.log}"
            )
        time.sleep(_PAUSE)


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        return True  # whoever asks it next is told what is wrong
    return True


def _locked(path: Path) -> bool:
    """Whether an instance runs, be it one that does not answer yet or no more."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _open_log(paths: RuntimePaths) -> int:
    # Like the runtime directory it is root's alone; a link in it would be root's own doing.
    log = _clear_of_standard(paths.open(paths.log, os.O_APPEND))
    if os.fstat(log).st_size > _LOG_LIMIT:
        os.ftruncate(log, 0)
    return log


def _clear_of_standard(descriptor: int) -> int:
    """The same file under a number above 2: whoever ran us may have closed those."""
    if descriptor > 2:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return moved


def _last_word(log: int, begin: int) -> str:
    """The last line in the log after *begin*, as a sentence of our own."""
    # Read by our descriptor: the daemon of a namespace that is gone removes the file.
    said = os.pread(log, _LOG_LIMIT, begin).decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(said) if line.strip()), "")
    return last.removeprefix("penstock: ")


def _unexplained(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    end = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
    return f"penstock {end} before it was up"


# -- the child ---------------------------------------------------------------------------


def _spawn(paths: RuntimePaths, log: int) -> int:
    # All that may allocate or fail is done before the fork, but for what only the child can do.
    command = [sys.executable, "-P", "-m", "penstock", "run", "--ipvs", "--on-demand"]
    environment = _environment(paths)
    mounts = _outer_mounts(paths)
    # Ignored, as some programs leave it to theirs, it would hide from us how the child ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if not child:
        _become(command, environment, log, mounts)
    if mounts is not None:
        os.close(mounts)
    return child


def _become(
    command: list[str], environment: dict[str, str], log: int, mounts: int | None
) -> NoReturn:
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if mounts is not None:
            _enter(mounts)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        os.umask(0o077)
        os.execve(command[0], command, environment)  # noqa: S606  # ourselves
    except OSError as error:
        os.write(2, f"penstock: cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(_CANNOT_EXECUTE)


def _environment(paths: RuntimePaths) -> dict[str, str]:
    """Ours, so that the daemon finds the same program and the same place."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    environment["PENSTOCK_RUNTIME_DIR"] = str(paths.directory)
    environment["PENSTOCK_PIN_PATH"] = str(paths.pins)
    package = _package().parent
    search = [
        os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(":") if entry
    ]
    if package.name not in (
        "site-packages",
        "dist-packages",
    ):  # a checkout, which is not on the path
        search.insert(0, str(package))
    if search:
        environment["PYTHONPATH"] = ":".join(search)
    return environment


def _package() -> Path:
    return Path(penstock.__file__).resolve().parent


def _outer_mounts(paths: RuntimePaths) -> int | None:
    """A descriptor on the mount namespace that the daemon is to enter, where it is not ours.

    ``ip netns exec`` gives its command mounts of its own, with a /sys in which nothing is mounted:
    what is pinned there goes with the last process. The machine's own mounts are those of PID 1, or
    of whoever we descend from where that one may not be looked at.
    """
    if os.path.ismount(f"/{_BPFFS}"):
        return None
    ours = os.stat("/proc/self/ns/mnt")
    same = (os.path.realpath(sys.executable), str(_package()), str(paths.directory.resolve()))
    for pid in ("1", *reversed(_ancestors())):
        root = f"/proc/{pid}/root"
        try:
            if os.path.samestat(os.stat(f"/proc/{pid}/ns/mnt"), ours):
                return None
            if os.path.isdir(f"{root}/{_BPFFS}") and all(
                os.path.samefile(path, root + path) for path in same
            ):
                return _clear_of_standard(
                    os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
                )
        except OSError:
            continue
    return None


def _ancestors() -> list[str]:
    """Our parent, its parent and so on."""
    found: list[str] = []
    process = str(os.getppid())
    while process not in ("0", "1"):
        found.append(process)
        try:
            text = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            break
        # number (name) state parent ...: a name may hold anything
        process = text.rpartition(")")[2].split()[1]
    return found


def _enter(mounts: int) -> None:
    import ctypes  # noqa: PLC0415  # os.setns came with Python 3.12

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(mounts, _CLONE_NEWNS):
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} (entering the machine's mounts)")
