# SPDX-License-Identifier: Apache-2.0
"""Why a connection has not become one of its service's, in HAProxy's words (manual 8.2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Refusals:
    """Of what must come before everything else."""

    closed: str
    broken: str
    late: str
    wrong: str
    foreign: str  # it is something else from the first byte on


PROXY: Final = Refusals(
    "Connection closed while waiting for PROXY protocol header",
    "Connection error while waiting for PROXY protocol header",
    "Timeout while waiting for PROXY protocol header",
    "Received an invalid PROXY protocol header",
    "Received something which does not look like a PROXY protocol header",
)
NETSCALER: Final = Refusals(
    "Connection closed while waiting for NetScaler Client IP header",
    "Connection error while waiting for NetScaler Client IP header",
    "Timeout while waiting for a NetScaler Client IP header",
    "Received an unhandled protocol in the NetScaler Client IP header",
    "Received an invalid NetScaler Client IP magic number",
)
TLS: Final = Refusals(
    "Connection closed during SSL handshake",
    "Connection error during SSL handshake",
    "Timeout during SSL handshake",
    "SSL handshake failure",
    "SSL client certificate not trusted",
)
