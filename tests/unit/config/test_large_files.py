# SPDX-License-Identifier: Apache-2.0
"""Files of thousands of sections take as long as they are long."""

from __future__ import annotations

import sys

import pytest

from penstock.config.haproxy import loads

HEAD = "defaults\n mode tcp\n timeout client 1m\n timeout server 1m\n timeout connect 5s\n"
KINDS = {
    "frontends and backends": (
        "frontend f{n}\n bind 127.0.0.1:{port}\n default_backend b{n}\n"
        "backend b{n}\n server s1 10.0.0.1:80 check\n server s2 10.0.0.2:80 track s1\n"
    ),
    "wildcards": "listen l{n}\n bind [::]:{port}\n server s1 10.0.0.1:80\n",
    "stick tables": (
        "listen l{n}\n bind 127.0.0.1:{port}\n stick-table type ip size 1k\n stick on src\n"
        " tcp-request connection track-sc0 src\n server s1 10.0.0.1:80\n"
    ),
    "references": (
        "listen l{n}\n bind 127.0.0.1:{port}\n acl busy fe_conn(l{n}) gt 5\n"
        " tcp-request connection reject if busy\n server s1 10.0.0.1:80\n"
    ),
}


def calls(text: str) -> int:
    """How many functions are called to load it, builtins included."""
    count = 0

    def tell(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(tell)
    try:
        loads(text)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_twice_as_many_sections_are_twice_the_work(kind: str) -> None:
    def made(count: int) -> str:
        return HEAD + "".join(KINDS[kind].format(n=n, port=1000 + n) for n in range(count))

    calls(made(1))  # what is loaded once
    some, more = calls(made(40)), calls(made(80))
    assert more < 2.2 * some
