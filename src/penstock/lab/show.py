# SPDX-License-Identifier: Apache-2.0
"""What the demonstration looks like: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from penstock.api.wire import PoolStatus
from penstock.lab.traffic import Answer, lost, tally
from penstock.model import Protocol

_LINE_SECONDS: Final = 2.0
_BAR: Final = 24
_STYLES: Final = {"UP": "green", "DOWN": "bold red"}


@dataclass(frozen=True, slots=True)
class Moment:
    """What is shown at one time."""

    pool: PoolStatus
    answers: Sequence[Answer]
    now: float


class Screen:
    """Shows moments and sentences on *console*."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()
        self._line_due = 0.0
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, sentence: str, style: str = "") -> None:
        """A sentence that stays."""
        elapsed = time.monotonic() - self._began
        self.console.print(Text(f"{elapsed:5.1f}s  {sentence}", style=style))

    def show(self, moment: Moment) -> None:
        """Redraw the table; without a terminal, a line every two seconds."""
        if self._live is not None:
            self._live.update(Group(_table(moment), _foot(moment)), refresh=True)
        elif moment.now >= self._line_due:
            self._line_due = moment.now + _LINE_SECONDS
            self.say(_line(moment))


def _table(moment: Moment) -> Table:
    table = Table(title=f"pool {moment.pool.name}, balance {moment.pool.balance}")
    for heading in ("edge", "address", "state"):
        table.add_column(heading)
    for heading in ("connections", "last second", "UDP"):
        table.add_column(heading, justify="right")
    table.add_column("share of the last second", min_width=_BAR)
    tcp = [one for one in moment.answers if one.protocol is Protocol.TCP]
    udp = tally([one for one in moment.answers if one.protocol is Protocol.UDP])
    ever = tally(tcp)
    lately = tally([one for one in tcp if one.opened >= moment.now - 1.0])
    most = max(1, sum(lately.values()))
    for real in moment.pool.reals:
        recent = lately[real.name]
        table.add_row(
            real.name,
            real.address,
            Text(real.state, style=_STYLES.get(real.state.split()[0], "yellow")),
            str(ever[real.name]),
            str(recent),
            str(udp[real.name]),
            Text("█" * round(_BAR * recent / most), style="cyan"),
        )
    return table


def _foot(moment: Moment) -> Text:
    answered = len(moment.answers) - lost(list(moment.answers))
    return Text(f"answered {answered}, not answered {lost(list(moment.answers))}")


def _line(moment: Moment) -> str:
    tcp = tally([one for one in moment.answers if one.protocol is Protocol.TCP])
    udp = tally([one for one in moment.answers if one.protocol is Protocol.UDP])
    edges = "  ".join(
        f"{real.name} {real.state} {tcp[real.name]} tcp {udp[real.name]} udp"
        for real in moment.pool.reals
    )
    return f"{edges}  not answered {lost(list(moment.answers))}"
