# SPDX-License-Identifier: Apache-2.0
"""What the demonstration does, step by step, and what must be true of it at each step."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from penstock.lab import edges
from penstock.lab.balancer import Balancer
from penstock.lab.network import LabError
from penstock.lab.peers import Client, ask
from penstock.lab.show import Moment, Screen
from penstock.lab.traffic import Traffic, lost, tally
from penstock.model import Protocol

POOL: Final = "cdn_edges"
UDP_POOL: Final = "quic"
_VICTIM: Final = "edge2"
_KEPT: Final = 9  # connections held open throughout: three an edge
_LOOK_SECONDS: Final = 4.0
_NOTICE_SECONDS: Final = 20.0  # fall 3 at inter 2s with a connect timeout of 2s, and some
_TCP_RATE: Final = 60.0
_UDP_RATE: Final = 20.0
_THREADS: Final = 6
_FRAME: Final = 0.2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was claimed, and whether it was so."""

    claim: str
    true: bool
    seen: str = ""


class Story:
    """Tells it on *screen*; ``findings`` says afterwards whether it was true."""

    def __init__(self, site: edges.Site, balancer: Balancer, screen: Screen) -> None:
        self._site = site
        self._balancer = balancer
        self._screen = screen
        self._client = Client(site.client, timeout=1.0)
        self._traffic = Traffic(self._client, edges.VIP, edges.PORT)
        self.findings: list[Finding] = []

    def tell(self) -> None:
        """About 25 s. Raises LabError when something awaited does not come about."""
        kept = [self._client.connect(edges.VIP, edges.PORT) for _ in range(_KEPT)]
        owners = [ask(connection)[0] for connection in kept]
        try:
            self._traffic.start(Protocol.TCP, _TCP_RATE, _THREADS)
            self._traffic.start(Protocol.UDP, _UDP_RATE, _THREADS)
            self._all_up()
            self._cut_off()
            self._kept(kept, owners, "while it is away", without=_VICTIM)
            self._back_again()
            self._kept(kept, owners, "in the end", without=None)
        finally:
            self._traffic.close()
            for connection in kept:
                connection.close()

    def _all_up(self) -> None:
        began = time.monotonic()
        self._say("connections and datagrams go round robin over three edges", "bold")
        self._watch(_LOOK_SECONDS)
        for protocol in Protocol:
            answers = self._traffic.answers(began, protocol)
            got = tally(answers)
            shares = [got[name] for name in edges.EDGES]
            # Connections of several threads end in another order than they were opened in.
            even = min(shares) > 0 and max(shares) - min(shares) <= _THREADS
            self._find(f"{protocol}: every edge gets its third", even, _counts(got))
            self._find(
                f"{protocol}: every one is answered", lost(answers) == 0, f"{lost(answers)} lost"
            )

    def _cut_off(self) -> None:
        cut = time.monotonic()
        self._say(f"{_VICTIM} is cut off: its cable is pulled", "bold red")
        self._site.cut(_VICTIM)
        self._watch_until(f"the check to take {_VICTIM} out", lambda: self._is(_VICTIM, up=False))
        noticed = time.monotonic()
        unnoticed = lost(self._traffic.answers(cut))
        self._say(
            f"the check took {_VICTIM} out after {noticed - cut:.1f} s; "
            f"{unnoticed} connections had gone there meanwhile",
            "bold",
        )
        self._watch(_LOOK_SECONDS)
        answers = self._traffic.answers(noticed)
        got = tally(answers)
        self._find(
            f"without {_VICTIM} every connection is answered by the other two",
            lost(answers) == 0 and got[_VICTIM] == 0 and len(got) == len(edges.EDGES) - 1,
            f"{_counts(got)}, {lost(answers)} lost",
        )

    def _back_again(self) -> None:
        self._say(f"{_VICTIM} is plugged in again", "bold green")
        self._site.mend(_VICTIM)
        self._watch_until(f"the check to bring {_VICTIM} back", lambda: self._is(_VICTIM, up=True))
        back = time.monotonic()
        self._say(f"the check brought {_VICTIM} back", "bold")
        self._watch(_LOOK_SECONDS)
        answers = self._traffic.answers(back)
        got = tally(answers)
        self._find(
            f"{_VICTIM} gets connections again, and none is lost",
            lost(answers) == 0 and got[_VICTIM] > 0,
            f"{_counts(got)}, {lost(answers)} lost",
        )

    def _kept(
        self, kept: list[socket.socket], owners: list[str], when: str, without: str | None
    ) -> None:
        """Connections opened at the start still lead to the edge they began with."""
        wanted = [pair for pair in zip(kept, owners, strict=True) if pair[1] != without]
        well = 0
        for connection, owner in wanted:
            try:
                well += ask(connection)[0] == owner
            except OSError:
                continue
        whose = f" to edges other than {without}" if without else ""
        self._find(
            f"connections opened at the start{whose} live {when}",
            well == len(wanted),
            f"{well} of {len(wanted)}",
        )

    def _is(self, edge: str, *, up: bool) -> bool:
        wanted = "UP" if up else "DOWN"
        return all(
            self._balancer.real(pool, edge).state.startswith(wanted) for pool in (POOL, UDP_POOL)
        )

    def _watch(self, seconds: float) -> None:
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            self._frame()

    def _watch_until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _NOTICE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise LabError(f"waited {_NOTICE_SECONDS:g} s in vain for {what}")
            self._frame()

    def _frame(self) -> None:
        pool = self._balancer.pool(POOL)
        self._screen.show(Moment(pool, self._traffic.answers(), time.monotonic()))
        time.sleep(_FRAME)

    def _say(self, sentence: str, style: str) -> None:
        self._screen.say(sentence, style)

    def _find(self, claim: str, true: bool, seen: str) -> None:
        self.findings.append(Finding(claim, true, seen))


def _counts(got: dict[str, int]) -> str:
    return ", ".join(f"{name} {got.get(name, 0)}" for name in edges.EDGES)
