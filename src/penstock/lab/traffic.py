# SPDX-License-Identifier: Apache-2.0
"""A steady stream of new connections, and a record of who answered each."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass

from penstock.lab.peers import Client
from penstock.model import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """One connection: when it was opened (monotonic seconds) and who answered; None: nobody."""

    opened: float
    protocol: Protocol
    server: str | None


class Traffic:
    """Opens connections to one address from several threads until it is closed."""

    def __init__(self, client: Client, address: str, port: int) -> None:
        self._client = client
        self._address = address
        self._port = port
        self._answers: list[Answer] = []
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, protocol: Protocol, rate: float, threads: int) -> None:
        """*rate* connections a second by *threads*, so that a lost one delays few others."""
        for _ in range(threads):
            thread = threading.Thread(
                target=self._run, args=(protocol, threads / rate), name="lab-traffic", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def answers(self, since: float = 0.0, protocol: Protocol | None = None) -> list[Answer]:
        """Those opened after *since* whose outcome is known."""
        return [
            one
            for one in self._answers.copy()
            if one.opened >= since and protocol in (None, one.protocol)
        ]

    def close(self) -> None:
        """Open no more, and wait for those under way."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, protocol: Protocol, interval: float) -> None:
        ask = self._client.tcp if protocol is Protocol.TCP else self._client.udp
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            opened = time.monotonic()
            try:
                server: str | None = ask(self._address, self._port)
            except OSError:
                server = None
            self._answers.append(Answer(opened, protocol, server))
            due = max(due + interval, time.monotonic())


def tally(answers: list[Answer]) -> Counter[str]:
    """How many each server answered; nobody's are left out."""
    return Counter(one.server for one in answers if one.server is not None)


def lost(answers: list[Answer]) -> int:
    """How many nobody answered."""
    return sum(one.server is None for one in answers)
