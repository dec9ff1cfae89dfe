# SPDX-License-Identifier: Apache-2.0
"""Rates as the kernel estimates them: every two seconds, a quarter of the way to the last rate.

Sources: net/netfilter/ipvs/ip_vs_est.c of Linux 6.1, in its fixed point: connections and packets
a second times 1024, bytes times 32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from penstock.engine.api import DestCounters

PERIOD = 2.0  # seconds

# Left shifts of a difference over one period: 2**10 and 2**5, halved because it is two seconds.
_COUNT, _BYTES = 9, 4


class Rates(NamedTuple):
    """A second, rounded as the kernel rounds them when it is asked."""

    cps: int = 0
    in_pps: int = 0
    out_pps: int = 0
    in_bps: int = 0
    out_bps: int = 0


NO_RATES = Rates()
_NOTHING = (0, 0, 0, 0, 0)
_UNCOUNTED = DestCounters()


@dataclass(slots=True)
class Estimator:
    """The rates of one service or destination."""

    last: DestCounters = _UNCOUNTED
    _scaled: tuple[int, int, int, int, int] = _NOTHING

    def sample(self, now: DestCounters, periods: int = 1) -> None:
        """Take in counters as they are *periods* (1 or more) periods after the last ones."""
        last = self.last
        if now == last and self._scaled == _NOTHING:
            return
        rates = (
            (now.conns - last.conns << _COUNT) // periods,
            (now.packets_in - last.packets_in << _COUNT) // periods,
            (now.packets_out - last.packets_out << _COUNT) // periods,
            (now.bytes_in - last.bytes_in << _BYTES) // periods,
            (now.bytes_out - last.bytes_out << _BYTES) // periods,
        )
        self.last = now
        a, b, c, d, e = self._scaled
        # After this many the rest of the way is less than one: there is nothing left to gain.
        for _ in range(min(periods, 64)):
            a += rates[0] - a >> 2
            b += rates[1] - b >> 2
            c += rates[2] - c >> 2
            d += rates[3] - d >> 2
            e += rates[4] - e >> 2
        self._scaled = (a, b, c, d, e)

    def zero(self, now: DestCounters) -> None:
        """As ``ipvsadm -Z``: begin again from *now*."""
        self.last, self._scaled = now, _NOTHING

    def rates(self) -> Rates:
        a, b, c, d, e = self._scaled
        if self._scaled == _NOTHING:
            return NO_RATES
        return Rates(a + 0x1FF >> 10, b + 0x1FF >> 10, c + 0x1FF >> 10, d + 0xF >> 5, e + 0xF >> 5)
