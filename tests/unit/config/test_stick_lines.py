# SPDX-License-Identifier: Apache-2.0
"""stick-table, stick and peers: what they give, and HAProxy's verdicts on what is wrong."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import haproxy_oracle as oracle
import pytest

from penstock.config.haproxy import LoadResult, loads
from penstock.proxied import LocalAddress, LocalKind, TlsVerify
from penstock.stick.model import (
    KeyType,
    ServerKey,
    StickKind,
    Stored,
    TableSpec,
)
from penstock.stick.sections import Peer, PeersSpec
from penstock.terms import Origin

_HEAD = """\
global
    localpeer me
defaults
    mode tcp
    timeout client 1s
    timeout server 1s
    timeout connect 1s
frontend f
    bind 127.0.0.1:1
    default_backend pool
backend pool
    server s 127.0.0.1:2
"""
_TABLES = (
    "type ip size 1k store foo",
    "type ip size 1k store conn_rate",
    "type ip size 1k store conn_cnt(3)",
    "type ip size 1k store conn_cnt,conn_cnt",
    "type ip size 1k store gpc(101)",
    "type ip size 1k store gpc",
    "type ip size 1k store gpc(x)",
    "type ip size 1k store gpc(2,3)",
    "type ip size 1k store gpc_rate(2,3,4s)",
    "type ip size 1k store gpt0 store gpt(3)",
    "type ip size 1k store gpc_rate(3,1s) store gpc1_rate(3)",
    "type ip size 1k store gpc(2) store gpc0",
    "type ip size 1k store gpc_rate(2)",
    "type ip size 1k store conn_rate(10x)",
    "type ip size 1k store conn_rate()",
    "type ip size 1k store conn_cnt()",
    "type ip size 1k store conn_rate(10s",
    "type ip size 1k store conn_rate(10s,3s)",
    "type ip size 1k store conn_rate(10s)foo,conn_cnt",
    "type ip size 1k store ,conn_cnt",
    "type ip size 1k store conn_cnt,,gpc0",
    "type ip size 1k store conn_cnt,",
    "type ip size 1k store",
    "type ip size 0",
    "type ip size",
    "type ip size 1x",
    "type ip size 1kk",
    "type string len 0 size 1k",
    "type string len size 1k",
    "type binary len 5 size 1k",
    "type ip len 5 size 1k",
    "type",
    "type ip size 1k expire",
    "type ip size 1k expire 100d",
    "type ip size 1k expire 10x",
    "type ip size 1k expire 10sx",
    "type ip size 1k expire 1us",
    "type ip size 1k expire 500us",
    "type ip size 1k peers",
    "type ip size 1k peers nope",
    "type ip size 1k srvkey",
    "type ip size 1k srvkey foo",
    "type ip size 1k srvkey addr store server_name nopurge expire 0",
)
_SECTIONS = (
    "backend b\n stick-table",
    "backend b\n stick-table type ip size 1k\n stick-table type ip size 1k",
    "frontend x\n bind :2\n stick-table type ip size 1k\nbackend x\n stick-table type ip size 1k",
    "backend b\n stick on src",
    "backend b\n stick on src table nope",
    "backend b\n stick on",
    "backend b\n stick on foo",
    "backend b\n stick foo src",
    "backend b\n stick",
    "backend b\n stick-table type ip size 1k\n stick store src",
    "backend b\n stick-table type ip size 1k\n stick on src if foo",
    "backend b\n stick-table type ip size 1k\n stick on src if",
    "backend b\n stick-table type ip size 1k\n stick on src foo",
    "backend b\n stick-table type ip size 1k\n stick on src table",
    "backend b\n stick-table type ip size 1k\n stick on src,length",
    "backend b\n stick-table type ip size 1k\n stick on src,nope",
    (
        "backend b\n stick-table type ip size 1k\n stick on req.ssl_sni\n"
        " stick on dst_port\n stick on ssl_fc_unique_id"
    ),
    "backend b\n stick-table type integer size 1k\n stick on ssl_fc_unique_id",
    (
        "backend b\n stick-table type ip size 1k\n stick store-response src\n"
        " stick store-response res.payload(0,4)\n stick store-request res.payload(0,4)\n"
        " stick match res.len"
    ),
    "backend b\n stick-table type ip size 1k\n stick store-response req.len",
    "backend b\n stick-table type ip size 1k\n stick on src if { res.len gt 3 }",
    "frontend g\n bind :2\n stick-table type ip size 1k\n stick on src",
    "backend b\n stick on src table p/t",
    "peers p",
    "peers",
    "peers p\npeers p",
    "peers p q",
    "peers p:q/",
    "peers p\n peer me 127.0.0.1:1",
    "peers p\n peer me 127.0.0.1",
    "peers p\n peer me 127.0.0.1:1\n peer me 127.0.0.1:2",
    "peers p\n peer o 127.0.0.1:1\n peer o 127.0.0.1:2",
    "peers p\n peer o 127.0.0.1:1\nbackend b\n stick-table type ip size 1k peers p",
    "peers p\nbackend b\n stick-table type ip size 1k peers p",
    "peers p\n disabled\nbackend b\n stick-table type ip size 1k peers p",
    "peers p\n peer o",
    "peers p\n peer",
    "peers p\n peer o 127.0.0.1:1 weight 3 check\n peer me 127.0.0.1:3",
    "peers p\n bind :3\n server me\n server o 127.0.0.1:3",
    "peers p\n bind :3\n server me\n server o 127.0.0.1",
    "peers p\n bind :3\n server me\n server o ${nope}:${nope}",
    "peers p\n bind :3\n peer me 127.0.0.1:5",
    "peers p\n peer me 127.0.0.1:5\n bind :3",
    "peers p\n bind :3\n bind :4\n server me",
    "peers p\n bind :3",
    "peers p\n server o 127.0.0.1:3",
    "peers p\n default-bind :3",
    "peers p\n bind",
    "peers p\n bind foo",
    "peers p\n table t type ip size 1k\n table t type ip size 1k",
    "peers p\n table t type ip size 1k peers p",
    "peers p\n table",
    "peers p\n table type ip size 1k",
    (
        "peers p\n peer me 127.0.0.1:3\n table t type ip size 1k store gpc0\nbackend b\n"
        " stick on src table p/t"
    ),
    (
        "peers p\n peer me 127.0.0.1:3\n table f type ip size 1k store gpc0\nbackend b\n"
        " stick on src table f"
    ),
    "peers p\n peer o 127.0.0.1:1",
    "peers p\n peer me 127.0.0.1:1\npeers q\n peer me 127.0.0.1:2",
    "peers p\n disabled x\n enabled\n no log\n no disabled",
    "backend t\n stick-table type ip size 1k\npeers p\n table t type ip size 1k",
    "peers p\n table t type ip size 1k\nbackend t\n stick-table type ip size 1k",
    "peers p\n log 127.0.0.1 local0\nbackend b\n stick-table type ip size 1k peers p",
    "peers p\n default-server weight 3\nbackend b\n stick-table type ip size 1k peers p",
)


def _read(text: str) -> LoadResult:
    return loads(_HEAD + text, name="f.cfg", environ={})


def _table(words: str) -> TableSpec:
    result = _read(f"backend b\n stick-table {words}\n server s 127.0.0.1:2\n")
    table = next(pool for pool in result.configuration.pools if pool.name == "b").back.table
    assert table is not None
    return table


@pytest.mark.skipif(oracle.version() != "2.6", reason="haproxy 2.6 is not installed")
@pytest.mark.parametrize(
    "text", [*(f"backend b\n stick-table {words}" for words in _TABLES), *_SECTIONS]
)
def test_haproxy_says_the_same(tmp_path: Path, text: str) -> None:
    path = tmp_path / "f.cfg"
    path.write_text(f"{_HEAD}{text}\n")
    assert oracle.differences(oracle.ask(path), oracle.ours(path)[0]) == []


def test_all_that_a_table_can_say() -> None:
    table = _table(
        "type string len 20 size 1m expire 30m nopurge srvkey addr store server_id,gpc0"
        " store conn_rate(10s),http_req_rate(1m) store gpt(3) store bytes_out_rate(500)"
    )
    assert table == TableSpec(
        "b",
        KeyType.STRING,
        1 << 20,
        key_length=20,
        expire=1_800_000,
        nopurge=True,
        stored=(
            Stored("server_id"),
            Stored("gpc0"),
            Stored("conn_rate", 10_000),
            Stored("http_req_rate", 60_000),
            Stored("gpt", size=3),
            Stored("bytes_out_rate", 500),
        ),
        server_key=ServerKey.ADDRESS,
        origin=Origin("f.cfg", 14),
    )


@pytest.mark.parametrize(
    ("words", "size"),
    [
        *(("ip", 4), ("ipv6", 16), ("integer", 4), ("string", 32), ("string len 5", 6)),
        *(("binary", 32), ("binary len 5", 5)),
    ],
)
def test_key_sizes(words: str, size: int) -> None:
    assert _table(f"type {words} size 10").key_size == size


def test_arrays_of_rates() -> None:
    table = _table("type ip size 10 store gpc_rate(2,10s),gpc(4) store server_name")
    assert table.stored == (
        Stored("gpc_rate", 10_000, 2),
        Stored("gpc", size=4),
        Stored("server_key"),
    )


def test_no_expiry() -> None:
    assert _table("type ip size 10 expire 0").expire is None


def test_stick_rules_and_their_tables() -> None:
    result = _read(
        """\
peers p
 peer me 127.0.0.1:3
 peer other 127.0.0.1:4
 table shared type ip size 1k store gpc0
backend b
 stick-table type string size 10
 acl late src 10.0.0.1
 stick on req.ssl_sni,lower if late
 stick match src table p/shared
 stick store src
 acl late src 10.0.0.2
 server s 127.0.0.1:2
"""
    )
    back = next(pool for pool in result.configuration.pools if pool.name == "b").back
    first, second, third = back.stick
    assert [rule.kind for rule in back.stick] == [
        StickKind.ON,
        StickKind.MATCH,
        StickKind.STORE_REQUEST,
    ]
    assert (first.table, second.table, third.table) == (None, "p/shared", None)
    assert [call.name for call in first.expression.converters] == ["lower"]
    assert first.condition is not None
    # Both lines of the ACL count, though one came later.
    assert len(first.condition.alternatives[0][0].criteria) == 2
    servers = (Stored("server_id"), Stored("server_key"))
    assert back.table is not None
    assert back.table.stored == servers
    assert result.configuration.peers[0].tables[0].stored == (Stored("gpc0"), *servers)


def test_a_peers_section() -> None:
    result = _read(
        """\
peers p
 bind 127.0.0.1:3
 server me
 server other 127.0.0.2:4
 table t type integer size 1k
"""
    )
    here, there = IPv4Address("127.0.0.1"), IPv4Address("127.0.0.2")
    (section,) = result.configuration.peers
    assert section == PeersSpec(
        "p",
        "me",
        (here, 3),
        (Peer("other", there, 4, Origin("f.cfg", 16)),),
        (TableSpec("p/t", KeyType.INTEGER, 1024, origin=Origin("f.cfg", 17)),),
        origin=Origin("f.cfg", 13),
    )
    assert section.tables[0].wire_name == "/t"


@pytest.mark.parametrize("line", ["peer other 127.0.0.1:4", "bind :3", "disabled"])
def test_sections_without_this_node_are_disabled(line: str) -> None:
    (section,) = _read(f"peers p\n {line}\n").configuration.peers
    assert section.disabled


def test_a_table_after_one_of_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.cfg"
    path.write_text(_HEAD + "backend t\n stick-table type ip size 1\npeers p\n table t size 1\n")
    assert [message for _, message in oracle.ours(path)[0].errors] == [
        f"stick-table name 't' conflicts with table declared in backend 't' at {path}:14"
    ]


_PEERS_TLS = """\
global
    crt-base /certs
peers p
    default-bind ssl crt own.pem
    bind fd@7
    default-server ssl crt own.pem verify none
    server me
    server b 192.0.2.1:10000
    server c 192.0.2.2:10000 no-ssl
backend t
    stick-table type ip size 1k peers p
"""


def test_peers_over_tls_and_inherited_sockets() -> None:
    environ = {"HAPROXY_LOCALPEER": "me"}
    (section,) = loads(_PEERS_TLS, environ=environ, exists=lambda name: True).configuration.peers
    assert section.listen == (LocalAddress(LocalKind.INHERITED, "7"), 0)
    assert section.tls is not None
    assert section.tls.certificates == ("/certs/own.pem",)
    b, c = section.peers
    assert (b.name, c.name, c.tls) == ("b", "c", None)
    assert b.tls is not None
    assert (b.tls.certificate, b.tls.settings.verify) == ("/certs/own.pem", TlsVerify.NONE)


def test_a_peers_section_is_carried_out_without_a_word() -> None:
    read = loads(
        "peers p\n peer me 127.0.0.1:10000\n peer b 127.0.0.1:10001\n",
        environ={"HAPROXY_LOCALPEER": "me"},
    )
    assert read.warnings == ()
