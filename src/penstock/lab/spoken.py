# SPDX-License-Identifier: Apache-2.0
"""What a server of an example says: who it is, and what health checks want to hear.

One ``Conversation`` is one connection, bytes in and bytes out. Asked ``who?`` (or sent a TLS
ClientHello) it answers a line that ``heard`` reads. A leader is what Patroni calls the primary,
Redis the master, Vault the active node.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

QUESTION: Final = b"who?\n"
_V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"  # PROXY protocol 2.2
# MySQL's HandshakeV10: version, thread, salt, capabilities, character set.
_MYSQL_GREETING: Final = (
    b"\x0a8.0.0-lab\0"
    + bytes(4)
    + b"8bytes__"
    + b"\0\xff\xf7\x21\x02\x00\xff\x81\x15"
    # The second half of the salt, and how it is used.
    + bytes(10)
    + b"12bytes_____\0mysql_native_password\0"
)
_GREETINGS: Final = {  # of servers that speak first, by their well-known ports
    25: b"220 lab ESMTP\r\n",
    587: b"220 lab ESMTP\r\n",
    3306: struct.pack("<I", len(_MYSQL_GREETING)) + _MYSQL_GREETING,  # sequence number 0
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered, where it saw the connection come from, and what a PROXY header told it."""

    server: str  # address:port
    seen: str
    told: str  # empty: no header


@dataclass(slots=True)
class Conversation:
    """What one connection has said so far."""

    identity: str
    port: int
    peer: str
    leader: bool
    told: str = ""
    _heard: bytes = b""

    def greeting(self) -> bytes:
        """What the server says before it is asked."""
        return _GREETINGS.get(self.port, b"")

    def receive(self, data: bytes) -> bytes:
        """Take what came in, give what is to be sent."""
        self._heard += data
        said = b""
        while self._heard:
            rest = self._without_header(self._heard)
            if rest is not None:
                self._heard = rest
                continue
            for question, answer in _QUESTIONS:
                found = question.match(self._heard)
                if found:
                    self._heard = self._heard[found.end() :]
                    said += answer(self, found)
                    break
            else:
                return said
        return said

    def name(self) -> bytes:
        """The line that ``heard`` reads."""
        return f"iam {self.identity} {self.peer} {self.told or '-'}\n".encode()

    def _without_header(self, data: bytes) -> bytes | None:
        """*data* after a PROXY header, whose source it notes; None: there is none."""
        if data.startswith(b"PROXY ") and b"\r\n" in data:
            line, _, rest = data.partition(b"\r\n")
            words = line.decode().split()
            self.told = words[2] if words[1] != "UNKNOWN" else "unknown"
            return rest
        if data.startswith(_V2_SIGNATURE) and len(data) >= 16:
            command, family, length = struct.unpack("!BBH", data[12:16])
            body = data[16 : 16 + length]
            if len(body) < length:
                return None
            if command & 0xF == 0:
                self.told = "local"
            elif family >> 4 == 1:
                self.told = socket.inet_ntop(socket.AF_INET, body[:4])
            else:
                self.told = socket.inet_ntop(socket.AF_INET6, body[:16])
            return data[16 + length :]
        return None


def heard(data: bytes) -> Answer | None:
    """The answer in *data*, None while it is not complete."""
    found = re.search(rb"iam (\S+) (\S+) (\S+)\n", data)
    if found is None:
        return None
    server, seen, told = (part.decode() for part in found.groups())
    return Answer(server, seen, "" if told == "-" else told)


def _http(of: Conversation, found: re.Match[bytes]) -> bytes:
    wants_leader = re.match(rb"/(primary|master|leader|v1/sys/health)", found[1])
    wants_other = re.match(rb"/(replica|secondary)", found[1])
    refused = (wants_leader and not of.leader) or (wants_other and of.leader)
    status = b"503 Service Unavailable" if refused else b"200 OK"
    return b"HTTP/1.0 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status


def _tls(of: Conversation, found: re.Match[bytes]) -> bytes:
    """A record of handshake, RFC 8446 5.1, with our name for its content."""
    return struct.pack("!BHH", 22, 0x0303, len(of.name())) + of.name()


def _replication(of: Conversation, found: re.Match[bytes]) -> bytes:
    told = b"# Replication\r\nrole:%s\r\n" % (b"master" if of.leader else b"slave")
    return b"$%d\r\n%s\r\n" % (len(told), told)


def _mongodb(of: Conversation, found: re.Match[bytes]) -> bytes:
    """An OP_REPLY with {ismaster: BOOL}."""
    document = b"\x08ismaster\0" + (b"\x01" if of.leader else b"\x00") + b"\0"
    document = struct.pack("<I", len(document) + 4) + document
    body = struct.pack("<iiiiqii", 1, 4, 1, 8, 0, 0, 1)[8:] + document
    return struct.pack("<iii", len(body) + 12, 1, 0) + body


def _says(text: bytes) -> Callable[[Conversation, re.Match[bytes]], bytes]:
    return lambda of, found: text


_QUESTIONS: Final[tuple[tuple[re.Pattern[bytes], Callable[..., bytes]], ...]] = (
    (re.compile(re.escape(QUESTION)), lambda of, found: of.name()),
    (re.compile(rb"(?:OPTIONS|GET|HEAD) (\S+) HTTP/.*?\r\n\r\n", re.DOTALL), _http),
    (re.compile(rb"\x16\x03.*", re.DOTALL), _tls),  # a ClientHello comes in one piece here
    (re.compile(rb"(?:\*1\r\n\$4\r\n)?PING\r\n"), _says(b"+PONG\r\n")),
    (re.compile(rb"info replication\r\n"), _replication),
    (re.compile(rb"z?PING[\n\0]"), _says(b"PONG\n")),
    (re.compile(rb"(?:EHLO|HELO) [^\n]*\n"), _says(b"250 lab\r\n")),
    (re.compile(rb"QUIT\r\n"), _says(b"+OK 221 bye\r\n")),
    # PostgreSQL's StartupMessage of protocol 3.0, answered with AuthenticationOk.
    (re.compile(rb"....\x00\x03\x00\x00.*", re.DOTALL), _says(b"R\0\0\0\x08\0\0\0\0")),
    # An LDAP bind of nobody, RFC 4511 4.2, and its success.
    (
        re.compile(rb"\x30\x0c\x02\x01.\x60\x07.{7}", re.DOTALL),
        _says(bytes.fromhex("300c02010161070a010004000400")),
    ),
    (re.compile(rb".{4,}admin\.\$cmd\0.*", re.DOTALL), _mongodb),
    # MySQL's HandshakeResponse, the packet with sequence number 1, and OK.
    (re.compile(rb"...\x01.*", re.DOTALL), _says(bytes.fromhex("0700000200000002000000"))),
)
