# SPDX-License-Identifier: Apache-2.0
"""The far ends of IPVS tunnels, on kernels that have no ipip, fou or gre devices themselves."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from penstock.kernel.links import Link, attach_tcx
from penstock.kernel.objects import ObjectFile
from penstock.lab.network import Namespace

_PROGRAM: Final = "tunnel_end"


def attach(namespace: Namespace, compiled: Path, interface: str = "r0", port: int = 6080) -> Link:
    """Let *interface* unpack what comes in tunnels, GUE at UDP *port*, while the link is open.

    *compiled* is an object with a program called tunnel_end. Raises DatapathError (no tcx).
    """
    with ObjectFile(compiled) as opened:
        opened.set_constants({"gue_port": port})
        opened.load()
        with opened.program(_PROGRAM) as program, namespace.entered():
            return attach_tcx(program, socket.if_nametoindex(interface))
