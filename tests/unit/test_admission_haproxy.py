# SPDX-License-Identifier: Apache-2.0
"""The same rules in the installed HAProxy: whoever it serves is admitted, and nobody else."""

from __future__ import annotations

import selectors
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from unit_admission import Book, Packet, judge

from penstock.admission import Admission, Verdict
from penstock.config.haproxy.loading import loads

pytestmark = pytest.mark.needs("haproxy")

STICK = "stick-table type ip size 1k expire 1m store conn_rate(1m),conn_cur,conn_cnt,gpc0"
LIMIT = 5  # seconds; an answer takes one of loopback's milliseconds


@dataclass(frozen=True)
class Case:
    """Lines of a section, and who comes, in order."""

    name: str
    lines: Sequence[str]
    clients: Sequence[str] = ("127.0.0.1",) * 4
    stays: bool = False  # connections are kept until all have come
    listens: str = "127.0.0.1"


CASES = [
    Case(
        "reject before it is counted",
        [
            STICK,
            "tcp-request connection reject if { src_conn_cnt gt 1 }",
            "tcp-request connection track-sc0 src",
        ],
    ),
    Case(
        "reject after it is counted",
        [
            STICK,
            "tcp-request connection track-sc0 src",
            "tcp-request connection reject if { src_conn_rate gt 2 }",
        ],
        ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.1"),
    ),
    Case(
        "nobody counts",
        [
            STICK,
            "tcp-request connection reject if { src_conn_rate gt 0 }",
            "tcp-request connection reject if !{ src_conn_rate lt 5 }",
        ],
    ),
    Case(
        "it is not counted by then",
        [
            STICK,
            "tcp-request connection track-sc0 src if { src 127.0.0.2 }",
            "tcp-request connection reject if !{ sc0_conn_rate lt 2 }",
        ],
        ("127.0.0.1", "127.0.0.2", "127.0.0.2"),
    ),
    Case(
        "another counter than the one that counts",
        [
            STICK,
            "tcp-request connection track-sc1 src",
            "tcp-request connection reject if { sc1_conn_cnt gt 2 }",
            "tcp-request connection reject unless { sc2_conn_cnt 0 } or { sc_conn_cnt(1) lt 2 }",
        ],
    ),
    Case(
        "a table elsewhere",
        [
            "tcp-request connection track-sc0 src table elsewhere",
            "tcp-request connection reject if { src_conn_cnt(elsewhere) 2:3 }",
            "tcp-request connection reject if { sc0_conn_cnt(elsewhere) gt 5 }",
        ],
        ("127.0.0.1",) * 7,
    ),
    Case(
        "accept ends its stage",
        [
            "tcp-request connection accept",
            "tcp-request connection reject",
            "tcp-request session accept if { src 127.0.0.9 }",
            "tcp-request session reject if { src 127.0.0.8/31 }",
            "tcp-request content reject if { src 127.0.0.9 }",
        ],
        ("127.0.0.7", "127.0.0.8", "127.0.0.9"),
    ),
    Case(
        "content that is not looked at",
        [
            STICK,
            "tcp-request inspect-delay 3s",
            "tcp-request content track-sc0 src",
            "tcp-request content accept if { src 127.0.0.2 }",
            "tcp-request content reject if { sc0_conn_cnt gt 1 }",
        ],
        ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"),
    ),
    Case(
        "abuse flags",
        [
            STICK,
            "acl abuse src_conn_cnt gt 1",
            "acl flag src_inc_gpc0 gt 0",
            "tcp-request connection track-sc0 src",
            "tcp-request connection reject if { src_get_gpc0 gt 0 }",
            "tcp-request connection reject if abuse flag",
        ],
    ),
    Case(
        "a counter is incremented whoever is known",
        [STICK, "tcp-request connection reject if { src_inc_gpc0 gt 2 }"],
    ),
    Case(
        "sc-inc-gpc0",
        [
            STICK,
            "tcp-request connection track-sc0 src",
            "tcp-request connection sc-inc-gpc0(0) if { sc0_conn_cnt ge 2 }",
            "tcp-request connection reject if { sc0_get_gpc0 gt 1 }",
        ],
    ),
    Case(
        "live connections",
        [
            STICK,
            "tcp-request connection track-sc0 src",
            "tcp-request connection reject if { sc0_conn_cur gt 2 }",
        ],
        ("127.0.0.1",) * 4 + ("127.0.0.2",),
        stays=True,
    ),
    Case(
        "counted once, whatever is said twice",
        [
            STICK,
            "tcp-request connection track-sc0 src",
            "tcp-request session track-sc0 src",
            "tcp-request session reject if { src_conn_cnt gt 2 }",
        ],
    ),
    Case(
        "IPv6 has no place in a table of IPv4",
        [
            STICK,
            "tcp-request connection track-sc0 src",
            "tcp-request connection reject if { src_conn_cnt ge 0 }",
        ],
        ("::1", "::1"),
        listens="::1",
    ),
    Case(
        "a table of both families",
        [
            STICK.replace("type ip", "type ipv6"),
            "tcp-request connection track-sc0 src",
            "tcp-request connection reject if { src_conn_cnt gt 1 }",
        ],
        ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
    ),
    Case(
        "IPv4 matches IPv6's patterns",
        ["tcp-request connection reject if { src ::ffff:127.0.0.2 }"],
        ("127.0.0.1", "127.0.0.2"),
    ),
    Case("everybody is in ::/0", ["tcp-request connection reject if { src ::/0 }"]),
    Case(
        "unless, or, several lines of a name",
        [
            "acl inside src 127.0.0.1",
            "acl inside src 127.0.0.4/30",
            "tcp-request connection reject unless inside or { src 127.0.0.2 }",
            "tcp-request connection reject if inside { dst 127.0.0.0/8 } { src 127.0.0.5 }",
        ],
        tuple(f"127.0.0.{n}" for n in range(1, 9)),
    ),
    Case(
        "ports",
        [
            "tcp-request connection reject if { src_port 1:1023 } or { dst_port lt 1024 }",
            "tcp-request connection reject unless { src_port gt 1023 } { dst_port 1024: }",
        ],
        ("127.0.0.1",),
    ),
    Case(
        "found or not",
        [
            STICK,
            "tcp-request connection reject if { src_conn_cur -m found } { src 127.0.0.2 }",
            "tcp-request connection reject if { src_conn_cur -m bool }",
            "tcp-request connection track-sc0 src",
        ],
        ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
        stays=True,
    ),
]


class Server:
    """Says a byte to whoever connects, and hangs up when its client does."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._listener.getsockname())

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._ended, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._ended:
                        return
                    if key.fileobj is self._listener:
                        connection, _ = self._listener.accept()
                        connection.sendall(b"!")
                        selector.register(connection, selectors.EVENT_READ)
                    else:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()

    def close(self) -> None:
        self._end.close()
        self._thread.join()
        self._ended.close()
        self._listener.close()


def configuration(binds: Sequence[str], server: str) -> str:
    """All cases in one file, each a section that listens at its own of *binds*."""
    lines = ["global", "nbthread 1", "defaults", "mode tcp"]
    lines += [f"timeout {side} {LIMIT}s" for side in ("connect", "client", "server")]
    lines += ["backend elsewhere", STICK]
    for number, (case, bind) in enumerate(zip(CASES, binds, strict=True)):
        lines += [f"listen l{number}", f"bind {bind}", f"server s {server}", *case.lines]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, int]]]:
    """Where HAProxy listens for each case; connections wait there until it is up."""
    server = Server()
    sockets = {}
    for case in CASES:
        family = socket.AF_INET6 if ":" in case.listens else socket.AF_INET
        sockets[case.name] = socket.create_server((case.listens, 0), backlog=64, family=family)
        sockets[case.name].set_inheritable(True)
    path = tmp_path_factory.mktemp("haproxy") / "haproxy.cfg"
    binds = [f"fd@{one.fileno()}" for one in sockets.values()]
    path.write_text(configuration(binds, server.address))
    process = subprocess.Popen(
        ["haproxy", "-db", "-f", str(path)], close_fds=False, stderr=subprocess.DEVNULL
    )
    try:
        yield {name: one.getsockname()[:2] for name, one in sockets.items()}
    finally:
        process.kill()
        process.wait()
        for one in sockets.values():
            one.close()
        server.close()


@pytest.fixture(scope="module")
def admissions() -> dict[str, Admission]:
    """What penstock makes of the same lines."""
    binds = [f"{case.listens}:{20000 + number}" for number, case in enumerate(CASES)]
    found = loads(configuration(binds, "127.0.0.1:1")).configuration.services
    services = {service.name: service for service in found}
    made = {}
    for number, case in enumerate(CASES):
        service = services[f"l{number}"]
        assert service.admission is not None, (case.name, service.engine_reason)
        made[case.name] = service.admission
    return made


def come(front: tuple[str, int], client: str) -> socket.socket | None:
    """A connection that is served; None: HAProxy has reset it, perhaps while it was being made."""
    connection = socket.socket(socket.AF_INET6 if ":" in client else socket.AF_INET)
    connection.settimeout(LIMIT)
    connection.bind((client, 0))
    try:
        connection.connect(front)
        if connection.recv(1) == b"!":
            return connection
    except ConnectionResetError:
        pass
    connection.close()
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_haproxy_serves_whom_we_admit(
    fronts: dict[str, tuple[str, int]], admissions: dict[str, Admission], case: Case
) -> None:
    theirs, ours = [], []
    front, book = fronts[case.name], Book()
    kept: list[socket.socket] = []
    for number, client in enumerate(case.clients):
        connection = come(front, client)
        theirs.append(connection is not None)
        who = Packet(ip_address(client), ip_address(front[0]), 40000 + number, front[1])
        verdict, tracked = judge(admissions[case.name], who, book)
        ours.append(verdict is Verdict.ACCEPT)
        if connection is not None:
            kept.append(connection)
            if not case.stays:
                connection.close()
        if tracked and not (case.stays and ours[-1]):
            book.leave(tracked, who.src)
    for connection in kept:
        connection.close()
    assert ours == theirs
