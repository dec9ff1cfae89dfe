# SPDX-License-Identifier: Apache-2.0
"""HAProxy's command line, word by word."""

from __future__ import annotations

import pytest

from penstock.haproxy.arguments import Action, Arguments, UsageError, parse


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", Arguments()),
        ("-f a -f b", Arguments(files=("a", "b"))),
        ("-f a -- b -c", Arguments(files=("a", "b", "-c"))),
        ("-d -f a", Arguments(debug=True, files=("a",))),
        ("-db -f a", Arguments(foreground=True, files=("a",))),
        ("-D -p x", Arguments(daemon=True, pidfile="x")),
        ("-W -S fd@3", Arguments(master=True, master_sockets=("fd@3",))),
        ("-S a -S b", Arguments(master_sockets=("a", "b"))),
        ("-Ws", Arguments(master=True, notify=True, foreground=True)),
        ("-c -q -V", Arguments(action=Action.CHECK, quiet=True, verbose=True)),
        ("-cc 1 -c", Arguments(action=Action.CONDITION, condition="1")),
        ("-cc", Arguments(action=Action.CONDITION)),
        ("-v -nonsense", Arguments(action=Action.VERSION)),
        ("-vv", Arguments(action=Action.BUILD)),
        ("-n 5 -N 6 -m 7x", Arguments(maxconn=5, proxy_maxconn=6, memory=7)),
        ("-n -5", Arguments()),
        ("-C d -L peer", Arguments(directory="d", local_peer="peer")),
        ("-dM -de -dp -dS -dG -dR -dL -dKall", Arguments()),
        ("-dr -dV -dW -dD", Arguments(
            resolve_can_fail=True, trust_servers=True, zero_warning=True, diagnose=True
        )),
        ("-sf 1 2 -D", Arguments(old=(1, 2), daemon=True)),
        ("-st 3", Arguments(old=(3,), old_terminate=True)),
        ("-sf", Arguments()),
        ("-x /a", Arguments(sockets_from="/a")),
    ],
)  # fmt: skip
def test_what_is_understood(line: str, wanted: Arguments) -> None:
    assert parse(line.split()) == wanted


@pytest.mark.parametrize(
    ("line", "message", "shows_usage"),
    [
        ("file", "", True),
        ("-z x", "", True),
        ("-f", "", True),
        ("-x", "Unix socket path expected with the -x flag\n", True),
        ("-S", "Socket and optional bind parameters expected with the -S flag", True),
        ("-sf 0", "", True),
        ("-sf 12x", "-sf option: some bytes unconsumed in PID list {x}", False),
    ],
)
def test_what_is_not(line: str, message: str, shows_usage: bool) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    assert (caught.value.message, caught.value.show_usage) == (message, shows_usage)


def test_the_last_x_counts_and_that_is_said() -> None:
    arguments = parse(["-x", "a", "-x", "b"])
    assert arguments.sockets_from == "b"
    assert arguments.complaints == ("-x option already set, overwriting the value",)
