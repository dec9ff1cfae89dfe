# SPDX-License-Identifier: Apache-2.0
"""Metrics that Prometheus' own lint would pass: names, units, types, help, no duplicates."""

from __future__ import annotations

import re

import msgspec
import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from penstock.api.wire import (
    PoolStatus,
    RealStatus,
    ReasonStatus,
    ServiceStatus,
    Status,
    TrafficStatus,
)
from penstock.metrics import exposition

TRAFFIC = TrafficStatus(live=1, total=2, packets_in=3, bytes_in=4, packets_out=5, bytes_out=6)
STATUS = Status(
    version="1.2.3",
    pid=1,
    uptime=2.5,
    adopted=False,
    flows=7,
    max_flows=1024,
    reloads=3,
    failed_reloads=1,
    last_reload_error="",
    services=(
        ServiceStatus("front", "tcp", ("*:80",), "web", "kernel", "OPEN", 0, "f:1", TRAFFIC),
    ),
    pools=(
        PoolStatus(
            "web",
            "tcp",
            "roundrobin",
            (
                RealStatus("s1", "10.0.0.1:80", "UP", 1, 1, False, "L4OK", 1.0, TRAFFIC),
                RealStatus("s2", "[fd00::2]:80", "DOWN", 5, 0, True, "", 1.0, TrafficStatus()),
            ),
        ),
    ),
    reasons=(ReasonStatus("no_route", "drop", 9), ReasonStatus("not_ours", "pass", 8)),
)


@pytest.fixture(scope="module")
def families() -> list[Metric]:
    return list(text_string_to_metric_families(exposition(STATUS)))


def value(families: list[Metric], name: str, **labels: str) -> float:
    (found,) = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found


def test_names_are_lower_case_with_our_prefix(families: list[Metric]) -> None:
    for family in families:
        assert re.fullmatch(r"penstock(_[a-z0-9]+)+", family.name)


def test_counters_end_in_total_and_gauges_do_not(families: list[Metric]) -> None:
    for family in families:
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name
        assert family.type in ("counter", "gauge")


def test_everything_has_help_that_says_something_else_than_the_name(
    families: list[Metric],
) -> None:
    for family in families:
        assert family.documentation.endswith(".")
        assert family.documentation.lower() != family.name


def test_no_type_or_colliding_suffix_in_a_name(families: list[Metric]) -> None:
    for family in families:
        for word in ("counter", "gauge", "count", "sum", "bucket"):
            assert word not in family.name.removesuffix("_total").split("_")


def test_units_are_base_units(families: list[Metric]) -> None:
    """promtool's rule; bytes_in and bytes_out stand as in HAProxy's own exporter."""
    scaled = {"ms", "milliseconds", "minutes", "hours", "kb", "kilobytes", "kib", "percent", "bits"}
    for family in families:
        assert not scaled & set(family.name.split("_")), family.name


def test_no_metric_and_no_series_twice(families: list[Metric]) -> None:
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    series = [(s.name, tuple(sorted(s.labels.items()))) for f in families for s in f.samples]
    assert len(series) == len(set(series))


def test_labels_do_not_repeat_the_metrics_name(families: list[Metric]) -> None:
    for family in families:
        for sample in family.samples:
            for label in sample.labels:
                assert re.fullmatch(r"[a-z]+", label)
                assert not label.startswith("penstock")


def test_values(families: list[Metric]) -> None:
    def of(name: str, **labels: str) -> float:
        return value(families, name, **labels)

    assert of("penstock_build_info", version="1.2.3") == 1
    assert of("penstock_flows") == 7
    assert of("penstock_flows_limit") == 1024
    assert of("penstock_reloads_total") == 3
    assert of("penstock_reloads_refused_total") == 1
    s1 = {"backend": "web", "server": "s1"}
    for where, labels in (("service", {"service": "front"}), ("server", s1)):
        assert of(f"penstock_{where}_live", **labels) == 1
        assert of(f"penstock_{where}_connections_total", **labels) == 2
        assert of(f"penstock_{where}_packets_in_total", **labels) == 3
        assert of(f"penstock_{where}_packets_out_total", **labels) == 5
    assert of("penstock_server_up", **s1) == 1
    assert of("penstock_server_up", backend="web", server="s2") == 0
    assert of("penstock_packets_total", verdict="drop", reason="no_route") == 9


@pytest.mark.parametrize(("error", "ok"), [("", 1), ("bad file", 0)])
def test_a_refused_reload_shows(error: str, ok: int) -> None:
    changed = msgspec.structs.replace(STATUS, last_reload_error=error)
    found = list(text_string_to_metric_families(exposition(changed)))
    assert value(found, "penstock_configuration_ok") == ok


def test_an_empty_configuration_has_metrics_too() -> None:
    empty = msgspec.structs.replace(STATUS, services=(), pools=(), reasons=())
    assert "penstock_flows 7.0" in exposition(empty)


def test_it_is_the_text_format_whole() -> None:
    text = exposition(STATUS)
    assert text.endswith("\n")
    for line in text.splitlines():
        assert re.match(r"# (HELP|TYPE) penstock_\w+ |penstock_\w+(\{.*\})? [0-9.e+]+$", line), line
