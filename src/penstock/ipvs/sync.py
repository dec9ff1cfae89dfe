# SPDX-License-Identifier: Apache-2.0
"""Which connection synchronisation daemons may be started, and with what message size. Pure.

Source: start_sync_thread() in net/netfilter/ipvs/ip_vs_sync.c of Linux 6.1.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import msgspec

from penstock.ipvs.model import StartSync, StopSync, SyncDaemon

_UDP_HEADER = 8
_IP_HEADER = {4: 20, 6: 40}
_ETHERNET = 1500
_BACKUP_LEAST = 1024  # a backup must be able to take what masters commonly send

Daemons = tuple[SyncDaemon, ...]  # the master first, as they are listed


def start(
    running: Daemons, command: StartSync, mtu: Callable[[str], int | None], *, mixed: bool
) -> int | Daemons:
    """The daemons that then run, or the errno that refuses it.

    *mtu* knows the interfaces: None for one that is not there. *mixed*: some destination has
    another address family than its service. A ``maxlen`` of 0 is chosen by the interface.
    """
    wanted = command.daemon
    if mixed or not _multicast(wanted.group):
        return errno.EINVAL
    size = mtu(wanted.interface)
    if size is None:
        return errno.ENODEV
    if any(one.master == wanted.master for one in running):
        return errno.EEXIST
    headers = _IP_HEADER[6 if ":" in wanted.group else 4] + _UDP_HEADER
    least, largest = 1, _ETHERNET
    if not wanted.master:
        least, largest = _BACKUP_LEAST, min(max(size, _ETHERNET), 65535)
    maxlen = min(max(wanted.maxlen, least), 65535 - headers)
    if not wanted.maxlen:
        maxlen = largest - headers
    started = msgspec.structs.replace(wanted, maxlen=maxlen)
    return tuple(sorted((*running, started), key=lambda one: not one.master))


def stop(running: Daemons, command: StopSync) -> int | Daemons:
    """The daemons that then still run, or the errno that refuses it."""
    left = tuple(one for one in running if one.master != command.master)
    return left if len(left) < len(running) else errno.ESRCH


def _multicast(group: str) -> bool:
    if ":" in group:
        return group.startswith("ff") and len(group.partition(":")[0]) == 4
    return 224 <= int(group.partition(".")[0]) <= 239
