# SPDX-License-Identifier: Apache-2.0
"""Connection: close at full speed against two real servers, every error counted.

Source ports come back within seconds, while the servers still hold them in TIME_WAIT: where a
balancer chooses them badly, clients wait a second or are reset.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Final

from bench.contenders import penstock
from bench.field import WEB, Links, build
from penstock.lab import programs
from penstock.lab.network import Network

_CONNECTIONS: Final = 64
# Reasons that say how it went; the rest of them is about other packets.
_TELLING: Final = (
    "drop_",
    "event_flow",
    "event_forwarded",
    "event_port",
    "pass_no_flow",
    "pass_refused",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=60, help="default: 60")
    parser.add_argument("--hook", choices=("tc", "xdp"), default="tc")
    parser.add_argument("--family", type=int, choices=(4, 6), default=4, help="of addresses")


def run(arguments: argparse.Namespace) -> int:
    """1 when there was an error, or no connection at all."""
    links = Links.PLAIN if arguments.hook == "xdp" else Links.OFFLOAD
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, Network("psb") as network:
        field = build(network, Path(name), arguments.family, links, bulk=False)
        balancer = penstock(arguments.hook, field)
        field.await_answer(field.vip)
        load = programs.wrk(
            field.client,
            field.vip,
            WEB,
            seconds=arguments.seconds,
            connections=_CONNECTIONS,
            close=True,
        )
        status = balancer.status()
    print(
        f"{load.requests:,} connections in {arguments.seconds} s ({load.rate:,.0f}/s),"
        f" hook {arguments.hook}, IPv{arguments.family}: {load.errors} errors"
    )
    print(
        f"  connect {load.connect_errors}, read {load.read_errors}, write {load.write_errors},"
        f" timeout {load.timeouts}, other answers {load.wrong}"
    )
    for reason in status.reasons:
        full = f"{reason.verdict}_{reason.name}"
        if reason.count and full.startswith(_TELLING):
            print(f"  {full}: {reason.count:,}")
    return 1 if load.errors or not load.requests else 0
