# SPDX-License-Identifier: Apache-2.0
"""Messages by which directors tell each other of connections: version 1 of IPVS's protocol. Pure.

Source: net/netfilter/ipvs/ip_vs_sync.c of Linux 6.1, ip_vs_sync_conn() for what is written and
ip_vs_process_message() for what is read. Parameters behind a connection (sequence numbers,
persistence engines) are checked and skipped, and never written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from penstock.ipvs.model import Proto

VERSION = 1
# IP_VS_CONN_F_*, include/uapi/linux/ip_vs.h
METHOD_MASK = 0x7
NO_OUTPUT = 0x80
INACTIVE = 0x100
TEMPLATE = 0x1000
_TAKEN = METHOD_MASK | NO_OUTPUT | INACTIVE | 0x600 | 0x800 | TEMPLATE  # IP_VS_CONN_F_BACKUP_MASK

_HEADER = struct.Struct(">BBHBbH")  # 0, syncid, size, connections, version, 0
_CONNECTION = struct.Struct(">BBHIHHHHII")  # type, protocol, size, flags … timeout; then addresses
_IPV6 = 1
_MOST = 255  # connections in a message: the count is a byte
_SIZE_MASK = 0x0FFF
_STATES = {Proto.TCP: 11, Proto.UDP: 1, Proto.SCTP: 14}
_OPTIONAL = 0x40  # of a parameter's type: who does not know it may skip it
_SEQUENCES, _PE_DATA, _PE_NAME = 1, 2, 3
_LONGEST = {_SEQUENCES: 24, _PE_DATA: 255, _PE_NAME: 16}


class SyncedConnection(NamedTuple):
    """A connection or, by its flags, a persistence template, as one director tells it another.

    Addresses are 4 or 16 bytes; ports in host order; the timeout in seconds, 0 for not said.
    """

    proto: int  # 0: the template of a firewall mark
    flags: int
    state: int
    client: bytes
    client_port: int
    virtual: bytes
    virtual_port: int
    dest: bytes
    dest_port: int
    fwmark: int = 0
    timeout: int = 0


class Malformed(ValueError):
    """A message that is not to be read any further; what stood before the fault holds."""


class Outbox:
    """Connections that wait until a message is full, or has waited for long enough.

    A connection takes 36 bytes, or 72 in IPv6: the padding between them is never needed.
    """

    __slots__ = ("_maxlen", "_parts", "_size", "_syncid", "since")

    def __init__(self, syncid: int, maxlen: int) -> None:
        """*maxlen* bytes is a message's most, unless a single connection needs more."""
        self._syncid = syncid
        self._maxlen = maxlen
        self._parts: list[bytes] = []
        self._size = _HEADER.size
        self.since: float | None = None  # when the first of those that wait was added

    def add(self, one: SyncedConnection, now: float) -> bytes | None:
        """The message that had no room for *one* any more, if it was so."""
        part = _packed(one)
        full = None
        if self._size + len(part) > self._maxlen or len(self._parts) == _MOST:
            full = self.take()
        if self.since is None:
            self.since = now
        self._parts.append(part)
        self._size += len(part)
        return full

    def take(self) -> bytes | None:
        """The message of what waits; None when nothing does."""
        if not self._parts:
            return None
        header = _HEADER.pack(0, self._syncid, self._size, len(self._parts), VERSION, 0)
        message = header + b"".join(self._parts)
        self._parts.clear()
        self._size = _HEADER.size
        self.since = None
        return message


def decode(message: bytes, syncid: int) -> Iterator[SyncedConnection]:
    """The connections of a message that is for a backup with *syncid*, which takes all with 0.

    Raises Malformed where the kernel drops the rest of a message; a connection that the kernel
    skips alone is skipped. Messages of version 0 are taken for malformed.
    """
    if len(message) < _HEADER.size:
        raise Malformed("shorter than its header")
    reserved, sender, size, count, version, spare = _HEADER.unpack_from(message)
    if size != len(message):
        raise Malformed("another size than it says")
    if syncid not in (0, sender):
        return
    if version != VERSION or reserved or spare:
        raise Malformed("not of version 1")
    at = _HEADER.size
    for _ in range(count):
        if at + _CONNECTION.size + 12 > size:
            raise Malformed("fewer connections than it says")
        versioned = int.from_bytes(message[at + 2 : at + 4], "big")
        own = versioned & _SIZE_MASK
        if at + own > size or versioned > _SIZE_MASK:
            raise Malformed("a connection of another version, or beyond the end")
        found = _connection(message[at : at + own])
        if found is not None:
            yield found
        at += (own + 3) & ~3


def _packed(one: SyncedConnection) -> bytes:
    return (
        _CONNECTION.pack(
            _IPV6 if len(one.client) == 16 else 0,
            one.proto,
            _CONNECTION.size + 3 * len(one.client),
            one.flags,
            one.state,
            one.client_port,
            one.virtual_port,
            one.dest_port,
            one.fwmark,
            one.timeout,
        )
        + one.client
        + one.virtual
        + one.dest
    )


def _connection(raw: bytes) -> SyncedConnection | None:
    """None for one that is to be skipped."""
    if len(raw) < _CONNECTION.size:
        raise Malformed("a connection without addresses")
    kind, proto, _, flags, state, cport, vport, dport, mark, timeout = _CONNECTION.unpack_from(raw)
    if kind & _IPV6:
        wide = 16
    elif kind:
        raise Malformed("a connection of an unknown type")
    else:
        wide = 4
    at = _CONNECTION.size
    end = at + 3 * wide
    if end > len(raw):
        raise Malformed("a connection without addresses")
    if not _known_parameters(raw[end:]):
        return None
    flags &= _TAKEN
    if not flags & TEMPLATE and state >= _STATES.get(proto, 0):
        return None
    client, virtual, dest = (raw[start : start + wide] for start in range(at, end, wide))
    return SyncedConnection(
        proto, flags, state, client, cport, virtual, vport, dest, dport, mark, timeout
    )


def _known_parameters(raw: bytes) -> bool:
    """Whether a connection with these parameters can be taken. Raises Malformed."""
    seen: set[int] = set()
    at = 0
    while at < len(raw):
        if at + 2 > len(raw):
            raise Malformed("half a parameter")
        kind, size = raw[at], raw[at + 1]
        at += 2
        if not size or at + size > len(raw):
            raise Malformed("a parameter beyond the end")
        number = kind & ~_OPTIONAL
        if number in _LONGEST:
            exact = number == _SEQUENCES
            if number in seen or size > _LONGEST[number] or (exact and size != _LONGEST[number]):
                raise Malformed("a parameter twice, or of a wrong size")
            seen.add(number)
        elif not kind & _OPTIONAL:
            return False
        at += size
    # Data of a persistence engine is of no use without the engine, and none is known here.
    return _PE_DATA not in seen
