# SPDX-License-Identifier: Apache-2.0
"""A mail server on loopback that says what it is told to, and keeps what it hears.

It hangs up on a client that it has refused something.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Mapping

from unit_waiting import ready

from penstock.mail.queues import MailQueues

LIMIT = 30.0  # seconds for anything that must happen
# What is answered to a connection and to each command; the first word of it decides.
POLITE: Mapping[str, bytes] = {
    "": b"220 mx.example ESMTP\r\n",
    "HELO": b"250 mx.example\r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "RCPT": b"250 2.1.5 Ok\r\n",
    "DATA": b"354 End data with <CR><LF>.<CR><LF>\r\n",
    ".": b"250 2.0.0 Ok: queued\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}
CLOSE = b"close"  # an answer: the connection is


class MailServer:
    """Takes one connection after another."""

    def __init__(self, **answers: bytes) -> None:
        """*answers* differ from the polite ones; ``greeting`` and ``dot`` stand for "" and "."."""
        names = {"greeting": "", "dot": "."}
        self._answers = {**POLITE, **{names.get(name, name): one for name, one in answers.items()}}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        # What each connection said, as a whole, when it has ended.
        self.heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._socket.accept()
            except OSError:
                return
            said = bytearray()
            with one, contextlib.suppress(OSError):  # cut off
                self._serve(one, said)
            self.heard.put(bytes(said))

    def _serve(self, one: socket.socket, said: bytearray) -> None:
        one.settimeout(LIMIT)
        in_data = False
        word, rest = "", b""
        while True:
            answer = self._answers.get(word, b"500 what?\r\n")
            if answer == CLOSE:
                return
            if not in_data:
                one.sendall(answer)
                if answer[:1] in (b"4", b"5"):
                    return
                in_data = word == "DATA" and answer.startswith(b"354")
            while b"\r\n" not in rest:
                data = one.recv(65536)
                if not data:
                    return
                said += data
                rest += data
            line, _, rest = rest.partition(b"\r\n")
            if in_data and line != b".":
                continue
            in_data, word = False, line.split(b" ")[0].decode()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def turn(queues: MailQueues) -> None:
    """Wait a moment for what comes next, and do it."""
    due = queues.next_deadline()
    wait = 0.05 if due is None else min(max(due - time.monotonic(), 0.0), 0.05)
    ready(queues, seconds=wait)
    queues.run_once(time.monotonic())


def heard(server: MailServer, queues: MailQueues) -> bytes:
    """What the next connection of *queues* to *server* said."""
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            return server.heard.get_nowait()
        except queue.Empty:
            assert time.monotonic() < deadline, "never: a mail"
        turn(queues)
