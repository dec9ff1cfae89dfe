# SPDX-License-Identifier: Apache-2.0
"""``penstock set`` and ``penstock reload`` against a daemon."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from unit_rig import Rig

from penstock.api.wire import SetState, SetWeight
from penstock.cli.set import parse
from penstock.errors import ConfigError, Diagnostic


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ("web/s1 weight 50", SetWeight("web", "s1", 50)),
        ("web/s1 weight 50%", SetWeight("web", "s1", 50, percent=True)),
        ("weight web/s1 0", SetWeight("web", "s1", 0)),
        ("server web/s1 weight 5", SetWeight("web", "s1", 5)),
        ("web/s1 state drain", SetState("web", "s1", "drain")),
        ("server web/s1 state maint", SetState("web", "s1", "maint")),
        ("state web/s1 ready", SetState("web", "s1", "ready")),
    ],
)
def test_words(words: str, request_: SetWeight | SetState) -> None:
    assert parse(tuple(words.split())) == request_


def test_set_reaches_the_daemon_and_says_what_it_did(penstock: Callable, daemon: Rig) -> None:
    done = penstock("set", "web/s2", "weight", "50%")
    assert (done.status, done.out, done.err) == (0, "web/s2 has weight 5\n", "")
    assert daemon.in_table() == {"s1": 1, "s2": 5}
    done = penstock("set", "server", "web/s1", "state", "maint")
    assert (done.status, done.out) == (0, "web/s1 is in state maint\n")
    assert daemon.in_table() == {"s2": 1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nope/s1 weight 1", "no backend 'nope'; there are: web"),
        ("web/nope weight 1", "backend web has no server 'nope'; it has: s1, s2, b1"),
        ("web/s1 weight 257", "weight 257 is not within 0-256"),
        ("web/s1 weight 101%", "weight 101% is not within 0-100"),
    ],
)
def test_what_the_daemon_refuses_is_1_in_one_line(
    penstock: Callable, daemon: Rig, words: str, said: str
) -> None:
    refused = penstock("set", *words.split())
    assert (refused.status, refused.out, refused.err) == (1, "", f"penstock: {said}\n")


def test_reload(penstock: Callable, daemon: Rig) -> None:
    done = penstock("reload")
    assert (done.status, done.out, done.err) == (0, "configuration reloaded\n", "")


def test_a_refused_reload_shows_every_error(penstock: Callable, daemon: Rig) -> None:
    daemon.fault = ConfigError(tuple(Diagnostic("f.cfg", n, f"error {n}") for n in (3, 9)))
    refused = penstock("reload")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.splitlines() == [
        "penstock: the old configuration goes on; the new one is refused:",
        "parsing [f.cfg:3] : error 3",
        "parsing [f.cfg:9] : error 9",
    ]
