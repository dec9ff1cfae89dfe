# SPDX-License-Identifier: Apache-2.0
"""``python -m bench`` at a tiny size: it measures what it says, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.flood import Figures

from penstock.instance.runtime import RuntimePaths
from penstock.lab.network import NAMESPACES, PROGRAMS, until

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--quick", "--idle", "20", "--rate", "50")
COMPARED = ("direct", "penstock-tc", "haproxy")
pytestmark = pytest.mark.needs("nginx", "wrk")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench", *arguments]


def _bench(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its end; *path* takes the place of PATH."""
    env = dict(os.environ) if path is None else {**os.environ, "PATH": str(path)}
    return subprocess.run(
        _command(*arguments),
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, text
    return float(found[1].replace(",", ""))


@pytest.mark.needs("haproxy", "iperf3")
def test_contenders_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = _bench(*TINY, "--links", "offload", "--only", ",".join(COMPARED), "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    figures = {(one["contender"], one["quantity"]): one for one in report["records"]}
    rows = {(one["contender"], one["quantity"]): one for one in report["table"]}
    for contender in COMPARED:
        for quantity in ("connections", "requests", "bulk", "latency p50", "connection cpu"):
            assert figures[contender, quantity]["value"] > 0, (contender, quantity)
        for quantity in ("connections", "requests", "bulk", "latency p50", "idle process"):
            assert rows[contender, quantity]["errors"] == 0, (contender, quantity)
    for contender in COMPARED[1:]:
        base = figures["direct", "connection cpu"]["value"]
        own = figures[contender, "connection cpu"]["value"] - base
        assert rows[contender, "connection own"]["median"] == pytest.approx(own)
        ratio = figures[contender, "requests"]["value"] / figures["direct", "requests"]["value"]
        assert rows[contender, "requests"]["to_direct"] == pytest.approx(ratio)
    assert rows["penstock-tc", "idle process"]["median"] > 1  # MiB: a Python process
    assert rows["direct", "idle process"]["median"] == 0


@pytest.mark.needs("nft")
@pytest.mark.parametrize("family", ["4", "6"])
def test_other_peers_take_connections(family: str) -> None:
    only = ("--only", "nginx,nftables", "--measures", "connections", "--links", "offload")
    done = _bench(*TINY, *only, "--family", family)
    assert done.returncode == 0, done.stdout + done.stderr
    for peer in ("nginx", "nftables"):
        assert _number(rf"  {peer} +([0-9.,]+) ", done.stdout) > 100
        shown = [line for line in done.stdout.splitlines() if line.startswith(f"  {peer}")]
        assert all(line.split()[-1] == "0" for line in shown), done.stdout  # errors


@pytest.mark.needs("ethtool")
@pytest.mark.parametrize("family", ["4", "6"])
def test_xdp_meets_its_peers_on_links_it_can_use(family: str) -> None:
    only = ("--only", "direct,penstock-xdp", "--measures", "connections", "--links", "plain")
    done = _bench(*TINY, *only, "--family", family)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [line for line in done.stdout.splitlines() if line.startswith("  penstock-xdp")]
    assert len(shown) == 3  # rate, CPU of all, CPU of its own
    assert all(line.split()[-1] == "0" for line in shown), done.stdout  # errors


def test_a_missing_peer_is_left_out_by_name(tmp_path: Path) -> None:
    for program in (*PROGRAMS, "nginx", "ss"):
        found = shutil.which(program)
        assert found is not None
        (tmp_path / program).symlink_to(found)
    only = ("--only", "direct,haproxy", "--measures", "latency", "--links", "offload")
    done = _bench(*TINY, *only, path=tmp_path)
    assert "left out: haproxy: the program haproxy is missing" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert _number(r"  direct +([0-9.,]+)", done.stdout) > 0


def test_what_it_cannot_do_without_is_named(tmp_path: Path) -> None:
    for program in PROGRAMS:
        found = shutil.which(program)
        assert found is not None
        (tmp_path / program).symlink_to(found)
    done = _bench(path=tmp_path)
    assert done.returncode == 77
    assert done.stderr == "bench: left out: the program nginx is missing\n"


def test_unknown_names_are_refused() -> None:
    done = _bench("--only", "direct,relayd")
    assert done.returncode == 1
    assert "there is no 'relayd'" in done.stderr


@pytest.mark.parametrize("family", ["4", "6"])
def test_close_counts_no_error(family: str) -> None:
    done = _bench("close", "--seconds", "1", "--family", family)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _number(r"^([0-9,]+) connections", done.stdout) > 100
    assert ": 0 errors" in done.stdout


def test_packets_are_fed_to_the_datapath() -> None:
    """That each was forwarded, or opened a flow, it checks itself."""
    done = _bench(
        *("packets", "--rounds", "1", "--repeat", "2000", "--flows", "1,64"),
        *("--max-flows", "4096"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^.* (?:xdp|tc) .*$", done.stdout, re.MULTILINE)
    # 16 of a haproxy.cfg's services; six ways to forward, by two hooks, with two numbers of flows
    assert len(rows) == 16 + 24
    beyond = re.findall(r"^ipvsadm -i gue.* ns beyond ipip", done.stdout, re.MULTILINE)
    assert len(beyond) == 4  # with and without a checksum
    # Opening a flow costs several times what an established flow's packet does.
    opened = _number(r"SYN, IPv4, new flow +tc +new +\d+ +\d+ +(\d+)", done.stdout)
    known = _number(r"TCP, IPv4, established +tc +1 +\d+ +\d+ +(\d+)", done.stdout)
    assert opened > known > 0


@pytest.mark.needs("nft", "ethtool")
def test_forwarding_methods_beside_nftables() -> None:
    """That packets arrived, by the hook that is named, it checks itself."""
    done = _bench(
        *("director", "--only", "flood", "--rounds", "1", "--seconds", "0.1", "--calm", "0")
    )
    lines = done.stdout.splitlines()
    busy = [line for line in lines if line.endswith(": other processes leave nothing to tell")]
    assert done.returncode == bool(busy), done.stdout + done.stderr
    rows = lines[len(busy) + 1 :]
    assert len(rows) == 10 - len(busy)
    for row in rows:
        *_, rate, _lost, per_core, nanoseconds, _direct, _nftables = row.split()
        assert float(rate.replace(",", "")) > 0, row
        assert float(per_core.replace(",", "")) > 0, row
        assert float(nanoseconds) > 0, row


def test_what_a_packet_costs_is_what_a_core_is_good_for() -> None:
    figures = Figures(sent=4_000_000, arrived=3_000_000, seconds=1.0, busy=1.5)
    assert (figures.nanoseconds, figures.per_core) == (500.0, 2_000_000.0)


def test_rules_are_restored_and_listed() -> None:
    done = _bench("director", "--only", "commands", "--services", "20", "--reals", "3")
    # Whether the aims hold is a matter of how busy this machine is.
    assert (done.returncode, done.stderr) == (int("missed" in done.stdout), ""), done.stdout
    assert _number(r"^ipvsadm -R, 20 services x 3 real servers: ([0-9.]+) s", done.stdout) > 0
    assert ", 60 real servers: " in done.stdout


def test_health_checks_are_counted() -> None:
    done = _bench("health", "--reals", "20", "--inter", "200ms", "--seconds", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert _number(r": ([0-9,]+) checks/s", done.stdout) >= 50  # of 100
    assert ", 0 not up" in done.stdout


@pytest.mark.needs("haproxy", "iperf3")
def test_the_proxy_engine_beside_haproxy() -> None:
    done = _bench("proxy", "--rounds", "1", "--seconds", "1", "--idle", "50")
    # Whether the aims hold is a matter of how busy this machine is.
    assert done.returncode == int("missed" in done.stdout), done.stdout + done.stderr
    assert "errors: 0" in done.stdout
    for quantity in ("connections/s", "requests/s", "us a connection", "Gbit/s"):
        for contender in ("penstock", "haproxy"):
            assert _number(rf"^{quantity} +{contender} +([0-9.,]+)", done.stdout) > 0


def test_memory_of_flows_services_and_reals() -> None:
    done = _bench("memory", "--services", "10", "--reals", "40")
    assert done.returncode == 0, done.stdout + done.stderr
    four = _number(r"flows, IPv4: ([0-9,]+) bytes", done.stdout)
    six = _number(r"flows, IPv6: ([0-9,]+) bytes", done.stdout)
    assert four >= 2 * 64  # both directions, a cache line each
    assert six >= 2 * four * 0.9
    # A service's name alone has 128 bytes in the map.
    assert _number(r"a service: ([0-9,]+) bytes", done.stdout) >= 128
    assert _number(r"a real server: ([0-9,]+) bytes", done.stdout) >= 128


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a path short enough for a control socket below it (108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="psb", dir="/tmp") as name:
        yield Path(name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(number: signal.Signals, short: Path) -> None:
    process = subprocess.Popen(
        _command("close", "--seconds", "60"),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(short)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Whoever started the tests in the background may have had SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    tag = f"psb{process.pid}-"

    def ours() -> list[str]:
        return [path.name for path in NAMESPACES.glob(f"{tag}*")]

    def loaded() -> bool:
        """Whether wrk is at work in the client's namespace."""
        assert process.poll() is None, process.communicate()[0]
        clients = [name for name in ours() if name.endswith("-client")]
        if not clients:
            return False
        listed = subprocess.run(
            ["ip", "netns", "pids", clients[0]], capture_output=True, text=True, check=False
        )
        for pid in listed.stdout.split():
            with contextlib.suppress(OSError):  # it has ended
                if Path(f"/proc/{pid}/comm").read_text() == "wrk\n":
                    return True
        return False

    try:
        until("wrk to be at work", loaded, 30)
        (run,) = short.glob("penstock-bench-*/penstock/run")
        pins = RuntimePaths.of({"PENSTOCK_RUNTIME_DIR": str(run)}).pins
        assert pins.exists()
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + number, out
    assert not ours()
    assert not pins.exists()
    assert not list(short.iterdir())
