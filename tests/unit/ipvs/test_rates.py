# SPDX-License-Identifier: Apache-2.0
"""Rates move as the kernel's estimator moves them, in its own fixed point."""

from __future__ import annotations

from penstock.engine.api import DestCounters, RuleCounters
from penstock.ipvs.meters import Meters
from penstock.ipvs.model import NO_STATS, ServiceKey
from penstock.ipvs.rates import Estimator, Rates

KEY = ServiceKey(6, "203.0.113.1", 80)
DEST = ("10.0.1.1", 80)


def test_the_first_period_goes_a_quarter_of_the_way() -> None:
    estimator = Estimator()
    estimator.sample(DestCounters(conns=80, packets_in=160, bytes_in=8000))
    # 40, 80 and 4000 a second.
    assert estimator.rates() == Rates(cps=10, in_pps=20, in_bps=1000)


def test_steady_traffic_is_reached_and_rounded_up_from_half() -> None:
    estimator = Estimator()
    for period in range(1, 60):
        estimator.sample(DestCounters(3 * period, 3 * period, 100 * period, 2 * period, 7 * period))
    # 1.5 a second is 1 by the kernel's rounding of 1535/1024; 3.5 bytes of 109/32 are 3.
    assert estimator.rates() == Rates(cps=1, in_pps=1, out_pps=1, in_bps=50, out_bps=3)


def test_silence_fades_to_nothing_and_costs_nothing() -> None:
    estimator = Estimator()
    counted = DestCounters(conns=1000, packets_in=1000, bytes_in=1000)
    seen = []
    for _ in range(80):
        estimator.sample(counted)
        seen.append(estimator.rates().cps)
    assert seen[:3] == [125, 94, 70]
    assert seen[-1] == 0
    assert estimator == Estimator(last=counted)


def test_a_late_sample_counts_for_all_periods_it_spans() -> None:
    steady, late = Estimator(), Estimator()
    for period in range(1, 5):
        steady.sample(DestCounters(conns=64 * period))
    late.sample(DestCounters(conns=256), 4)
    assert late.rates() == steady.rates()


def test_zeroing_forgets_rate_and_count() -> None:
    estimator = Estimator()
    estimator.sample(DestCounters(conns=80))
    estimator.zero(DestCounters(conns=90))
    assert estimator.rates() == Rates()
    estimator.sample(DestCounters(conns=98))
    assert estimator.rates() == Rates(cps=1)


def test_idle_destinations_take_no_memory() -> None:
    meters = Meters()
    meters.begin_period()
    meters.sample(KEY, RuleCounters(DestCounters(), {DEST: DestCounters()}))
    assert meters.stats(KEY, DEST, DestCounters()) is NO_STATS
    meters.sample(KEY, RuleCounters(DestCounters(conns=8), {DEST: DestCounters()}))
    assert meters.stats(KEY, DEST, DestCounters()) is NO_STATS
    assert meters.stats(KEY, None, DestCounters(conns=8)).cps == 1


def test_two_samples_in_one_period_are_one() -> None:
    meters = Meters()
    meters.begin_period()
    meters.sample(KEY, RuleCounters(DestCounters(conns=8), {}))
    meters.sample(KEY, RuleCounters(DestCounters(conns=800), {}))
    assert meters.stats(KEY, None, DestCounters(conns=800)).cps == 1


def test_bases_of_another_datapath_do_not_make_statistics_negative() -> None:
    meters = Meters()
    past = [(None, DestCounters(conns=5, packets_in=50)), (DEST, DestCounters(packets_in=9))]
    now = RuleCounters(DestCounters(conns=7, packets_in=70), {DEST: DestCounters(packets_in=1)})
    meters.restore(KEY, now, past)
    assert meters.stats(KEY, None, now.service).in_packets == 20
    assert meters.stats(KEY, DEST, now.dests[DEST]).in_packets == 1


def test_a_destination_that_left_is_forgotten() -> None:
    meters = Meters()
    meters.zero(KEY, RuleCounters(DestCounters(conns=1), {DEST: DestCounters(conns=1)}))
    meters.keep(KEY, [])
    assert [dest for dest, _ in meters.bases(KEY)] == [None]
    meters.forget(KEY)
    assert not list(meters.bases(KEY))
