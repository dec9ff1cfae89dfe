# SPDX-License-Identifier: Apache-2.0
"""The same happens to the same servers: HAProxy's mails about it, and penstock's, byte for byte."""

from __future__ import annotations

import re
import shutil
import socket
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mail_server import LIMIT, MailServer, heard, turn
from unit_rig import Rig
from unit_runtime import ask, runtime_of, terminal_of
from unit_side_by_side import HEAD, asked_haproxy, haproxy

from penstock.config.haproxy import loads
from penstock.mail.queues import MailQueues

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")

_VARYING = (
    (rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)\r\n", b"Date: DATE\r\n"),
    (rb"check duration: \d+ms", b"check duration: Nms"),
)


def _plain(mail: bytes) -> bytes:
    for pattern, instead in _VARYING:
        mail = re.sub(pattern, instead, mail)
    return mail


@dataclass(frozen=True)
class Scene:
    """*lines* of the backend, *asked* at the runtime API one by one, how many *mails* follow.

    LISTENS in *lines* is a port where somebody does.
    """

    name: str
    lines: str  # between bars
    asked: tuple[str, ...] = ()
    mails: int = 1
    more: str = ""  # of the mailers section


# The last thing asked is mailed in each of them: what came before it and was not is seen by that.
_ADDRESSED = "email-alert from lb@example.org|email-alert to ops@example.org|email-alert mailers m"
SCENES = [
    Scene(
        "alerts",
        "server s2 127.0.0.1:1|server s3 127.0.0.1:1 backup",
        (
            "set server b/s2 state drain",
            "set server b/s2 state ready",
            "set server b/s2 health up",
            "set server b/s2 health down",
        ),
    ),
    Scene(
        "notices",
        "email-alert level notice|email-alert myhostname lb.example.org|server s2 127.0.0.1:1"
        "|server s3 127.0.0.1:1 backup",
        (
            "set server b/s2 state maint",
            "set server b/s2 state ready",
            "set server b/s2 state drain",
            "set server b/s2 health down",
            "set server b/s2 state ready",
            "set server b/s2 health up",
            "set server b/s2 health stopping",
            "set server b/s3 health down",
        ),
        mails=4,
    ),
    Scene(
        "tracked",
        "email-alert level notice|server s2 127.0.0.1:LISTENS check inter 1h"
        "|server s3 127.0.0.1:1 track s2",
        ("set server b/s2 state drain",),
        mails=2,
    ),
    Scene("check", "server s2 127.0.0.1:1 check inter 1s fall 1"),
    Scene(
        "checks",
        "option log-health-checks|email-alert level info|server s2 127.0.0.1:1 check inter 1s"
        " fall 1",
        mails=2,
    ),
    Scene(
        "empty",
        'email-alert from ""|email-alert to "a, b"|email-alert myhostname ""|server s2 127.0.0.1:1',
        ("set server b/s2 health down",),
        more="timeout mail 1m",
    ),
]


def _text(scene: Scene, port: int) -> str:
    return f"mailers m\n mailer mx 127.0.0.1:{port}\n {scene.more}\nbackend b\n" + "".join(
        f" {line}\n" for line in (*_ADDRESSED.split("|"), *scene.lines.split("|"))
    )


def _theirs(scene: Scene, directory: Path) -> list[bytes]:
    server = MailServer()
    try:
        with haproxy(directory, _text(scene, server.port)) as where:
            for line in scene.asked:
                asked_haproxy(where, line)
            return [server.heard.get(timeout=LIMIT) for _ in range(scene.mails)]
    finally:
        server.close()


def _ours(scene: Scene, directory: Path, hostname: str) -> list[bytes]:
    server = MailServer()
    text = HEAD.format(socket=directory / "own.sock", more="") + _text(scene, server.port)
    configuration = loads(text).configuration
    lost: list[str] = []
    queues = MailQueues(hostname, lost.append)
    queues.configure(configuration)
    rig = Rig(configuration, directory, mail=queues)
    try:
        runtime = runtime_of(rig.controller)
        for line in scene.asked:
            ask(terminal_of(runtime), line)
        found = []
        for _ in range(scene.mails):
            while server.heard.empty() and not lost:
                rig.clock.now += 0.01
                rig.runner.run_once(rig.clock.now)
                turn(queues)
            found.append(heard(server, queues))
        assert lost == []
        return found
    finally:
        queues.close()
        server.close()


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_mails(scene: Scene, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        _compare(replace(scene, lines=scene.lines.replace("LISTENS", str(port))), tmp_path)


def _compare(scene: Scene, tmp_path: Path) -> None:
    theirs = _theirs(scene, tmp_path)
    greeted = theirs[0].partition(b"\r\n")[0].removeprefix(b"HELO ").decode()
    ours = _ours(scene, tmp_path, greeted)
    for mine, other in zip(map(_plain, ours), map(_plain, theirs), strict=True):
        assert mine.decode().split("\r\n") == other.decode().split("\r\n")
