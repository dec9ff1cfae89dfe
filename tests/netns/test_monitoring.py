# SPDX-License-Identifier: Apache-2.0
"""The programs that people watch HAProxy with, on penstock, unchanged."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.lab.network import until
from penstock.lab.rig import Rig

PATIENCE = 40.0  # s: hatop looks every three seconds, on a machine that may be busy
NAGIOS = Path("/usr/lib/nagios/plugins")
STATS = """
listen stats
    mode http
    bind 127.0.0.1:8404
    stats enable
    stats uri /stats
    stats admin if TRUE
    http-request use-service prometheus-exporter if { path /metrics }
"""
URL = "http://127.0.0.1:8404/stats;csv"


@pytest.fixture
def watched(rig: Rig) -> Rig:
    """Two servers, of which r2 does not answer, with all that one can be watched by."""
    socket = f"global\n    stats socket {socket_of(rig)} level admin\n"
    lines = ["server gone 192.0.2.1:80 check inter 200ms disabled"]
    rig.start(socket + STATS + rig.listen("web", 8080, lines=lines, server="check inter 200ms"))
    until("both servers to be seen", lambda: "L4OK" in csv(rig))
    return rig


def socket_of(rig: Rig) -> Path:
    return rig.directory / "haproxy.sock"


def here(rig: Rig, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program beside the load balancer."""
    return rig.site.balancer.namespace.run(*command, check=False)


def csv(rig: Rig) -> str:
    return here(rig, "curl", "-s", URL).stdout


def status(rig: Rig, server: str) -> str:
    """The field that scripts cut out of ``show stat``."""
    rows = [line.split(",") for line in csv(rig).splitlines()]
    return next(row[17] for row in rows if row[:2] == ["web", server])


@pytest.mark.needs("socat", "curl")
def test_the_socket_and_the_page_say_the_same(watched: Rig) -> None:
    by_socket = [line.split(",")[:3] for line in ask(watched, "show stat").splitlines()]
    by_http = [line.split(",")[:3] for line in csv(watched).splitlines()]
    assert [row for row in by_socket if row != [""]] == by_http
    assert ask(watched, "set server web/r1 state maint") == "\n"
    assert status(watched, "r1") == "MAINT"
    done = here(watched, "curl", "-si", "-d", "s=r1&b=web&action=ready", URL)
    assert "location: /stats;st=DONE\n" in done.stdout.replace("\r", "")
    until("r1 to be back", lambda: status(watched, "r1") == "UP")


def ask(rig: Rig, command: str) -> str:
    return rig.site.balancer.namespace.run(
        "socat", "-", f"UNIX-CONNECT:{socket_of(rig)}", stdin=f"{command}\n"
    ).stdout


@pytest.mark.needs("prometheus-haproxy-exporter", "curl")
@pytest.mark.parametrize("by", ["socket", "http"])
def test_the_exporter_of_prometheus_scrapes_it(watched: Rig, by: str) -> None:
    where = f"unix:{socket_of(watched)}" if by == "socket" else URL
    watched.site.balancer.namespace.start(
        "prometheus-haproxy-exporter",
        "--web.listen-address=127.0.0.1:9101",
        f"--haproxy.scrape-uri={where}",
    )

    def metrics() -> str:
        return here(watched, "curl", "-s", "http://127.0.0.1:9101/metrics").stdout

    until("the exporter to answer", lambda: "haproxy_up" in metrics())
    lines = metrics().splitlines()
    assert "haproxy_up 1" in lines
    assert 'haproxy_server_up{backend="web",server="r1"} 1' in lines
    assert 'haproxy_server_up{backend="web",server="gone"} 0' in lines
    assert 'haproxy_backend_up{backend="web"} 1' in lines
    assert "haproxy_exporter_csv_parse_failures_total 0" in lines


@pytest.mark.needs("curl")
def test_prometheus_scrapes_penstock_itself(watched: Rig) -> None:
    assert watched.tcp(8080, 4) == {"r1": 2, "r2": 2}
    url = "http://127.0.0.1:8404/metrics"
    lines = here(watched, "curl", "-s", url).stdout.splitlines()
    assert 'haproxy_server_status{proxy="web",server="r1",state="UP"} 1' in lines
    assert 'haproxy_server_sessions_total{proxy="web",server="r1"} 2' in lines
    assert 'haproxy_frontend_sessions_total{proxy="web"} 4' in lines
    assert 'haproxy_server_status{proxy="web",server="gone",state="MAINT"} 1' in lines
    quiet = here(watched, "curl", "-s", f"{url}?scope=server&no-maint").stdout
    assert 'server="r1"' in quiet
    assert 'server="gone"' not in quiet
    assert "haproxy_frontend" not in quiet


@contextmanager
def hatop(rig: Rig) -> Iterator[Callable[..., str]]:
    """Its screen; keys that are given are pressed before."""
    server = f"penstock-{rig.site.balancer.namespace.name}"

    def tmux(*arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-L", server, *arguments], capture_output=True, text=True, check=True
        ).stdout

    def screen(*keys: str) -> str:
        if keys:
            tmux("send-keys", *keys)
        return tmux("capture-pane", "-p")

    tmux(*("new-session", "-d", "-x", "180", "-y", "40"), f"hatop -s {socket_of(rig)}")
    try:
        yield screen
    finally:
        tmux("kill-server")


@pytest.mark.needs("hatop", "tmux", "curl")
def test_hatop_shows_servers_and_switches_them(watched: Rig) -> None:
    with hatop(watched) as screen:
        until("the servers", lambda: ">>> web" in screen() and "L4OK" in screen(), PATIENCE)
        assert shown(screen(), "r1") == "UP"
        number = place_of(watched, "r1")
        # It says which service is chosen in the last line: proxy and server.
        until(
            "r1 to be chosen",
            lambda: number in screen() or number in screen("Down"),
            PATIENCE,
        )
        screen("F10")
        until("hatop to disable it", lambda: status(watched, "r1") == "MAINT", PATIENCE)
        until("hatop to show it", lambda: shown(screen(), "r1") == "MAINT", PATIENCE)
        screen("F9")
        until("hatop to enable it", lambda: status(watched, "r1") == "UP", PATIENCE)
        until("hatop to show it", lambda: shown(screen(), "r1") == "UP", PATIENCE)


def shown(screen: str, server: str) -> str:
    """The state on the *screen*; "" when it shows something else."""
    lines = (line.split() for line in screen.splitlines() if line.startswith(f"{server} "))
    return next((words[2] for words in lines), "")


def place_of(rig: Rig, server: str) -> str:
    """``[#3/#1]``: iid and sid."""
    rows = [line.split(",") for line in csv(rig).splitlines()]
    row = next(row for row in rows if row[:2] == ["web", server])
    return f"[#{row[27]}/#{row[28]}]"


@pytest.mark.needs("perl", "curl")
@pytest.mark.parametrize("plugin", ["check_haproxy", "check_haproxy_stats"])
def test_plugins_of_nagios_say_what_is_down(watched: Rig, plugin: str) -> None:
    path = NAGIOS / plugin
    if not path.exists() or here(watched, str(path), "--help").returncode not in (0, 3):
        pytest.skip(f"needs the Debian package monitoring-plugins-contrib ({plugin})")

    def checked() -> subprocess.CompletedProcess[str]:
        if plugin == "check_haproxy":
            return here(watched, str(path), "-u", URL)
        return here(watched, str(path), "-m", "-s", str(socket_of(watched)))

    assert checked().returncode == 0, checked().stdout
    ask(watched, "set server web/r2 addr 192.0.2.7 port 9")
    ask(watched, "set server web/r2 health down")
    done = checked()
    assert done.returncode == 2, done.stdout
    assert "r2" in done.stdout
