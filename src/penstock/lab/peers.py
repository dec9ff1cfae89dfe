# SPDX-License-Identifier: Apache-2.0
"""Small servers that answer with their name, and the clients that ask them.

A server answers every TCP line and every UDP datagram with ``name peer-address``, and closes a TCP
connection when the client does. One that greets says so at once, without being asked. They run in
one thread for all, in this process: only their sockets live in the namespaces.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Final

from penstock.lab.network import Namespace

_BUFFER: Final = 65536
_IP_PKTINFO: Final = 8  # linux/in.h
_source_ports: Final = itertools.cycle(range(10000, 30000))  # outside of the ephemeral ones


class Servers:
    """Named TCP and UDP servers; ``close()`` ends them all.

    *answer* is what they say, with {name} and {peer} in it. Those that greet do it as soon as a
    TCP connection is there, and ask nothing of the client.
    """

    def __init__(self, answer: str = "{name} {peer}\n", *, greets: bool = False) -> None:
        self._answer = answer
        self._greets = greets
        self._selector = selectors.DefaultSelector()
        self._wake, wake = socket.socketpair()
        self._selector.register(wake, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="lab-servers", daemon=True)
        self._thread.start()

    def tcp(self, namespace: Namespace, name: str, address: str, port: int) -> socket.socket:
        """A TCP server called *name*; closing the socket through ``stop`` ends it."""
        with namespace.entered():
            listener = _alone(socket.socket(_family(address), socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1024)
        return self._add(listener, (name, "accept"))

    def udp(self, namespace: Namespace, name: str, address: str, port: int) -> socket.socket:
        """A UDP server called *name*."""
        with namespace.entered():
            bound = _alone(socket.socket(_family(address), socket.SOCK_DGRAM))
        # Bound to all addresses it would answer from another one than it was asked at.
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        bound.bind((address, port))
        return self._add(bound, (name, "datagram"))

    def stop(self, server: socket.socket) -> None:
        """End one server; connections it has accepted live on."""
        with self._lock:
            self._selector.unregister(server)
            server.close()

    def close(self) -> None:
        self._closing = True
        self._wake.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._wake.close()

    def _add(self, new: socket.socket, role: tuple[str, str]) -> socket.socket:
        new.setblocking(False)
        with self._lock:
            self._selector.register(new, selectors.EVENT_READ, role)
        self._wake.send(b"x")
        return new

    def _serve(self) -> None:
        while not self._closing:
            ready = self._selector.select()
            with self._lock:
                for key, _ in ready:
                    if isinstance(key.fileobj, socket.socket) and key.fileobj.fileno() >= 0:
                        self._serve_one(key.fileobj, key.data)

    def _serve_one(self, one: socket.socket, role: tuple[str, str] | None) -> None:
        with contextlib.suppress(BlockingIOError):
            if role is None:
                one.recv(_BUFFER)
                return
            name, kind = role
            try:
                if kind == "accept":
                    connection, _ = one.accept()
                    connection.setblocking(False)
                    self._selector.register(connection, selectors.EVENT_READ, (name, "stream"))
                    if self._greets:
                        self._say(connection, name)
                elif kind == "datagram":
                    _, asked_at, _, peer = one.recvmsg(_BUFFER, socket.CMSG_SPACE(20))
                    answer = self._answer.format(name=name, peer=peer[0]).encode()
                    one.sendmsg([answer], [_any_interface(part) for part in asked_at], 0, peer)
                elif one.recv(_BUFFER):
                    self._say(one, name)
                else:
                    self._forget(one)
            except BlockingIOError:
                raise
            except OSError:  # the client has gone: its affair
                if kind == "stream":
                    self._forget(one)

    def _say(self, one: socket.socket, name: str) -> None:
        with contextlib.suppress(ConnectionError):  # the client has gone: seen at the next read
            one.send(self._answer.format(name=name, peer=one.getpeername()[0]).encode())

    def _forget(self, one: socket.socket) -> None:
        self._selector.unregister(one)
        one.close()


class Client:
    """Asks servers their name from inside a namespace; a refused or lost question is an OSError."""

    def __init__(self, namespace: Namespace, timeout: float = 3.0, source: str = "") -> None:
        self._namespace = namespace
        self._timeout = timeout
        self._source = source  # the address it asks from; empty: the kernel's choice

    def connect(self, address: str, port: int) -> socket.socket:
        """A TCP connection, to be asked with ``ask``."""
        with self._namespace.entered():
            connection = socket.socket(_family(address), socket.SOCK_STREAM)
        connection.settimeout(self._timeout)
        try:
            if self._source:
                connection.bind((self._source, 0))
            connection.connect((address, port))
        except BaseException:
            connection.close()
            raise
        return connection

    def tcp(self, address: str, port: int) -> str:
        """Who answers a new TCP connection."""
        with self.connect(address, port) as connection:
            return ask(connection)[0]

    def datagrams(self, address: str, port: int) -> socket.socket:
        """A UDP socket towards *address*, to be asked with ``ask``."""
        with self._namespace.entered():
            sender = socket.socket(_family(address), socket.SOCK_DGRAM)
        sender.settimeout(self._timeout)
        try:
            # A port that came back soon would continue the flow it had before.
            sender.bind((self._source, next(_source_ports)))
            sender.connect((address, port))
        except BaseException:
            sender.close()
            raise
        return sender

    def udp(self, address: str, port: int) -> str:
        """Who answers a datagram from a new source port."""
        with self.datagrams(address, port) as sender:
            return ask(sender)[0]

    def ping(self, address: str) -> bool:
        """Whether an ICMP echo request comes back."""
        six = ":" in address
        protocol = socket.getprotobyname("ipv6-icmp" if six else "icmp")
        with self._namespace.entered():
            raw = socket.socket(_family(address), socket.SOCK_RAW, protocol)
        request, reply = (128, 129) if six else (8, 0)  # RFC 4443 4.1, RFC 792
        mark = os.urandom(8)
        packet = struct.pack("!BBHHH", request, 0, 0, 1, 1) + mark
        if not six:  # the kernel fills in ICMPv6 checksums only
            packet = packet[:2] + _checksum(packet).to_bytes(2, "big") + packet[4:]
        with raw:
            raw.settimeout(self._timeout)
            raw.sendto(packet, (address, 0))
            try:
                while True:
                    answer = raw.recv(_BUFFER)[0 if six else 20 :]
                    if answer[0] == reply and answer.endswith(mark):
                        return True
            except TimeoutError:
                return False

    def many(self, address: str, port: int, times: int, *, udp: bool = False) -> Sequence[str]:
        """Who answered each of *times* new connections, in order."""
        one = self.udp if udp else self.tcp
        return [one(address, port) for _ in range(times)]


def ask(connection: socket.socket) -> tuple[str, str]:
    """(name of the server, address it saw us come from). Raises OSError, also at end of file."""
    connection.sendall(b"who?\n")
    answer = connection.recv(_BUFFER)
    if not answer:
        raise ConnectionResetError("closed without an answer")
    name, _, peer = answer.decode().strip().partition(" ")
    return name, peer


def _alone(new: socket.socket) -> socket.socket:
    """IPv6 sockets leave IPv4 to others."""
    if new.family == socket.AF_INET6:
        new.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return new


def _any_interface(part: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """Where a datagram came in becomes where its answer goes out: by the routing table."""
    level, kind, data = part
    if level == socket.IPPROTO_IP:  # struct in_pktinfo: interface, our address, destination
        return level, kind, bytes(4) + data[4:8] + bytes(4)
    return level, kind, data[:16] + bytes(4)  # struct in6_pktinfo: our address, interface


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
