# SPDX-License-Identifier: Apache-2.0
"""Metrics with HAProxy's names."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from unit_ports import closed_port
from unit_proxy import wait_for
from unit_web import (
    DEFAULTS,
    MadeUp,
    Web,
    backend,
    body_of,
    field_of,
    frontend,
    row,
    server,
    status_of,
)

from penstock.statistics.shapes import Kind
from penstock.web.prometheus import Wanted, exposition, read_query
from penstock.web.prometheus_table import PROCESS, ROWS

STATS = (
    "listen s\n bind {d}/a\n http-request use-service prometheus-exporter if { path /metrics }\n"
)


@pytest.fixture
def lines() -> list[str]:
    return text_of(
        MadeUp(
            [
                frontend("f", scur="3", mode="http", hrsp_2xx="7", hrsp_4xx="1"),
                row(Kind.LISTENER, pxname="f", svname="sock-1", status="OPEN", mode="http"),
                server("b", "s1", "UP 1/3", check_status="* L4OK", check_duration="12", qtime="5"),
                server("b", "s2", "MAINT (via x/y)", check_status="L7STS", check_code="503"),
                server("b", "s3", "no check", slim="10"),
                server("b", "s4", "DRAIN"),
                backend("b", "DOWN", scur="2", cookie="x"),
            ],
            {"Version": "9.9", "Nbthread": "4", "Ulimit-n": "100", "Name": "penstock"},
        )
    )


def text_of(statistics: MadeUp, query: str = "") -> list[str]:
    wanted = read_query(query)
    assert wanted is not None
    return "".join(exposition(wanted, statistics)).splitlines()


def test_lines_are_as_haproxys(lines: list[str]) -> None:
    assert "haproxy_process_nbthread 4" in lines
    assert "haproxy_process_max_fds 100" in lines
    assert 'haproxy_process_build_info{version="9.9"} 1' in lines
    assert 'haproxy_frontend_current_sessions{proxy="f"} 3' in lines
    assert 'haproxy_frontend_status{proxy="f",state="UP"} 1' in lines
    assert 'haproxy_listener_status{proxy="f",listener="sock-1",state="OPEN"} 1' in lines
    assert 'haproxy_listener_status{proxy="f",listener="sock-1",state="FULL"} 0' in lines
    assert 'haproxy_backend_status{proxy="b",state="DOWN"} 1' in lines
    assert 'haproxy_server_limit_sessions{proxy="b",server="s1"} NaN' in lines
    assert 'haproxy_server_limit_sessions{proxy="b",server="s3"} 10' in lines
    assert 'haproxy_server_queue_time_average_seconds{proxy="b",server="s1"} 0.005000' in lines
    assert 'haproxy_sticktable_used{name="t",type="ip"} 3' in lines


def test_servers_are_in_one_state(lines: list[str]) -> None:
    states = {
        name: state
        for line in lines
        if (
            found := re.fullmatch(
                r'haproxy_server_status\{proxy="b",server="(.*)",state="(.*)"\} 1', line
            )
        )
        for name, state in [found.groups()]
    }
    assert states == {"s1": "UP", "s2": "MAINT", "s3": "UP", "s4": "DRAIN"}
    assert 'haproxy_backend_agg_server_status{proxy="b",state="UP"} 2' in lines
    assert 'haproxy_backend_agg_check_status{proxy="b",state="L4OK"} 1' in lines


def test_checks_are_told_of_servers_that_have_one(lines: list[str]) -> None:
    assert 'haproxy_server_check_status{proxy="b",server="s1",state="L4OK"} 1' in lines
    assert 'haproxy_server_check_duration_seconds{proxy="b",server="s1"} 0.012000' in lines
    assert 'haproxy_server_check_code{proxy="b",server="s2"} 503' in lines
    assert 'haproxy_server_check_code{proxy="b",server="s1"} 0' in lines
    assert not [one for one in lines if "check_status" in one and 'server="s3"' in one]


def test_http_has_classes_of_responses_under_one_head(lines: list[str]) -> None:
    assert 'haproxy_frontend_http_responses_total{proxy="f",code="2xx"} 7' in lines
    assert 'haproxy_frontend_http_responses_total{proxy="f",code="4xx"} 1' in lines
    assert lines.count("# TYPE haproxy_frontend_http_responses_total counter") == 1
    assert not [one for one in lines if "haproxy_backend_http_requests_total" in one]


def test_labels_are_quoted() -> None:
    lines = text_of(MadeUp([frontend('a"\\\n', scur="1")]), "scope=frontend")
    assert 'haproxy_frontend_current_sessions{proxy="a\\"\\\\\\n"} 1' in lines


@pytest.mark.parametrize(
    ("query", "scopes", "hides"),
    [
        ("", 6, False),
        ("x=y", 6, False),
        ("scope=", 0, False),
        ("scope=server", 1, False),
        ("scope=server&no-maint", 1, True),
        ("scope=frontend&scope=backend", 2, False),
        ("scope=server&scope=&scope=global", 1, False),
        ("scope=*", 6, False),
        ("scope=%73erver", 1, False),
    ],
)
def test_scopes(query: str, scopes: int, hides: bool) -> None:
    wanted = read_query(query)
    assert wanted is not None
    assert (len(wanted.scopes), wanted.hides_maint) == (scopes, hides)


@pytest.mark.parametrize("query", ["scope", "scope=foo", "scope=a=b"])
def test_a_scope_that_there_is_none_of_is_refused(web: Web, query: str) -> None:
    web.follow(STATS)
    assert status_of(web.get(f"/metrics?{query}")) == 400


def test_scopes_leave_the_rest_out(web: Web) -> None:
    web.statistics.table += [frontend("f"), server("b", "s", "MAINT"), backend("b")]
    web.follow(STATS)
    answer = web.get("/metrics")
    assert field_of(answer, "content-type") == "text/plain; version=0.0.4"
    assert body_of(web.get("/metrics?scope=")) == ""
    servers = body_of(web.get("/metrics?scope=server"))
    assert "haproxy_server_" in servers
    assert not re.search("haproxy_(process|frontend|backend|listener|sticktable)_", servers)
    assert 'server="s"' not in body_of(web.get("/metrics?no-maint"))
    assert 'proxy="b"' in body_of(web.get("/metrics?no-maint&scope=backend"))


def test_prometheus_own_parser_takes_it() -> None:
    statistics = MadeUp([frontend("f", mode="http"), server("b", "s"), backend("b")])
    text = "".join(exposition(Wanted(), statistics))
    names = {family.name for family in text_string_to_metric_families(text)}
    assert "haproxy_server_status" in names
    assert "haproxy_frontend_http_responses" in names


@pytest.mark.needs("haproxy")
def test_names_and_types_are_the_installed_haproxys(tmp_path: Path) -> None:
    port = closed_port()
    file = tmp_path / "haproxy.cfg"
    file.write_text(
        DEFAULTS
        + f"listen s\n bind 127.0.0.1:{port}\n option socket-stats\n"
        + " http-request use-service prometheus-exporter if { path /metrics }\n"
        + "backend b\n stick-table type ip size 1k\n server s1 127.0.0.1:1 check\n"
    )
    process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(file)], stderr=-3)
    try:
        wait_for(lambda: "haproxy_server_check_code" in scraped(port), "a check was made")
        text = scraped(port)
    finally:
        process.kill()
        process.wait()
    theirs = set(re.findall(r"# TYPE haproxy_(\S+) (\S+)", text))
    ours = {(f"process_{one.name}", kind_of(one.counter)) for one in PROCESS}
    scopes = {"F": "frontend", "L": "listener", "B": "backend", "S": "server"}
    ours |= {
        (f"{scope}_{one.name}", kind_of(one.counter))
        for one in ROWS
        for letter, scope in scopes.items()
        if letter in one.of
    }
    ours |= {("sticktable_size", "gauge"), ("sticktable_used", "gauge")}
    assert ours == theirs


def kind_of(counter: bool) -> str:
    return "counter" if counter else "gauge"


def scraped(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
