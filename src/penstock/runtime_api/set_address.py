# SPDX-License-Identifier: Apache-2.0
"""``set server … addr``: another address or port, in HAProxy's words (its src/server.c). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from penstock.c_numbers import strtol
from penstock.model import Address, PortMode, RealPort, RealServer

_FROM = " by 'stats socket command'"
_NEEDS_CHECK_PORT = (
    "can't change <port> to port map because it is incompatible with current health check port"
    " configuration (use 'port' statement from the 'server' directive."
)


@dataclass(frozen=True, slots=True)
class Move:
    """None: as before."""

    said: str
    address: Address | None = None
    port: RealPort | None = None


def move(real: RealServer, address: str, port: str | None) -> Move:
    """What becomes of *real*; *port* None: it is not spoken of."""
    try:
        wanted = ip_address(address)
    except ValueError:
        return Move(f"Invalid addr '{address}'{_FROM}")
    if real.address is None or real.link.local is not None:
        said = (
            "Update for the current server address family is only supported through configuration"
            " file"
        )
        return Move(said + _FROM)
    if wanted == real.address:
        made, said = None, "no need to change the addr"
    else:
        made, said = wanted, f"IP changed from '{real.address}' to '{address}'"
    if port is None:
        return Move(said + _FROM, made)
    to, told = _port(real, port)
    return Move(f"{said}, {told}{_FROM}", made, to)


def _port(real: RealServer, text: str) -> tuple[RealPort | None, str]:
    read = strtol(text)
    if read is None:
        return None, f"problem converting port '{text}' to an int"
    number = read[0]
    sign = text[0] if text[0] in "+-" else ""
    mapped = real.port.mode is not PortMode.FIXED
    before = real.port.value
    if sign:
        checked = real.check is not None and real.check.port is not None
        if not mapped and not checked:
            return None, _NEEDS_CHECK_PORT
        changes = not mapped or before != number
    else:
        changes = before != number or mapped
    if not changes:
        return None, "no need to change the port"
    shown = -number if sign == "-" else number
    told = (
        f"port changed from '{'+' if mapped else ''}{before & 0xFFFF}' to '{sign}{shown & 0xFFFF}'"
    )
    return _made(number, offset=bool(sign)), told


def _made(number: int, *, offset: bool) -> RealPort:
    if offset:
        number = number % 65536 if number >= 0 else -(-number % 65536)
        return RealPort(PortMode.OFFSET, number) if number else RealPort(PortMode.SAME)
    number &= 0xFFFF
    # Nothing listens on port 0: it is taken for what an address without a port means.
    return RealPort(PortMode.FIXED, number) if number else RealPort(PortMode.SAME)
