# SPDX-License-Identifier: Apache-2.0
"""A web server on a loop that the test turns, and a running state that the test made up."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from penstock.config.haproxy import loads
from penstock.http_service import HttpService
from penstock.rules.subject import Traffic
from penstock.statistics.rows import Selected
from penstock.statistics.shapes import Kind, Row, Shape, csv_header
from penstock.web.server import WebServer
from penstock.web.site import site
from penstock.web.statistics import StickTable, Wanted, proxy_of, text

DEFAULTS = "defaults\n mode http\n timeout client 9s\n timeout server 9s\n timeout connect 9s\n"


def row(kind: Kind, **fields: str) -> Row:
    """One with these fields and no others."""
    shape = Shape(kind, " ".join(fields), {"type": int(kind)})
    return Row(shape, 1, 1, tuple(fields.values()))


def server(proxy: str, name: str, status: str = "UP", **fields: str) -> Row:
    head = {"pxname": proxy, "svname": name, "status": status, "mode": "tcp"}
    return row(Kind.SERVER, **{**head, **fields})


def frontend(proxy: str, **fields: str) -> Row:
    head = {"pxname": proxy, "svname": "FRONTEND", "status": "OPEN", "mode": "tcp"}
    return row(Kind.FRONTEND, **{**head, **fields})


def backend(proxy: str, status: str = "UP", **fields: str) -> Row:
    head = {"pxname": proxy, "svname": "BACKEND", "status": status, "mode": "tcp"}
    return row(Kind.BACKEND, **{**head, **fields})


class NoTraffic:
    """Counters of nothing, but for the servers that are up."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = [one for one in rows if one.shape.kind is Kind.SERVER]

    def usable_servers(self, name: str) -> int:
        return sum(
            text(one, "status").startswith("UP") for one in self.rows if proxy_of(one) == name
        )

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"nobody was to ask for {name}")


@dataclass
class MadeUp:
    """``penstock.web.statistics.Statistics``; commands are noted and those for "no…" fail."""

    table: list[Row] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=lambda: {"Name": "penstock", "Version": "9.9"})
    ran: list[str] = field(default_factory=list)
    asked: list[Selected] = field(default_factory=list)

    def rows(self, selected: Selected, wanted: Wanted) -> Iterable[Row]:
        self.asked.append(selected)
        return (row for row in self.table if wanted(proxy_of(row)))

    def csv(self, selected: Selected, wanted: Wanted) -> Iterator[str]:
        found = self.rows(selected, wanted)
        return itertools.chain([csv_header()], (row.csv() for row in found))

    def info(self) -> dict[str, str]:
        return self.said

    def tables(self) -> Sequence[StickTable]:
        return [StickTable("t", "ip", 100, 3)]

    def traffic(self) -> Traffic:
        return NoTraffic(self.table)  # type: ignore[return-value]

    def run(self, words: Sequence[str]) -> bool:
        self.ran.append(" ".join(words))
        return "/no" not in " ".join(words)


def services_of(text: str) -> tuple[HttpService, ...]:
    return loads(DEFAULTS + text).configuration.http


@dataclass
class Web:
    """``follow()`` a configuration whose listeners are UNIX sockets in *directory*, and talk."""

    directory: Path
    statistics: MadeUp = field(default_factory=MadeUp)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.server = WebServer(partial(site, statistics=self.statistics), lambda: self.now)

    def follow(self, text: str) -> None:
        """``{d}`` in *text* is the directory."""
        self.server.stage(services_of(text.replace("{d}", str(self.directory)))).commit()

    def turns(self, count: int = 400) -> None:
        for _ in range(count):
            self.server.run_once(self.now)

    def connect(self, name: str = "a") -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.directory / name))
        client.setblocking(False)
        return client

    def talk(self, data: bytes, name: str = "a") -> bytes:
        """What *data* is answered with, and nothing more while nothing more is sent."""
        with self.connect(name) as client:
            return self.say(client, data)

    def say(self, client: socket.socket, data: bytes) -> bytes:
        client.sendall(data)
        return self.hear(client)

    def hear(self, client: socket.socket) -> bytes:
        self.turns()
        heard = b""
        try:
            while piece := client.recv(1 << 20):
                heard += piece
                self.turns(10)
        except BlockingIOError:
            return heard
        except ConnectionResetError:
            pass  # what it had sent was not read
        return heard + b"<closed>"

    def get(self, target: str, *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
        head = [f"{method} {target} HTTP/1.1", "Host: x", *fields]
        if body:
            head.append(f"Content-Length: {len(body)}")
        return self.talk("\r\n".join((*head, "", "")).encode() + body)

    def close(self) -> None:
        self.server.close()


def status_of(answer: bytes) -> int:
    if not answer.startswith(b"HTTP/1.1 "):
        pytest.fail(f"no answer: {answer!r}")
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> str:
    body = answer.removesuffix(b"<closed>").partition(b"\r\n\r\n")[2]
    if field_of(answer, "transfer-encoding") != "chunked":
        return body.decode()
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + rest[:length], rest[length + 2 :]
        if not length:
            return whole.decode()
    pytest.fail("the last chunk is missing")


def field_of(answer: bytes, name: str) -> str | None:
    head = answer.partition(b"\r\n\r\n")[0].decode()
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(": ")
        if key.lower() == name:
            return value
    return None
