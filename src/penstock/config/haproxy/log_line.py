# SPDX-License-Identifier: Apache-2.0
"""``log`` lines of all sections: where lines go (HAProxy manual 3.1 and 4.2, "log")."""

from __future__ import annotations

from enum import Enum
from typing import Final

from penstock.c_numbers import atol
from penstock.config.haproxy.address import AddressError, Allow, parse_address
from penstock.config.haproxy.address import Target as Written
from penstock.config.haproxy.draft import Line, Prefix
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.section_drafts import StreamServer
from penstock.config.haproxy.units import INT_MAX
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
    RingBuffer,
    Sampling,
    SyslogServer,
    SyslogSocket,
    Target,
)
from penstock.terms import Address

_STANDARD: Final = {"stdout": Descriptor(1), "stderr": Descriptor(2)}
_DATAGRAMS: Final = {"udp@": "", "udp4@": "ipv4@", "udp6@": "ipv6@", "uxdg@": "unix@"}
_STREAMS: Final = {"tcp@": "", "tcp4@": "ipv4@", "tcp6@": "ipv6@", "stream+": "", "uxst@": "unix@"}
IMPLIED_TIMEOUT: Final = 1000  # ms to connect to a log server that takes a stream (2.6)


class Else(Enum):
    """What a ``log`` line may say beside naming a target."""

    NONE = "no log"  # of those that were named before
    GLOBAL = "log global"  # those of the global section


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
    destination = _destination(context, line, heading)
    return Target(
        destination, facility, level, floor, length, heading, sampling, origin=line.origin
    )


_FACILITIES: Final = {facility.name.lower(): facility for facility in Facility}
LEVELS: Final = {level.name.lower(): level for level in Level}


def _level(word: str, what: str, default: Level) -> Level:
    level = LEVELS.get(word) if word else default
    if level is None:
        raise LineError(f"log : unknown optional {what} '{word}'")
    return level


def heading_named(word: str) -> Heading | None:
    """None: no format is called so."""
    return next((one for one in Heading if one == word), None)


def _heading(word: str) -> Heading:
    found = heading_named(word)
    if found is None:
        raise LineError(f"log : unknown log format '{word}'")
    return found


def _destination(context: Context, line: Line, heading: Heading | None) -> Destination:
    """Raises LineError."""
    text = line[1]
    if text in _STANDARD:
        return _STANDARD[text]
    if text.startswith("ring@"):
        return RingBuffer(text.removeprefix("ring@"))
    shown, stream = text, False
    for prefix, meant in (_DATAGRAMS | _STREAMS).items():
        if text.startswith(prefix):
            shown, stream = meant + text[len(prefix) :], prefix in _STREAMS
    try:
        written = parse_address(shown, Allow.PORT | Allow.NAME | Allow.SOCKET, context.environ)
    except AddressError as bad:
        raise LineError(f"log : {str(bad).replace(shown, text)}") from None
    match written.local:
        case "fd":
            return Descriptor(min(atol(written.local_name), INT_MAX))  # nobody has such a one
        case "unix" | "abns":
            local = SyslogSocket(written.local_name, abstract=written.local == "abns")
            return _stream(context, line, local, 0, heading) if stream else local
        case "sockpair":
            raise LineError(f"log : lines cannot be written to '{text}'")
    address, port = _address(context, written, text), written.low or SYSLOG_PORT
    if stream:
        return _stream(context, line, address, port, heading)
    return SyslogServer(address, port)


def _stream(
    context: Context,
    line: Line,
    address: Address | SyslogSocket,
    port: int,
    heading: Heading | None,
) -> RingBuffer:
    """The ring that stands between lines and a server that takes a stream."""
    server = StreamServer(line[1], address, port, heading, line.origin)
    context.draft.implied_rings.append(server)
    return RingBuffer(server.name)


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
