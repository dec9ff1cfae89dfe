# SPDX-License-Identifier: Apache-2.0
"""A mail about a server, delivered by the real OpenSMTPD."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import pytest
from mail_server import LIMIT, turn
from real_servers import account, opensmtpd

from penstock.config.haproxy import loads
from penstock.events import Level
from penstock.mail.queues import MailQueues


@pytest.mark.root
@pytest.mark.needs("smtpd", "unshare")
def test_opensmtpd_delivers_it(tmp_path: Path) -> None:
    user = account("nobody") or "nobody"
    sentence = "Server b/s is DOWN, reason: Layer4 timeout, check duration: 2001ms"
    with tempfile.TemporaryDirectory(prefix="penstock-") as name:
        shutil.chown(name, user)
        box = Path(name)
        with opensmtpd(tmp_path, f'maildir "{box}/box" user {user}') as smtpd:
            configuration = loads(
                f"mailers m\n mailer mx 127.0.0.1:{smtpd.port}\nbackend b\n server s 127.0.0.1:1\n"
                " email-alert mailers m\n email-alert from lb@mail.example\n"
                f" email-alert to {user}@mail.example\n email-alert myhostname lb.example\n"
            ).configuration
            lost: list[str] = []
            queues = MailQueues("node1", lost.append)
            queues.configure(configuration)
            queues("b", Level.ALERT, f"{sentence}.")
            deadline = time.monotonic() + LIMIT
            while not (arrived := list(box.glob("box/new/*"))):
                assert lost == []
                assert time.monotonic() < deadline, smtpd.log.read_text(errors="replace")
                turn(queues)
            queues.close()
        (mail,) = arrived
        lines = mail.read_text().splitlines()
        assert "From: lb@mail.example" in lines
        assert f"To: {user}@mail.example" in lines
        assert f"Subject: [HAProxy Alert] {sentence}" in lines
        assert lines[lines.index("") + 1] == sentence
        assert any("lb.example" in line for line in lines if line.startswith("Received:"))
