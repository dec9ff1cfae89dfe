# SPDX-License-Identifier: Apache-2.0
"""bpffs, where pinned programs, links and maps outlive the process; one directory an instance."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from pathlib import Path
from typing import Final

from penstock.errors import DatapathError

BPFFS: Final = Path("/sys/fs/bpf")
_MAGIC: Final = 0xCAFE4A11  # BPF_FS_MAGIC, include/uapi/linux/magic.h
# bpffs refuses names with dots; the rest is what service and interface names are made of.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


class _StatFs(ctypes.Structure):
    _fields_ = (("f_type", ctypes.c_long), ("rest", ctypes.c_byte * 248))


def is_bpffs(path: Path) -> bool:
    """Whether *path* exists and lies on a bpffs."""
    information = _StatFs()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), ctypes.byref(information)):
        return False
    kind: int = information.f_type
    return kind & 0xFFFFFFFF == _MAGIC


def mount(path: Path = BPFFS) -> bool:
    """Mount bpffs at *path* unless it is; whether it had to be.

    Raises DatapathError where it is hidden by a mount namespace of our own (what is pinned there
    would vanish with it), or without the privilege to mount.
    """
    if is_bpffs(path):
        return False
    if _in_a_mount_namespace():
        raise DatapathError(
            f"no bpffs at {path} in this mount namespace ('ip netns exec' hides it: "
            "use nsenter --net=/run/netns/NAME)"
        )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(path), b"bpf", 0, b"mode=0700"):
        number = ctypes.get_errno()
        advice = "; as root: mount -t bpf bpf " + str(path) if number == errno.EPERM else ""
        raise DatapathError(f"cannot mount bpffs at {path}: {os.strerror(number)}{advice}")
    return True


def _in_a_mount_namespace() -> bool:
    """Whether a process that we descend from sees other mounts than we do."""
    ours = Path("/proc/self/ns/mnt").readlink()
    process = os.getppid()
    while process:
        folder = Path("/proc") / str(process)
        try:
            if (folder / "ns/mnt").readlink() != ours:
                return True
        except PermissionError:  # a process with more privileges than ours: ask the next
            pass
        except FileNotFoundError:
            return False
        # /proc/PID/stat: number (name) state parent ...; a name may hold anything
        process = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return False


class PinDirectory:
    """The pins of one instance; everything in the directory is its own."""

    def __init__(self, path: Path) -> None:
        self.root = path

    def create(self) -> None:
        """Make the directory, for this user alone. Raises DatapathError off a bpffs."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DatapathError(f"cannot make {self.root}: {error.strerror}") from error
        if not is_bpffs(self.root):
            raise DatapathError(f"{self.root} is not on a bpffs, so nothing can be pinned there")

    def path(self, name: str) -> Path:
        """Where *name* is pinned: letters, digits, - and _, as bpffs takes no dots."""
        if not _NAME.match(name):
            raise ValueError(f"{name!r} cannot be a pin's name")
        return self.root / name

    def names(self) -> tuple[str, ...]:
        """What is pinned, sorted; empty when the directory is not there."""
        try:
            return tuple(sorted(entry.name for entry in self.root.iterdir()))
        except FileNotFoundError:
            return ()

    def has(self, name: str) -> bool:
        return self.path(name).exists()

    def unpin(self, name: str) -> None:
        """Remove one pin; what nobody else holds or attaches goes away. Absent is fine."""
        self.path(name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Unpin all and remove the directory, and its parents below bpffs once empty."""
        if not self.root.exists():
            return
        if not is_bpffs(self.root):
            raise DatapathError(f"{self.root} is not on a bpffs: not removing anything there")
        for name in self.names():
            self.unpin(name)
        self.root.rmdir()
        parent = self.root.parent
        while parent != parent.parent and not os.path.ismount(parent) and not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent
