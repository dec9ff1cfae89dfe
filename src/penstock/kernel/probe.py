# SPDX-License-Identifier: Apache-2.0
"""Whether this kernel and this user can run the datapath, said in one sentence if not."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock.errors import CapabilityError
from penstock.kernel import sysctl
from penstock.kernel.libbpf import LibbpfError, library
from penstock.kernel.links import query_tcx

# Bounded loops over maps, BPF_LINK for XDP, batches on per-CPU arrays, programs of type syscall.
OLDEST_KERNEL: Final = (5, 15)
_LOOPBACK: Final = 1  # the kernel numbers it so in every network namespace

# include/uapi/linux/capability.h
_CAP_NET_ADMIN: Final = 12
_CAP_SYS_ADMIN: Final = 21
_CAP_PERFMON: Final = 38
_CAP_BPF: Final = 39


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the machine offers."""

    kernel: tuple[int, int]
    tcx: bool  # else a clsact filter stands in
    jit: bool  # else programs are interpreted, several times slower

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is worth telling the user although it works, a sentence each."""
        if self.jit:
            return ()
        return ("the BPF JIT compiler is off: sysctl -w net.core.bpf_jit_enable=1",)


def kernel_version(release: str) -> tuple[int, int]:
    """Major and minor number of a release such as "6.1.0-18-amd64"."""
    match = re.match(r"(\d+)\.(\d+)", release)
    if match is None:
        raise CapabilityError(f"cannot tell the kernel's version from {release!r}")
    return int(match[1]), int(match[2])


def effective_capabilities(status: str) -> int:
    """The effective capability set, one bit each, from the text of /proc/self/status."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(match[1], 16) if match else 0


def check_kernel(version: tuple[int, int]) -> None:
    """Raises CapabilityError for a kernel that is too old."""
    if version < OLDEST_KERNEL:
        raise CapabilityError(
            f"Linux {version[0]}.{version[1]} is too old for the datapath, "
            f"which needs {OLDEST_KERNEL[0]}.{OLDEST_KERNEL[1]} or later"
        )


def check_privilege(capabilities: int) -> None:
    """Raises CapabilityError for a user that may not load and attach programs."""

    def has(*any_of: int) -> bool:
        return any(capabilities >> bit & 1 for bit in any_of)

    missing = []
    if not has(_CAP_BPF, _CAP_SYS_ADMIN):
        missing.append("CAP_BPF")
    if not has(_CAP_PERFMON, _CAP_SYS_ADMIN):
        missing.append("CAP_PERFMON")
    if not has(_CAP_NET_ADMIN):
        missing.append("CAP_NET_ADMIN")
    if missing:
        raise CapabilityError(
            f"loading the datapath needs root, or the capabilities that are missing here: "
            f"{', '.join(missing)}"
        )


def probe() -> Capabilities:
    """What this machine offers. Raises CapabilityError: what is missing, in one sentence."""
    version = kernel_version(os.uname().release)
    check_kernel(version)
    check_privilege(effective_capabilities(Path("/proc/self/status").read_text(encoding="ascii")))
    library()
    # Only the first network namespace shows this setting.
    jit = sysctl.read("net/core/bpf_jit_enable")
    return Capabilities(kernel=version, tcx=_has_tcx(), jit=jit != "0")


def _has_tcx() -> bool:
    try:
        query_tcx(_LOOPBACK)
    except LibbpfError as error:
        if error.errno == errno.EINVAL:
            return False
        if error.errno in (errno.EPERM, errno.ENOSYS):
            raise CapabilityError(
                "this system lets nobody use BPF (a container's seccomp filter, or kernel lockdown)"
            ) from error
        raise
    return True
