# SPDX-License-Identifier: Apache-2.0
"""A snapshot as Prometheus metrics; names and labels are documented in docs/metrics.md."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.api.wire import Status, TrafficStatus

_TRAFFIC = (
    ("connections", "Connections, or UDP flows, ever opened.", "total"),
    ("packets_in", "Packets from clients.", "packets_in"),
    ("bytes_in", "Bytes from clients, from the IP header on.", "bytes_in"),
    ("packets_out", "Packets to clients.", "packets_out"),
    ("bytes_out", "Bytes to clients, from the IP header on.", "bytes_out"),
)


class _Snapshot(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        status = self._status
        build = GaugeMetricFamily("penstock_build_info", "Version.", labels=["version"])
        build.add_metric([status.version], 1)
        yield build
        yield GaugeMetricFamily("penstock_flows", "Flows in the table.", value=status.flows)
        yield GaugeMetricFamily(
            "penstock_flows_limit", "Flows the table has room for.", value=status.max_flows
        )
        yield CounterMetricFamily("penstock_reloads", "Reloads done.", value=status.reloads)
        yield CounterMetricFamily(
            "penstock_reloads_refused", "Reloads refused.", value=status.failed_reloads
        )
        yield GaugeMetricFamily(
            "penstock_configuration_ok",
            "1 when the last reload, if any, was accepted.",
            value=0 if status.last_reload_error else 1,
        )
        yield from self._traffic(
            "service", ["service"], [([s.name], s.traffic) for s in status.services]
        )
        reals = [([p.name, r.name], r) for p in status.pools for r in p.reals]
        yield from self._traffic(
            "server", ["backend", "server"], [(labels, r.traffic) for labels, r in reals]
        )
        up = GaugeMetricFamily(
            "penstock_server_up", "1 when it may take new flows.", labels=["backend", "server"]
        )
        weight = GaugeMetricFamily(
            "penstock_server_weight", "Effective weight.", labels=["backend", "server"]
        )
        for labels, real in reals:
            up.add_metric(labels, 1 if real.effective_weight else 0)
            weight.add_metric(labels, real.effective_weight)
        yield up
        yield weight
        reasons = CounterMetricFamily(
            "penstock_packets",
            "What the datapath did with packets it did not simply forward, and events, by reason.",
            labels=["verdict", "reason"],
        )
        for reason in status.reasons:
            reasons.add_metric([reason.verdict, reason.name], reason.count)
        yield reasons

    def _traffic(
        self, what: str, labels: list[str], rows: list[tuple[list[str], TrafficStatus]]
    ) -> Iterable[Metric]:
        live = GaugeMetricFamily(f"penstock_{what}_live", "Connections now.", labels=labels)
        for values, traffic in rows:
            live.add_metric(values, traffic.live)
        yield live
        for name, help_, attribute in _TRAFFIC:
            family = CounterMetricFamily(f"penstock_{what}_{name}", help_, labels=labels)
            for values, traffic in rows:
                family.add_metric(values, getattr(traffic, attribute))
            yield family


def exposition(status: Status) -> str:
    """The snapshot in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(status))
    return generate_latest(registry).decode()
