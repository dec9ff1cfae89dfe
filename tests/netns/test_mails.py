# SPDX-License-Identifier: Apache-2.0
"""docs/operating.md, "Mails": servers of both engines go down, and it is mailed."""

from __future__ import annotations

import re
from pathlib import Path

from mail_server import LIMIT, MailServer

from penstock.lab.rig import Rig
from penstock.lab.topology import Site

_PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()


def _block(kind: str) -> str:
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def _server(site: Site) -> MailServer:
    with site.balancer.namespace.entered():
        return MailServer()


def _listen(rig: Rig, name: str, port: int, more: str = "") -> str:
    """r1 is there unseen, and r2, which is not, has five seconds to refuse its check."""
    r1, r2 = rig.site.reals
    return (
        f"listen {name}\n bind {rig.vip(4)}:{port}\n{more}{_block('alerts')}"
        f" server r1 {r1.v4}:80\n server r2 {r2.v4}:81 check inter 5s fall 1\n"
    )


def test_servers_that_go_down_are_mailed(rig: Rig) -> None:
    server = _server(rig.site)
    rig.start(
        _block("mailers").replace("127.0.0.1:25", f"127.0.0.1:{server.port}")
        + _listen(rig, "web", 8080)
        + _listen(rig, "proxied", 8081, " option proxy-engine\n")
    )
    mails = [server.heard.get(timeout=LIMIT).decode() for _ in range(2)]
    server.close()
    engines = {one.name: one.engine for one in rig.balancer.status().services}
    assert engines == {"web": "kernel", "proxied": "proxy"}
    pattern = re.escape(_block("mail").replace("\n", "\r\n")).replace("…", r"[^\r\n]*")
    for pool, mail in zip(("proxied", "web"), sorted(mails, key=_subject), strict=True):
        assert mail.startswith("HELO lb.example.org\r\n")
        wanted = pattern.replace("web/r2", f"{pool}/r2")
        assert re.search(rf"\r\nDATA\r\n{wanted}\r\n", mail), mail


def _subject(mail: str) -> str:
    return mail[mail.index("Subject:") :]
