# SPDX-License-Identifier: Apache-2.0
"""Events go to the targets of the proxy that they are about."""

from __future__ import annotations

from unit_logs import Post

from penstock.config.haproxy import loads
from penstock.events import Level
from penstock.logs.events import EventLog

TEXT = """
global
    log /dev/global local0
    log-tag lb
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend fe
    log global
    bind 127.0.0.1:1
    default_backend be
backend be
    log /dev/be local1
    log-tag pool
    server s1 127.0.0.1:2
listen silent
    bind 127.0.0.1:3
    server s1 127.0.0.1:4
listen both
    log global
    log /dev/both local2 err
    bind 127.0.0.1:5
    server s1 127.0.0.1:6
"""


def test_each_proxy_has_its_targets() -> None:
    post = Post()
    own: list[tuple[str, Level, str]] = []
    log = EventLog(lambda *event: own.append(event), post.means())
    log.configure(loads(TEXT).configuration)
    for name in ("", "fe", "be", "silent", "both"):
        log(name, Level.NOTICE, f"of {name}")
    log("both", Level.EMERG, "proxy both has no server available!")
    assert post.texts == [
        b"<133>Nov 28 17:44:56 lb[4711]: of \n",
        b"<133>Nov 28 17:44:56 lb[4711]: of fe\n",
        b"<141>Nov 28 17:44:56 pool[4711]: of be\n",
        b"<133>Nov 28 17:44:56 lb[4711]: of both\n",
        b"<128>Nov 28 17:44:56 lb[4711]: proxy both has no server available!\n",
        b"<144>Nov 28 17:44:56 lb[4711]: proxy both has no server available!\n",
    ]
    assert len(own) == 6


def test_a_new_configuration_counts_at_once() -> None:
    post = Post()
    log = EventLog(lambda *event: None, post.means())
    log.configure(loads(TEXT).configuration)
    log.configure(loads(TEXT.replace("/dev/be local1", "/dev/be local7")).configuration)
    log("be", Level.ALERT, "Server be/s1 is DOWN")
    assert post.texts == [b"<185>Nov 28 17:44:56 pool[4711]: Server be/s1 is DOWN\n"]
