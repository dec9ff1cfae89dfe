# SPDX-License-Identifier: Apache-2.0
"""What HAProxy 2.6 logs of servers' states when operators change them, command by command."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from unit_ports import closed_port
from unit_rig import Rig
from unit_runtime import ask, configuration_of, runtime_of, terminal_of
from unit_side_by_side import HEAD, asked_haproxy, haproxy

pytestmark = pytest.mark.needs("haproxy")

SERVERS = """
listen l
    bind 127.0.0.1:{port}
    {log}
    server x 127.0.0.1:1
    server t 127.0.0.1:1 track b/x
backend b
    {log}
    server x 127.0.0.1:1 agent-check agent-port 1 agent-inter 1h
    server y 127.0.0.1:1 track x
    server z 127.0.0.1:1 track y backup
backend c
    {log}
    server d 127.0.0.1:1 disabled weight 10
    server e 127.0.0.1:1 weight 10 backup
    server w 127.0.0.1:1 weight 10
backend t
    {log}
    server d 127.0.0.1:1 track c2/d
backend c2
    {log}
    server d 127.0.0.1:1 disabled check inter 1h
"""
COMMANDS = """
disable server b/x
enable server b/x
set server b/x state drain
set server b/x state ready
set server b/x state maint
set server b/x state drain
set server b/x state ready
set server b/y state drain
set server b/x state drain
set server b/y state ready
set server b/x state ready
set server b/x state maint
set server b/y state maint
set server b/x state ready
set server b/y state ready
disable server c/d
enable server c/d
set server c/d state drain
set server c/d state maint
set server c/d health down
set server c/d state ready
set server c/d health up
set server c/w health down
set server c/w state maint
set server c/w state ready
set server c/w health stopping
set server c/w state drain
set server c/w state ready
set server c/w health up
set server c/d weight 0
set server c/w weight 0
set server c/e weight 0
set server c/w weight 10
set server c/w state drain
set server c/w weight 20
set server b/x agent down
set server b/x state maint
set server b/x agent up
set server b/x state ready
set server b/x agent down
set server b/x state drain
set server b/x agent up
set server b/x state ready
disable server b/z
set server b/x agent down
enable server b/z
set server b/x agent up
"""
_HEAD = re.compile(r"<(\d+)>\w{3} +\d+ [\d:]{8} .*?\]: ")


def test_every_change_is_told_in_the_same_words(tmp_path: Path) -> None:
    commands = COMMANDS.split("\n")[1:-1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.setblocking(False)
        log = f"log 127.0.0.1:{sink.getsockname()[1]} local0"
        text = SERVERS.format(port=closed_port(), log=log)
        theirs = []
        with haproxy(tmp_path, text) as where:
            received(sink)
            for line in commands:
                asked_haproxy(where, line)
                theirs.append((line, received(sink)))
    rig = Rig(configuration_of(HEAD.format(socket=tmp_path / "x", more="") + text), tmp_path)
    runtime = runtime_of(rig.controller)
    ours = []
    for line in commands:
        with capture_logs() as logs:
            ask(terminal_of(runtime), line)
        ours.append((line, [str(one["event"]) for one in logs if one["event"] != "set"]))
    assert [one for one in zip(theirs, ours, strict=True) if one[0] != one[1]] == []


def received(sink: socket.socket) -> list[str]:
    """What has been logged so far: HAProxy sends that before it answers."""
    lines = []
    while True:
        try:
            data = sink.recv(4096)
        except BlockingIOError:
            return lines
        lines.append(_HEAD.sub("", data.decode().strip()))
