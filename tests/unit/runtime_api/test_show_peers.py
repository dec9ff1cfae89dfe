# SPDX-License-Identifier: Apache-2.0
"""``show peers``: the same lines as HAProxy 2.6.12, but for what stands for addresses in memory."""

from __future__ import annotations

import re
from ipaddress import ip_address
from types import SimpleNamespace
from typing import cast

import pytest

from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import CommandFailed
from penstock.runtime_api.request import Arguments
from penstock.runtime_api.show_peers import COMMANDS, _human
from penstock.stick.peers_view import PeersView, PeerView, SharedView
from penstock.stick.sections import Peer, PeersSpec

_HOME = ip_address("127.0.0.1")


def section(name: str, port: int) -> PeersSpec:
    return PeersSpec(name, "me", (_HOME, port), (Peer("b", _HOME, port + 1),))


_P = PeersView(
    "p",
    0,
    learned=True,
    lesson_in=-1,
    turns=7,
    peers=(
        PeerView(
            "b",
            "127.0.0.1",
            10001,
            status="ESTA",
            is_open=True,
            stage=7,
            caller="127.0.0.1:40000",
            handshake_ago=61_000,
            heartbeat_in=2_500,
            heartbeats_sent=3,
            heartbeats_heard=2,
            calls=1,
            collisions=1,
            tables=(SharedView("t", 1, 4, 5, 6, 7, 8),),
            sent_texts={1: "s1", 2: "s2"},
            heard_texts={2: "other"},
        ),
    ),
)


def ask(words: str) -> str:
    keeper = SimpleNamespace(peers=lambda: (_P,))
    controller = SimpleNamespace(
        configuration=SimpleNamespace(peers=(section("p", 10000), section("q", 10100))),
        stick_tables=(keeper,),
    )
    runtime = SimpleNamespace(started=0.0)
    context = cast("Context", SimpleNamespace(controller=controller, runtime=runtime))
    answer = COMMANDS[0].run(context, Arguments(words.split()), None)
    assert isinstance(answer, str)
    return re.sub(r"0x[0-9a-f]{12}|\[[^]]*\]", "@", answer)


def test_a_section_that_runs() -> None:
    assert ask("show peers p") == (
        "@: @ id=p disabled=0 flags=0x13 resync_timeout=<PAST> task_calls=7\n"
        "  @: id=b(remote,active) addr=127.0.0.1:10001 last_status=ESTA last_hdshk=1m1s\n"
        "        reconnect=<NEVER> heartbeat=2s confirm=0 tx_hbt=3 rx_hbt=2 no_hbt=0 new_conn=1"
        " proto_err=0 coll=1\n"
        "        flags=0x20000000 appctx:@ st0=7 st1=0 task_calls=0 state=EST\n"
        "        xprt=RAW src=127.0.0.1:40000\n"
        "        shared tables:\n"
        "          @ local_id=1 remote_id=4 flags=0x0 remote_data=0x0\n"
        "              last_acked=5 last_pushed=6 last_get=7 teaching_origin=0 update=0\n"
        "              table:@ id=t update=8 localupdate=8 commitupdate=6 refcnt=1\n"
        '        Dictionary cache not dumped (use "show peers dict")\n'
        "  @: id=me(local,inactive) addr=127.0.0.1:10000 last_status=NONE last_hdshk=<NEVER>\n"
        "        reconnect=<NEVER> heartbeat=<NEVER> confirm=0 tx_hbt=0 rx_hbt=0 no_hbt=0"
        " new_conn=0 proto_err=0 coll=0\n"
        "        flags=0x0\n"
        "        shared tables:\n"
        "          @ local_id=1 remote_id=0 flags=0x0 remote_data=0x0\n"
        "              last_acked=0 last_pushed=0 last_get=0 teaching_origin=0 update=0\n"
        "              table:@ id=t update=8 localupdate=8 commitupdate=0 refcnt=1\n"
        '        Dictionary cache not dumped (use "show peers dict")\n'
    )


def test_all_sections_the_last_first() -> None:
    found = re.findall(r"^@: @ id=(\w)", ask("show peers"), re.MULTILINE)
    assert found == ["q", "p"]
    assert "\n\n@: @ id=p" in ask("show peers")
    # One that has no tables does not run.
    assert "resync_timeout=<NEVER> task_calls=0" in ask("show peers - q")
    assert "id=b(remote,inactive) addr=127.0.0.1:10101 last_status=NONE" in ask("show peers q")


def test_texts() -> None:
    said = ask("show peers dict p")
    assert "        TX dictionary cache:\n            0 -> s1    1 -> s2\n" in said
    assert "        RX dictionary cache:\n            0 -> -    1 -> other    2 -> -" in said


def test_no_such_section() -> None:
    with pytest.raises(CommandFailed, match="No such peers"):
        ask("show peers dict nope")


def test_times() -> None:
    times = (0, 999, 59_000, 60_000, 3_601_000, 90_061_000)
    assert [_human(one) for one in times] == ["0s", "0s", "59s", "1m", "1h1s", "1d1h"]
