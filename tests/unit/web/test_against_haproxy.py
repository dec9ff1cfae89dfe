# SPDX-License-Identifier: Apache-2.0
"""The same bytes for penstock and the installed HAProxy: the same status, and the same fate."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_proxy import wait_for
from unit_side_by_side import is_listening
from unit_web import DEFAULTS, Web

pytestmark = pytest.mark.needs("haproxy")

TEXT = """
listen s
 bind {d}/NAME
 stats uri /stats
 stats auth a:b
 stats admin if TRUE
 http-request deny if { path /deny }
 http-request deny if { hdr(x-a) -m found } { hdr_cnt(x-a) gt 1 }
 http-request return status 204 if { method OPTIONS }
 http-request return status 200 content-type text/plain string url if { url_beg http:// }
 http-request return status 202 if { urlp(a) b }
 http-request return status 206 if { query -m found }
 monitor-uri /up
"""
# Seconds of silence: the longer ones for a machine that is too busy to answer in the shorter.
_PATIENCE = 0.2, 1.0, 5.0
AUTH = b"Authorization: Basic YTpi\r\n"
SAME = {
    "a request without a host": b"GET /up HTTP/1.1\r\n\r\n",
    "bare line feeds": b"GET /up HTTP/1.1\nHost: x\n\n",
    "lines before it": b"\r\n\r\nGET /up HTTP/1.1\r\n\r\n",
    "HTTP/1.0": b"GET /up HTTP/1.0\r\n\r\n",
    "HTTP/1.0, kept": b"GET /up HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "closed": b"GET /up HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two at once": b"GET /up HTTP/1.1\r\n\r\nGET /deny HTTP/1.1\r\n\r\n",
    "an absolute target": b"GET http://x/up HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute target, a rule": b"GET http://x/y HTTP/1.1\r\nHost: x\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "nothing there": b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method nobody knows": b"BREW /stats HTTP/1.1\r\nHost: x\r\n\r\n",
    "denied": b"GET /deny HTTP/1.1\r\nHost: x\r\n\r\n",
    "two values on a line": b"GET /x HTTP/1.1\r\nHost: x\r\nX-A: 1, 2\r\n\r\n",
    "a parameter": b"GET /x?c=d&a=b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a query": b"GET /x?c HTTP/1.1\r\nHost: x\r\n\r\n",
    "no password": b"GET /stats;csv HTTP/1.1\r\nHost: x\r\n\r\n",
    "a wrong password": b"GET /stats HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YTpj\r\n\r\n",
    "the password": b"GET /stats;csv HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n",
    "another scheme": b"GET /stats HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer YTpi\r\n\r\n",
    "a head alone": b"HEAD /stats HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n",
    "a post of nothing": b"POST /stats HTTP/1.1\r\nContent-Length: 0\r\n" + AUTH + b"\r\n",
    "a post": b"POST /stats HTTP/1.1\r\nContent-Length: 20\r\n"
    + AUTH
    + b"\r\ns=x&action=bad&b=abc",
    "a post in chunks": b"POST /stats HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    + AUTH
    + b"\r\n3\r\na=b\r\n0\r\n\r\n",
    "no version": b"GET /up\r\n\r\n",
    "a blank before the method": b" GET /up HTTP/1.1\r\n\r\n",
    "a blank before the colon": b"GET /up HTTP/1.1\r\nHost : x\r\n\r\n",
    "no colon": b"GET /up HTTP/1.1\r\nHost\r\n\r\n",
    "a control character": b"GET /u\x01p HTTP/1.1\r\n\r\n",
    "eight bits in the target": b"GET /\xff HTTP/1.1\r\n\r\n",
    "eight bits in a field": b"GET /up HTTP/1.1\r\nA: \xff\r\n\r\n",
    "two lengths": b"GET /up HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length twice": b"GET /up HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a length that is none": b"GET /up HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
    "a negative length": b"GET /up HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "too many fields": b"GET /up HTTP/1.1\r\n" + b"A: b\r\n" * 102 + b"\r\n",
    "many fields": b"GET /up HTTP/1.1\r\n" + b"A: b\r\n" * 90 + b"\r\n",
    "too long a target": b"GET /" + b"x" * 17000 + b" HTTP/1.1\r\n\r\n",
    "too long a field": b"GET /up HTTP/1.1\r\nA: " + b"x" * 17000 + b"\r\n\r\n",
    "a client hello": b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + b"\0" * 50,
    "HTTP/2's preface in part": b"PRI * HTTP/2.0\r\n\r\n",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where HAProxy listens on ``theirs``."""
    path = tmp_path_factory.mktemp("web")
    file = path / "haproxy.cfg"
    file.write_text(DEFAULTS + TEXT.replace("{d}/NAME", f"{path}/theirs"))
    process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(file)], stderr=-3)
    wait_for(lambda: is_listening(path / "theirs"), "haproxy listens")
    yield path
    process.kill()
    process.wait()


def statuses(answer: bytes) -> list[bytes]:
    """Status lines' codes, in order."""
    return [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]


def theirs(path: Path, data: bytes, patience: float = _PATIENCE[0]) -> tuple[list[bytes], bool]:
    """Statuses, and whether it hung up at the end, within *patience* after the last of it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path / "theirs"))
        client.settimeout(patience)  # no more comes: it keeps the connection
        heard = b""
        try:
            client.sendall(data)
            while piece := client.recv(1 << 16):
                heard += piece
        except TimeoutError:
            return statuses(heard), False
        except OSError:
            pass
        return statuses(heard), True


@pytest.mark.parametrize("name", SAME)
def test_the_same_bytes_are_answered_alike(web: Web, directory: Path, name: str) -> None:
    web.follow(TEXT.replace("NAME", "ours"))
    answer = web.talk(SAME[name], "ours")
    ours = statuses(answer), answer.endswith(b"<closed>")
    found = [theirs(directory, SAME[name])]
    for patience in _PATIENCE[1:]:
        if ours != found[-1]:
            found.append(theirs(directory, SAME[name], patience))
    assert ours == found[-1]


# HAProxy takes these: of a length and chunks it believes the chunks (RFC 9112, 6.3).
STRICTER = {
    "a length beside chunks": b"POST /stats HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    "another version": b"GET /up HTTP/3.0\r\n\r\n",
    "a NUL in a field": b"GET /up HTTP/1.1\r\nA: \x00\r\n\r\n",
    "a folded line": b"GET /up HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
}


@pytest.mark.parametrize("name", STRICTER)
def test_what_no_client_means_is_refused(web: Web, directory: Path, name: str) -> None:
    web.follow(TEXT.replace("NAME", "ours"))
    assert statuses(web.talk(STRICTER[name], "ours")) == [b"400"]
    assert theirs(directory, STRICTER[name], _PATIENCE[1])[0] != [b"400"]
