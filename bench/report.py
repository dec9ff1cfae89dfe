# SPDX-License-Identifier: Apache-2.0
"""From single figures to medians and ratios, as tables for people and JSON for programs. Pure.

Ratios are taken within a round, between contenders that met the same weather, and only then is
their median taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final


@dataclass(frozen=True, slots=True)
class Record:
    """One figure: who, on which links, in which round."""

    links: str
    contender: str
    round: int
    quantity: str
    value: float
    errors: int


@dataclass(frozen=True, slots=True)
class Quantity:
    """How a figure is called, and its unit. *beyond*: of which one, less direct's, it consists."""

    title: str
    unit: str
    beyond: str = ""


QUANTITIES: Final[dict[str, Quantity]] = {
    "connections": Quantity("new connections (wrk, Connection: close)", "1/s"),
    "connection cpu": Quantity("CPU time per connection, of all parties together", "µs"),
    "connection own": Quantity(
        "CPU time per connection, the balancer's own (less direct's)", "µs", "connection cpu"
    ),
    "requests": Quantity("keep-alive requests (wrk)", "1/s"),
    "request cpu": Quantity("CPU time per request, of all parties together", "µs"),
    "request own": Quantity(
        "CPU time per request, the balancer's own (less direct's)", "µs", "request cpu"
    ),
    "bulk": Quantity("bulk, one stream (iperf3)", "Gbit/s"),
    "latency p50": Quantity("latency of a new connection, p50", "µs"),
    "latency p99": Quantity("latency of a new connection, p99", "µs"),
    "start": Quantity("memory taken at start (MemAvailable)", "MiB"),
    "idle process": Quantity(
        "idle connections: the balancer's processes (PSS without BPF maps)", "MiB"
    ),
    "idle kernel": Quantity("idle connections: growth of the kernel's slabs, all parties", "MiB"),
    "idle own": Quantity(
        "idle connections: growth of the kernel's slabs beyond direct's", "MiB", "idle kernel"
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One contender in one quantity; a ratio is None where it means nothing."""

    links: str
    quantity: str
    contender: str
    median: float
    lowest: float
    highest: float
    to_direct: float | None
    to_haproxy: float | None
    errors: int
    rounds: int


def with_own(records: Iterable[Record], direct: str) -> list[Record]:
    """*records* and, for quantities that consist in a difference, what exceeds direct's."""
    known = list(records)
    base = {
        (one.links, one.round, one.quantity): one.value for one in known if one.contender == direct
    }
    for name, quantity in QUANTITIES.items():
        for one in list(known):
            if quantity.beyond != one.quantity or one.contender == direct:
                continue
            subtrahend = base.get((one.links, one.round, one.quantity))
            if subtrahend is not None:
                known.append(
                    Record(
                        one.links,
                        one.contender,
                        one.round,
                        name,
                        one.value - subtrahend,
                        one.errors,
                    )
                )
    return known


def rows(
    records: Sequence[Record], contenders: Sequence[str], direct: str, haproxy: str
) -> list[Row]:
    """Every quantity of every contender, in the order of QUANTITIES and *contenders*."""
    every = with_own(records, direct)
    found: dict[tuple[str, str, str], list[Record]] = {}
    for one in every:
        found.setdefault((one.links, one.quantity, one.contender), []).append(one)
    links = list(dict.fromkeys(one.links for one in every))
    made = []
    for link in links:
        for quantity in QUANTITIES:
            for contender in contenders:
                mine = found.get((link, quantity, contender))
                if mine is None:
                    continue
                values = [one.value for one in mine]
                made.append(
                    Row(
                        links=link,
                        quantity=quantity,
                        contender=contender,
                        median=median(values),
                        lowest=min(values),
                        highest=max(values),
                        to_direct=_ratio(mine, found.get((link, quantity, direct))),
                        to_haproxy=_ratio(mine, found.get((link, quantity, haproxy))),
                        errors=sum(one.errors for one in mine),
                        rounds=len(mine),
                    )
                )
    return made


def _ratio(mine: Sequence[Record], base: Sequence[Record] | None) -> float | None:
    """Median over the rounds of *mine* to *base*; None where a base is not above zero."""
    by_round = {one.round: one.value for one in base or ()}
    pairs = [(one.value, by_round[one.round]) for one in mine if one.round in by_round]
    if not pairs or any(denominator <= 0 for _, denominator in pairs):
        return None
    return median(value / denominator for value, denominator in pairs)


def lines(table: Sequence[Row]) -> Iterator[str]:
    """The table as text: a block for each quantity on each kind of links."""
    title: tuple[str, str] | None = None
    for row in table:
        if (row.links, row.quantity) != title:
            title = (row.links, row.quantity)
            quantity = QUANTITIES[row.quantity]
            yield ""
            yield f"{quantity.title} [{quantity.unit}], links: {row.links}"
            yield (
                f"  {'':<13} {'median':>10} {'lowest':>10} {'highest':>10}"
                f" {'x direct':>9} {'x HAProxy':>9} {'errors':>7}"
            )
        yield (
            f"  {row.contender:<13} {_figure(row.median)} {_figure(row.lowest)}"
            f" {_figure(row.highest)} {_times(row.to_direct)} {_times(row.to_haproxy)}"
            f" {row.errors:>7}"
        )


def _figure(value: float) -> str:
    return f"{value:>10,.0f}" if abs(value) >= 1000 else f"{value:>10.1f}"


def _times(ratio: float | None) -> str:
    return f"{'-':>9}" if ratio is None else f"{ratio:>9.3f}"


def as_json(
    records: Sequence[Record], table: Sequence[Row], facts: dict[str, str | float]
) -> dict[str, object]:
    """Everything: *facts* about the run, each single figure, and the table."""
    return {
        "facts": facts,
        "records": [asdict(one) for one in records],
        "table": [asdict(one) for one in table],
    }
