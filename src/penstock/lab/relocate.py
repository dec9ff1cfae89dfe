# SPDX-License-Identifier: Apache-2.0
"""A haproxy.cfg of somebody's network, rewritten for one that a lab can build.

Ports stay, and whatever is said of the servers. Checks come often, so that nobody waits for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Final

_CHECK_INTERVAL: Final = "200ms"
_INTERVALS: Final = ("inter", "fastinter", "downinter")
_CERTIFICATES: Final = ("crt", "ca-file")
_LOCAL: Final = re.compile(r"((?:unix@|uxst@|(?=/))|uxdg@)(/.*)")
_TYPE: Final = re.compile(r"(?:tcp|ipv4|ipv6|tcp4|tcp6)@")
_WILDCARDS: Final = ("", "*", "0.0.0.0", "::")  # noqa: S104  # compared, not bound to


@dataclass(frozen=True, slots=True)
class World:
    """Where things are in the lab."""

    vips: tuple[str, str]  # IPv4 and IPv6
    server: Callable[[str], str]  # the address of a server, by what the file calls its host
    directory: Path  # where UNIX sockets and certificates are


def relocate(text: str, world: World) -> str:
    """*text* with servers, listening addresses and sockets where *world* has them."""
    return "".join(_line(line, world) for line in text.splitlines(keepends=True))


def split_host(address: str) -> tuple[str, str]:
    """Host without brackets, and what follows it: a port with its colon, or nothing."""
    address = _TYPE.sub("", address)
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        return host, rest
    host, colon, port = address.rpartition(":")  # of IPv6 without brackets: the last one, too
    return (host, colon + port) if colon else (address, "")


def _line(line: str, world: World) -> str:
    parts = re.split(r"(\s+)", line)
    words = [index for index, part in enumerate(parts) if part and not part.isspace()]
    if not words or parts[words[0]].startswith("#"):
        return line
    at = {"server": 2, "server-template": 3, "dispatch": 1}.get(parts[words[0]])
    if at is not None and len(words) > at:
        parts[words[at]] = _server(parts[words[at]], world)
    elif parts[words[0]] == "bind" and len(words) > 1:
        binds = parts[words[1]].split(",")
        parts[words[1]] = ",".join(_bind(bind, world) for bind in binds)
    elif [parts[index] for index in words[:2]] == ["stats", "socket"] and len(words) > 2:
        parts[words[2]] = str(world.directory / Path(parts[words[2]]).name)
    for word, value in pairwise(words[1:]):
        if parts[word] in _CERTIFICATES:
            parts[value] = str(world.directory / Path(parts[value]).name)
    if parts[words[0]] in ("server", "server-template", "default-server"):
        for word, value in pairwise(words):
            if parts[word] in _INTERVALS:
                parts[value] = _CHECK_INTERVAL
            elif parts[word] == "addr":
                parts[value] = world.server(parts[value])
        # Before what is said of intervals, so that this holds where nothing is.
        parts[words[at or 0]] += f" inter {_CHECK_INTERVAL}"
    return "".join(parts)


def _server(address: str, world: World) -> str:
    local = _LOCAL.match(address)
    if local:
        return _socket(local, world)
    host, port = split_host(address)
    return _bracketed(world.server(host)) + port


def _bind(address: str, world: World) -> str:
    local = _LOCAL.match(address)
    if local:
        return _socket(local, world)
    host, port = split_host(address)
    if host in _WILDCARDS or "@" in host:
        return address
    return _bracketed(world.vips[ip_address(host).version == 6]) + port


def _socket(local: re.Match[str], world: World) -> str:
    return f"{local[1]}{world.directory / Path(local[2]).name}"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
