# SPDX-License-Identifier: Apache-2.0
"""The cookie in the first packet of Microsoft's remote desktop (MS-RDPBCGR 2.2.1.1)."""

from __future__ import annotations

import re
import sys
from ipaddress import IPv4Address
from typing import Final

from penstock.terms import Address

_BEFORE: Final = 11  # bytes of TPKT and X.224 in front
_COOKIE: Final = b"cookie:"


_SERVER: Final = re.compile(r"([0-9]{1,19})\.([0-9]{1,19})\.")


class NotRdp(ValueError):
    """No further byte can make the cookie appear."""


def cookie(data: bytes, name: str = "") -> str | None:
    """The value of the cookie *name*, or of any when it is ""; None while more bytes are needed.

    As HAProxy's ``req.rdp_cookie`` (manual 7.3.5), names in any case. Raises NotRdp.
    """
    said = data[_BEFORE:]
    if len(said) <= len(_COOKIE):
        return None
    if said[: len(_COOKIE)].lower() != _COOKIE:
        raise NotRdp("there is no cookie in the remote desktop's request")
    said = said[len(_COOKIE) :].lstrip(b" ")
    wanted = name.encode("utf-8", "surrogateescape")
    if wanted:
        if len(said) <= len(wanted):
            return None
        found, sign, rest = said[: len(wanted)], said[len(wanted)], said[len(wanted) + 1 :]
        if sign != ord("=") or found.lower() != wanted.lower():
            raise NotRdp(f"there is no cookie {name} in the remote desktop's request")
    else:
        found, equals, rest = said.partition(b"=")
        if b"\r" in found or b"\n" in found:
            raise NotRdp("the cookie in the remote desktop's request has no value")
        if not equals:
            return None
    value, _, end = rest.partition(b"\r")
    if len(rest) < len(value) + 2:
        return None
    if not end.startswith(b"\n"):
        raise NotRdp("the cookie's line does not end with CRLF")
    return value.decode("utf-8", "surrogateescape")


def server(value: str) -> tuple[Address, int] | None:
    """The server that a cookie of a load balancer names (``persist rdp-cookie``); None: none.

    Address and port are numbers as memory of a little machine has them in network order.
    """
    found = _SERVER.match(value)
    if found is None:
        return None
    address = (int(found[1]) & 0xFFFFFFFF).to_bytes(4, sys.byteorder)
    port = (int(found[2]) & 0xFFFF).to_bytes(2, sys.byteorder)
    return IPv4Address(address), int.from_bytes(port, "big")
