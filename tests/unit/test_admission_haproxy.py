# SPDX-License-Identifier: Apache-2.0
"""The same rules in the installed HAProxy: whoever it serves is admitted, and nobody else."""

from __future__ import annotations

import selectors
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest
from unit_admission import TABLE, Book, Packet, above, criterion, judge, rule, when

from penstock.admission import Admission, Verdict
from penstock.admission_rules import compile_admission
from penstock.proxied import Front
from penstock.rules.model import Condition, IntRange, Matching, Stage, TcpRule, Term

pytestmark = pytest.mark.needs("haproxy")

STICK = "stick-table type ip size 1k expire 1m store conn_rate(1m),conn_cur,conn_cnt,gpc0"
LIMIT = 5  # seconds; an answer takes one of loopback's milliseconds


@dataclass(frozen=True)
class Case:
    """Lines of a section, the same as the model has them, and who comes, in order."""

    name: str
    lines: Sequence[str]
    rules: Sequence[TcpRule]
    clients: Sequence[str] = ("127.0.0.1",) * 4
    stays: bool = False  # connections are kept until all have come
    table: bool = True
    listens: str = "127.0.0.1"


def src(*networks: str, negated: bool = False) -> Term:
    return Term((criterion("src", *map(ip_network, networks)),), negated)


def below(fetch: str, number: int, *, negated: bool = False) -> Term:
    return Term((criterion(fetch, IntRange(None, number - 1)),), negated)


ABUSE, FLAG = above("src_conn_cnt", 1), above("src_inc_gpc0", 0)
CASES = [
    Case(
        "reject before it is counted",
        [
            "tcp-request connection reject if { src_conn_cnt gt 1 }",
            "tcp-request connection track-sc0 src",
        ],
        [rule("reject", when(above("src_conn_cnt", 1))), rule("track-sc0")],
    ),
    Case(
        "reject after it is counted",
        [
            "tcp-request connection track-sc0 src",
            "tcp-request connection reject if { src_conn_rate gt 2 }",
        ],
        [rule("track-sc0"), rule("reject", when(above("src_conn_rate", 2)))],
        ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.1"),
    ),
    Case(
        "nobody counts",
        [
            "tcp-request connection reject if { src_conn_rate gt 0 }",
            "tcp-request connection reject if !{ src_conn_rate lt 5 }",
        ],
        [
            rule("reject", when(above("src_conn_rate", 0))),
            rule("reject", when(below("src_conn_rate", 5, negated=True))),
        ],
    ),
    Case(
        "it is not counted by then",
        [
            "tcp-request connection track-sc0 src if { src 127.0.0.2 }",
            "tcp-request connection reject if !{ sc0_conn_rate lt 2 }",
        ],
        [
            rule("track-sc0", when(src("127.0.0.2/32"))),
            rule("reject", when(below("sc0_conn_rate", 2, negated=True))),
        ],
        ("127.0.0.1", "127.0.0.2", "127.0.0.2"),
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
        [
            rule("accept"),
            rule("reject"),
            rule("accept", when(src("127.0.0.9/32")), stage=Stage.SESSION),
            rule("reject", when(src("127.0.0.8/31")), stage=Stage.SESSION),
            rule("reject", when(src("127.0.0.9/32")), stage=Stage.CONTENT),
        ],
        ("127.0.0.7", "127.0.0.8", "127.0.0.9"),
        table=False,
    ),
    Case(
        "abuse flags",
        [
            "acl abuse src_conn_cnt gt 1",
            "acl flag src_inc_gpc0 gt 0",
            "tcp-request connection track-sc0 src",
            "tcp-request connection reject if { src_get_gpc0 gt 0 }",
            "tcp-request connection reject if abuse flag",
        ],
        [
            rule("track-sc0"),
            rule("reject", when(above("src_get_gpc0", 0))),
            rule("reject", when(ABUSE, FLAG)),
        ],
    ),
    Case(
        "sc-inc-gpc0",
        [
            "tcp-request connection track-sc0 src",
            "tcp-request connection sc-inc-gpc0(0) if { sc0_conn_cnt ge 2 }",
            "tcp-request connection reject if { sc0_get_gpc0 gt 1 }",
        ],
        [
            rule("track-sc0"),
            rule("sc-inc-gpc0(0)", when(above("sc0_conn_cnt", 1))),
            rule("reject", when(above("sc0_get_gpc0", 1))),
        ],
    ),
    Case(
        "live connections",
        [
            "tcp-request connection track-sc0 src",
            "tcp-request connection reject if { sc0_conn_cur gt 2 }",
        ],
        [rule("track-sc0"), rule("reject", when(above("sc0_conn_cur", 2)))],
        ("127.0.0.1",) * 4 + ("127.0.0.2",),
        stays=True,
    ),
    Case(
        "counted once, whatever is said twice",
        [
            "tcp-request connection track-sc0 src",
            "tcp-request session track-sc0 src",
            "tcp-request session reject if { src_conn_cnt gt 2 }",
        ],
        [
            rule("track-sc0"),
            rule("track-sc0", stage=Stage.SESSION),
            rule("reject", when(above("src_conn_cnt", 2)), stage=Stage.SESSION),
        ],
    ),
    Case(
        "IPv6 has no place in a table of IPv4",
        [
            "tcp-request connection track-sc0 src",
            "tcp-request connection reject if { src_conn_cnt ge 0 }",
        ],
        [
            rule("track-sc0"),
            rule("reject", when(criterion("src_conn_cnt", IntRange(0, None)))),
        ],
        ("::1", "::1"),
        listens="::1",
    ),
    Case(
        "IPv4 matches IPv6's patterns",
        ["tcp-request connection reject if { src ::ffff:127.0.0.2 }"],
        [rule("reject", when(src("::ffff:7f00:2/128")))],
        ("127.0.0.1", "127.0.0.2"),
        table=False,
    ),
    Case(
        "everybody is in ::/0",
        ["tcp-request connection reject if { src ::/0 }"],
        [rule("reject", when(src("::/0")))],
        table=False,
    ),
    Case(
        "unless, or, several lines of a name",
        [
            "acl inside src 127.0.0.1",
            "acl inside src 127.0.0.4/30",
            "tcp-request connection reject unless inside or { src 127.0.0.2 }",
            "tcp-request connection reject if inside { dst 127.0.0.0/8 } { src 127.0.0.5 }",
        ],
        [
            rule(
                "reject",
                Condition(((src("127.0.0.1/32", "127.0.0.4/30"),), (src("127.0.0.2/32"),)), True),
            ),
            rule(
                "reject",
                when(
                    src("127.0.0.1/32", "127.0.0.4/30"),
                    criterion("dst", ip_network("127.0.0.0/8")),
                    src("127.0.0.5/32"),
                ),
            ),
        ],
        tuple(f"127.0.0.{n}" for n in range(1, 9)),
        table=False,
    ),
    Case(
        "found or not",
        [
            "tcp-request connection reject if { src_conn_cur -m found } { src 127.0.0.2 }",
            "tcp-request connection reject if { src_conn_cur -m bool }",
            "tcp-request connection track-sc0 src",
        ],
        [
            rule(
                "reject",
                when(criterion("src_conn_cur", matching=Matching.FOUND), src("127.0.0.2/32")),
            ),
            rule("reject", when(criterion("src_conn_cur", matching=Matching.BOOL))),
            rule("track-sc0"),
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


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, int]]]:
    """Where HAProxy listens for each case; connections wait there until it is up."""
    server = Server()
    lines = ["global", "nbthread 1", "defaults", "mode tcp"]
    lines += [f"timeout {side} {LIMIT}s" for side in ("connect", "client", "server")]
    sockets = {}
    for number, case in enumerate(CASES):
        family = socket.AF_INET6 if ":" in case.listens else socket.AF_INET
        one = socket.create_server((case.listens, 0), backlog=64, family=family)
        one.set_inheritable(True)
        sockets[case.name] = one
        lines += [f"listen l{number}", f"bind fd@{one.fileno()}", f"server s {server.address}"]
        lines += [STICK] if case.table else []
        lines += case.lines
    path = tmp_path_factory.mktemp("haproxy") / "haproxy.cfg"
    path.write_text("\n".join(lines) + "\n")
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
def test_haproxy_serves_whom_we_admit(fronts: dict[str, tuple[str, int]], case: Case) -> None:
    theirs, ours = [], []
    table = TABLE if case.table else None
    admission = compile_admission(Front(tcp_rules=tuple(case.rules), table=table), {"t": TABLE})
    assert isinstance(admission, Admission)
    book = Book()
    kept: list[socket.socket] = []
    for number, client in enumerate(case.clients):
        front = fronts[case.name]
        connection = come(front, client)
        theirs.append(connection is not None)
        who = Packet(ip_address(client), ip_address(front[0]), 40000 + number, front[1])
        verdict, tracked = judge(admission, who, book)
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
