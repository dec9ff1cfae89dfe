# SPDX-License-Identifier: Apache-2.0
"""Server lines -> real servers."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from reading import NAMES, configure, only_real, read

from penstock.errors import ConfigError
from penstock.model import (
    AdminState,
    AgentCheck,
    Observed,
    OnError,
    PortMode,
)


@pytest.mark.parametrize(
    ("address", "mode", "value", "on_8001"),
    [
        ("1.1.1.1:80", PortMode.FIXED, 80, 80),
        ("1.1.1.1", PortMode.SAME, 0, 8001),
        ("1.1.1.1:0", PortMode.SAME, 0, 8001),
        ("1.1.1.1:+1000", PortMode.OFFSET, 1000, 9001),
        ("1.1.1.1:-1000", PortMode.OFFSET, -1000, 7001),
        ("[::1]:80", PortMode.FIXED, 80, 80),
    ],
)
def test_server_ports(address: str, mode: PortMode, value: int, on_8001: int) -> None:
    real = only_real(f"server s {address}")
    assert (real.port.mode, real.port.value, real.port.of(8001)) == (mode, value, on_8001)


def test_server_options() -> None:
    real = only_real(
        "server s 1.1.1.1:80 weight 7 backup maxconn 9 slowstart 3s id 12 check inter 1s"
        " fastinter 500 downinter 10s rise 4 fall 5 port 81 addr 1.1.1.2"
    )
    assert (real.weight, real.backup, real.maxconn, real.slowstart, real.id) == (
        7,
        True,
        9,
        3000,
        12,
    )
    check = real.check
    assert check is not None
    assert (check.inter, check.fastinter, check.downinter) == (1000, 500, 10_000)
    assert (check.rise, check.fall, check.port) == (4, 5, 81)
    assert check.address == IPv4Address("1.1.1.2")
    assert check.connect_timeout == 5000


def test_disabled_and_enabled_servers() -> None:
    assert only_real("server s 1.1.1.1:80 disabled").admin is AdminState.MAINT
    assert only_real("server s 1.1.1.1:80 disabled enabled").admin is AdminState.READY
    assert only_real("server s 1.1.1.1:80 check no-check").check is None


def test_default_server_holds_for_the_lines_after_it() -> None:
    (pool,) = configure(
        """
backend b
    server a 1.1.1.1:80
    default-server check inter 7s weight 3
    server b 1.1.1.2:80
    server c 1.1.1.3:80 no-check weight 4
"""
    ).pools
    assert [real.check.inter if real.check else None for real in pool.reals] == [None, 7000, None]
    assert [real.weight for real in pool.reals] == [1, 3, 4]


def test_server_templates() -> None:
    (pool,) = configure("backend b\n server-template web 2-4 edge:80 check\n").pools
    assert [real.name for real in pool.reals] == ["web2", "web3", "web4"]
    assert {real.address for real in pool.reals} == {NAMES["edge"]}


def test_a_server_that_tracks_another_is_not_checked_itself() -> None:
    configuration = configure(
        """
backend a
    server one 10.0.0.1:80 check inter 4s
    server same 10.0.0.1:81 track one
backend b
    server two 10.0.0.2:81 track a/same
"""
    )
    (two,) = configuration.pool("b").reals
    assert (two.check, two.tracks) == (None, ("a", "same"))
    assert configuration.pool("a").reals[1].tracks == ("a", "one")


def test_agents() -> None:
    configuration = configure(
        """
backend a
    server one 10.0.0.1:80 agent-check agent-port 8000
    server two 10.0.0.2:80 check inter 5s port 81 addr 10.9.9.9 agent-check agent-send hi\\n
    server three 10.0.0.3:80 agent-check agent-port 1 agent-addr ::1 agent-inter 7s no-agent-check
    default-server agent-check agent-port 9 agent-addr 10.0.0.9 agent-inter 3s
    server four 10.0.0.4:80
"""
    )
    one, two, three, four = configuration.pool("a").reals
    assert one.agent == AgentCheck(8000)
    assert two.agent == AgentCheck(81, IPv4Address("10.9.9.9"), 5000, b"hi\n")
    assert three.agent is None
    assert four.agent == AgentCheck(9, IPv4Address("10.0.0.9"), 3000)
    assert one.check is None


def test_errors_that_count_as_checks() -> None:
    configuration = configure(
        """
backend a
    server one 10.0.0.1:80 check observe layer4
    server two 10.0.0.2:80 check observe layer4 error-limit 3 on-error mark-down
    server three 10.0.0.3:80 check observe none on-error fastinter
"""
    )
    found = [real.observed for real in configuration.pool("a").reals]
    assert found == [Observed(), Observed(OnError.MARK_DOWN, 3), None]


def test_an_answer_cannot_be_observed_without_http() -> None:
    result = read("backend a\n server one 10.0.0.1:80 check observe layer7\n")
    assert result.configuration.pool("a").reals[0].observed is None
    assert [str(one) for one in result.warnings] == [
        "[f.cfg:8] : 'server a/one' : 'layer7' can only be used in http proxies.."
    ]


def test_one_line_of_a_tracking_loop_is_wrong() -> None:
    """The one that closes it, as with HAProxy."""
    with pytest.raises(ConfigError) as caught:
        configure(
            """
backend l
    server a 127.0.0.1:1 check
    server b 127.0.0.1:1 track d
    server c 127.0.0.1:1 track b
    server d 127.0.0.1:1 track c
    server e 127.0.0.1:1 track e
    server f 127.0.0.1:1 track a
"""
        )
    assert [one.message for one in caught.value.diagnostics] == [
        "'server l/d' : unable to track l/c as it belongs to a tracking chain looping back to l/d.",
        "'server l/e' : unable to track l/e as it belongs to a tracking chain looping back to l/e.",
    ]


def test_what_happens_to_sessions_when_a_server_changes() -> None:
    configuration = configure(
        """
backend a
    default-server on-marked-down shutdown-sessions
    server one 10.0.0.1:80 check
    server two 10.0.0.2:80 check on-marked-up shutdown-backup-sessions
"""
    )
    one, two = configuration.pool("a").reals
    assert (one.cut_when_down, one.cut_backups_when_up) == (True, False)
    assert (two.cut_when_down, two.cut_backups_when_up) == (True, True)


@pytest.mark.parametrize(
    ("words", "maxconn", "minconn"),
    [("minconn 5", 5, 0), ("minconn 5 maxconn 5", 5, 0), ("minconn 5 maxconn 9", 9, 5)],
)
def test_minconn(words: str, maxconn: int, minconn: int) -> None:
    real = only_real(f"server s 1.1.1.1:80 {words}")
    assert (real.maxconn, real.minconn) == (maxconn, minconn)


def test_the_limit_of_idle_connections_is_kept_to_be_shown() -> None:
    text = "listen x\n bind :80\n server s 1.1.1.1:1 pool-max-conn {}\n"
    for word, limit in (("42", 42), ("0", 0), ("-1", None)):
        (real,) = configure(text.format(word)).pools[0].reals
        assert real.link.idle_limit == limit
    with pytest.raises(ConfigError, match="'pool-max-conn' must be >= -1"):
        configure(text.format("-2"))
