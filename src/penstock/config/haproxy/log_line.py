# SPDX-License-Identifier: Apache-2.0
"""``log`` lines of all sections: where lines go (HAProxy manual 3.1 and 4.2, "log")."""

from __future__ import annotations

from enum import Enum
from typing import Final

from penstock.config.haproxy.address import AddressError, Allow, parse_address
from penstock.config.haproxy.address import Target as Written
from penstock.config.haproxy.draft import Line, Prefix
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.units import INT_MAX, atol
from penstock.events import Level
from penstock.logs.model import (
    LONGEST_LINE,
    SHORTEST_LINE,
    SYSLOG_PORT,
    USUAL_LENGTH,
    Descriptor,
    Destination,
    Facility,
    Heading,
    Sampling,
    SyslogServer,
    SyslogSocket,
    Target,
)
from penstock.terms import Address

_STANDARD: Final = {"stdout": Descriptor(1), "stderr": Descriptor(2)}
_DATAGRAMS: Final = {"udp@": "", "udp4@": "ipv4@", "udp6@": "ipv6@", "uxdg@": "unix@"}
_STREAMS: Final = ("tcp@", "tcp4@", "tcp6@", "stream+", "ring@")


class Else(Enum):
    """What a ``log`` line may say beside naming a target."""

    NONE = "no log"  # of those that were named before
    GLOBAL = "log global"  # those of the global section
    NOWHERE = "a target that penstock has not"  # which has been told of


def parse_log(context: Context, line: Line, *, in_proxy: bool) -> Target | Else:
    """Raises LineError."""
    if line.prefix is Prefix.NO:
        if line[1]:
            raise LineError("log : 'no log' does not expect arguments")
        return Else.NONE
    if line[1] == "global" and not line[2]:
        if not in_proxy:
            raise LineError("log : 'global' is not supported for a global syslog server")
        return Else.GLOBAL
    if not line[2]:
        or_global = "or global" if in_proxy else ""
        raise LineError(f"log : expects <address> and <facility> {or_global} as arguments")
    at = 2
    length, heading, sampling = USUAL_LENGTH, None, None
    if line[at] == "len":
        length = atol(line[at + 1])
        if not SHORTEST_LINE <= length <= LONGEST_LINE:
            raise LineError(
                f"log : invalid log length '{line[at + 1]}', must be between 80 and 65535"
            )
        at += 2
    if line[at] == "format":
        heading = _heading(line[at + 1])
        at += 2
    if line[at] == "sample":
        sampling = _sampling(line[at + 1])
        at += 2
    facility = _FACILITIES.get(line[at])
    if facility is None:
        raise LineError(f"log : unknown log facility '{line[at]}'")
    level = _level(line[at + 1], "log level", Level.DEBUG)
    floor = _level(line[at + 2], "minimum log level", Level.EMERG)
    if line[at + 3]:
        raise LineError(f"log : cannot handle unexpected argument '{line[at + 3]}'")
    destination = _destination(context, line[1])
    if destination is None:
        lack = "logs are not kept in rings" if line[1].startswith("ring@") else "datagrams only"
        context.report.warn(line.origin, f"'log {line[1]}' is not carried out: {lack}.", own=True)
        return Else.NOWHERE
    return Target(destination, facility, level, floor, length, heading, sampling)


_FACILITIES: Final = {facility.name.lower(): facility for facility in Facility}
LEVELS: Final = {level.name.lower(): level for level in Level}


def _level(word: str, what: str, default: Level) -> Level:
    level = LEVELS.get(word) if word else default
    if level is None:
        raise LineError(f"log : unknown optional {what} '{word}'")
    return level


def _heading(word: str) -> Heading:
    try:
        return Heading(word)
    except ValueError:
        raise LineError(f"log : unknown log format '{word}'") from None


def _destination(context: Context, text: str) -> Destination | None:
    """None: it is none that takes datagrams or lines. Raises LineError."""
    if text in _STANDARD:
        return _STANDARD[text]
    if text.startswith("ring@"):
        return None
    shown = text
    for prefix, meant in _DATAGRAMS.items():
        if text.startswith(prefix):
            shown = meant + text[len(prefix) :]
    try:
        written = parse_address(shown, Allow.PORT | Allow.NAME | Allow.SOCKET, context.environ)
    except AddressError as bad:
        raise LineError(f"log : {str(bad).replace(shown, text)}") from None
    match written.local:
        case "fd":
            return Descriptor(min(atol(written.local_name), INT_MAX))  # nobody has such a one
        case "unix" | "abns":
            return SyslogSocket(written.local_name, abstract=written.local == "abns")
        case "sockpair":
            return None
    address = _address(context, written, text)
    return None if text.startswith(_STREAMS) else SyslogServer(address, written.low or SYSLOG_PORT)


def _address(context: Context, written: Written, text: str) -> Address:
    address = written.address
    if address is None and written.hostname is not None:
        address = context.resolve(written.hostname, written.family)
    if address is None:
        raise LineError(f"log : invalid address: '{written.hostname}' in '{text}'")
    return address


def _sampling(text: str) -> Sampling:
    """``1,3-5:8``. Raises LineError."""
    listed, colon, size_text = text.partition(":")
    if not colon:
        raise LineError("log : Missing sample size")
    size = _number(size_text)
    if not size:
        raise LineError(f"log : wrong sample size '{size_text}' for sample range '{listed}'")
    ranges: list[tuple[int, int]] = []
    for one in filter(None, listed.split(",")):
        first, dash, last = one.partition("-")
        low = _number(first)
        high = _number(last) if dash else low
        if not low or not high or low > high:
            raise LineError(f"log : wrong sample range '{one}'")
        if any(low <= other[1] and other[0] <= high for other in ranges):
            raise LineError("log : ranges are overlapping")
        ranges.append((low, high))
    if not ranges:
        raise LineError("log : no sampling ranges given")
    ranges.sort()
    if size < ranges[-1][1]:
        raise LineError(
            f"log : sample size {size} should be greater or equal to {ranges[-1][1]} the maximum of"
            " the high ranges limits"
        )
    return Sampling(tuple(ranges), size)


def _number(text: str) -> int | None:
    return atol(text) if text.isascii() and text.isdigit() else None
