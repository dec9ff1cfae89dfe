# SPDX-License-Identifier: Apache-2.0
"""``python -m bench COMMAND [options]``; the default is ``compare``, ``--help`` lists the others.

Exit status: 0, 1 when something was not measured or did not hold, 77 when this machine cannot
(no root, no nginx), 130 or 143 when it was interrupted. Nothing is left behind.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from types import FrameType, ModuleType
from typing import Final

from bench import (
    close,
    compare,
    director,
    health,
    journal,
    memory,
    packets,
    proxy,
    show_stat,
)
from penstock.errors import PenstockError
from penstock.lab import network

# Each with the programs it cannot do without.
_COMMANDS: Final[dict[str, tuple[ModuleType, str, tuple[str, ...]]]] = {
    "compare": (compare, "penstock beside its peers (the default)", ("nginx", "ss")),
    "close": (
        close,
        "Connection: close at full speed, and every error counted",
        ("nginx", "ss", "wrk"),
    ),
    "packets": (packets, "nanoseconds a packet, by BPF_PROG_TEST_RUN", ()),
    "director": (
        director,
        "IPVS's forwarding methods beside nftables, and the command line",
        ("nft", "ethtool"),
    ),
    "health": (health, "the cost of many health checks", ("nginx", "ss")),
    "logging": (journal, "the cost of logging connections that the kernel engine carries", ()),
    "memory": (memory, "what flows, services and real servers take", ()),
    "statistics": (show_stat, "show stat of many servers, beside HAProxy", ()),
    "proxy": (
        proxy,
        "the proxy engine beside HAProxy",
        ("haproxy", "nginx", "wrk", "iperf3", "ss"),
    ),
}
_DEFAULT: Final = "compare"
_NO_PERMISSION: Final = 77  # EX_NOPERM, sysexits.h


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, what, _) in _COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=what, description=module.__doc__))
    if not arguments or (arguments[0] not in _COMMANDS and arguments[0] not in ("-h", "--help")):
        arguments = [_DEFAULT, *arguments]
    parsed = parser.parse_args(arguments)
    module, _, programs = _COMMANDS[parsed.command]
    lacks = network.missing() or _missing(programs)
    if lacks is not None:
        print(f"bench: left out: {lacks}", file=sys.stderr)
        return _NO_PERMISSION
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return int(module.run(parsed))
    except KeyboardInterrupt:
        print("interrupted; nothing of it is left", file=sys.stderr)
        return 128 + signal.SIGINT
    except PenstockError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _missing(programs: tuple[str, ...]) -> str | None:
    lacking = [name for name in programs if shutil.which(name) is None]
    return f"the program {lacking[0]} is missing" if lacking else None


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
