# SPDX-License-Identifier: Apache-2.0
"""How fast connections may come to all services together."""

from __future__ import annotations

from penstock.engine.proxy.rates import Rates
from penstock.proxied import ProcessRates


def test_each_kind_is_counted_for_itself() -> None:
    rates = Rates()
    for _ in range(3):
        rates.accepted(10.0)
    rates.admitted(10.0, tls=True)
    assert rates.too_fast(ProcessRates(connections=3), 10.0, tls=False)
    assert not rates.too_fast(ProcessRates(connections=4), 10.0, tls=False)
    assert rates.too_fast(ProcessRates(sessions=1), 10.0, tls=False)
    assert rates.too_fast(ProcessRates(tls=1), 10.0, tls=True)
    assert not rates.too_fast(ProcessRates(tls=1), 10.0, tls=False)
    assert not rates.too_fast(ProcessRates(), 10.0, tls=True)


def test_there_is_room_again_later() -> None:
    rates = Rates()
    rates.accepted(10.0)
    assert rates.too_fast(ProcessRates(connections=1), 10.5, tls=False)
    assert not rates.too_fast(ProcessRates(connections=1), 12.5, tls=False)
