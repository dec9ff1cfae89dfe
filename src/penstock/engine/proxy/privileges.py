# SPDX-License-Identifier: Apache-2.0
"""What a worker gives up before it takes its first connection: it reads what strangers send.

Root stays root in name only, or becomes the ``user`` and ``group`` of the configuration. What is
kept of root's capabilities is what sessions may ask for: certificates that are renewed
(CAP_DAC_READ_SEARCH), low source ports (CAP_NET_BIND_SERVICE), clients' addresses as sources and
marks (CAP_NET_ADMIN). See capabilities(7).
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass

from penstock.errors import ConfigError, Diagnostic

_VERSION = 0x20080522  # linux/capability.h, _LINUX_CAPABILITY_VERSION_3
_KEPT = 1 << 2 | 1 << 10 | 1 << 12
_BECOME = 1 << 6 | 1 << 7  # CAP_SETGID, CAP_SETUID
_SET_KEEPCAPS, _SET_NO_NEW_PRIVS = 8, 38  # linux/prctl.h


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Set(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom workers run as; -1: whoever starts them."""

    user: int = -1
    group: int = -1

    @classmethod
    def of(cls, user: str | None, group: str | None) -> Owner:
        """By name, or number as "#0". Nobody else than root can become another: for them, nobody.

        Raises ConfigError for a name that this machine does not know, and where root may not
        become another either.
        """
        if os.geteuid() != 0:
            return cls()
        try:
            number = -1 if user is None else _number(user, lambda name: pwd.getpwnam(name).pw_uid)
            owner = pwd.getpwuid(number).pw_gid if number != -1 and group is None else -1
        except KeyError:
            raise _unknown("user", user) from None
        try:
            if group is not None:
                owner = _number(group, lambda name: grp.getgrnam(name).gr_gid)
        except KeyError:
            raise _unknown("group", group) from None
        if (number, owner) != (-1, -1) and permitted() & _BECOME != _BECOME:
            raise _wrong(
                f"cannot run workers as user '{user}', group '{group}': this process lacks"
                " CAP_SETUID or CAP_SETGID; grant both, or leave out 'user' and 'group'."
            )
        return cls(number, owner)


NOBODY_ELSE = Owner()


def _number(text: str, find: Callable[[str], int]) -> int:
    return int(text[1:]) if text.startswith("#") else find(text)


def _unknown(what: str, name: str | None) -> ConfigError:
    return _wrong(f"cannot find {what} id for '{name}', whom workers are to run as.")


def _wrong(message: str) -> ConfigError:
    return ConfigError((Diagnostic(file="global", line=0, message=message, parsing=False),))


def permitted() -> int:
    """This process's capabilities, a bit each (capability.h), of the first 32."""
    header, sets = _Header(_VERSION, 0), (_Set * 2)()
    if ctypes.CDLL(None, use_errno=True).capget(ctypes.byref(header), sets):
        raise _error("capget")
    return int(sets[0].permitted)


def give_up(user: int, group: int) -> None:
    """Become *user* and *group* (-1: stay) and keep few capabilities.

    Raises OSError where the kernel refuses to make it so.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _error("no_new_privs")
    if os.geteuid() == 0:
        if libc.prctl(_SET_KEEPCAPS, 1, 0, 0, 0):
            raise _error("keepcaps")
        if group != -1:
            os.setgroups([])
            os.setresgid(group, group, group)
        if user != -1:
            os.setresuid(user, user, user)
    kept = permitted() & _KEPT
    header, sets = _Header(_VERSION, 0), (_Set * 2)(_Set(kept, kept, 0), _Set(0, 0, 0))
    if libc.capset(ctypes.byref(header), sets):
        raise _error("capset")


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
