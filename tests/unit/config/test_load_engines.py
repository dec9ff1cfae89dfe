# SPDX-License-Identifier: Apache-2.0
"""Which line of a file asks for the proxy engine, and what is said of it."""

from __future__ import annotations

import pytest
from reading import configure, only_service, read

from penstock.model import (
    EngineKind,
)


@pytest.mark.parametrize(
    ("lines", "line", "reason"),
    [
        ("bind :80 accept-proxy\n server s 1.1.1.1:1", 8, "the PROXY protocol is read"),
        ("bind /run/x.sock\n server s 1.1.1.1:1", 8, "the socket is not a network's"),
        ("bind :80\n server s 1.1.1.1:1 send-proxy", 9, "the PROXY protocol is sent"),
        ("bind :80\n server s 1.1.1.1:1 ssl verify none", 9, "TLS is spoken to the server"),
        ("bind :80\n server s /run/x.sock", 9, "the server is not on a network"),
        (
            "bind :80\n tcp-request content reject if { req.len gt 5 }",
            9,
            "not in a connection's first packet",
        ),
        ("bind :80\n use_backend x if { src 10.0.0.0/8 }", 9, "chosen by a condition"),
        ("bind :80\n stick-table type ip size 1m\n stick on src", 10, "chosen by a stick table"),
        ("bind :80\n balance rdp-cookie\n server s 1.1.1.1:1", 9, "chosen by an RDP cookie"),
        ("bind :80\n mode http\n option forwardfor\n server s 1.1.1.1:1", 10, "HTTP is routed"),
        ("bind :80\n source 1.1.1.1 interface eth0\n server s 1.1.1.1:1", 9, "interface"),
    ],
)
def test_what_needs_the_proxy_engine(lines: str, line: int, reason: str) -> None:
    configuration = configure(f"listen l\n {lines}\nbackend x\n server s 1.1.1.1:1\n")
    (service,) = configuration.services
    assert service.engine is EngineKind.PROXY
    assert reason in service.engine_reason
    assert service.engine_origin.line == line


def test_a_backend_decides_for_the_frontends_that_reach_it() -> None:
    configuration = configure(
        """
frontend f
    bind :80
    default_backend b
frontend g
    bind :81
    default_backend c
backend b
    server s 1.1.1.1:1 send-proxy
backend c
    server s 1.1.1.1:1
"""
    )
    assert [s.engine for s in configuration.services] == [EngineKind.PROXY, EngineKind.KERNEL]
    assert configuration.services[0].engine_origin.line == 15


def test_no_send_proxy_takes_it_back() -> None:
    service = only_service(
        "listen x\n bind :80\n default-server send-proxy\n server s 1.1.1.1:1 no-send-proxy\n"
    )
    assert service.engine is EngineKind.KERNEL


def test_an_unconditional_use_backend_is_a_default_backend() -> None:
    configuration = configure(
        "frontend f\n bind :80\n use_backend b\nbackend b\n server s 1.1.1.1:1\n"
    )
    assert configuration.services[0].pool == "b"
    assert configuration.services[0].engine is EngineKind.KERNEL


_WEB = "frontend f\n mode http\n bind :80\n default_backend b\nbackend b\n mode http\n{}"


def test_sections_of_mode_http_that_ask_for_nothing_of_http_are_relayed() -> None:
    loaded = read(_WEB.format(" server s 1.1.1.1:1\n"))
    service = loaded.configuration.services[0]
    assert (service.pool, service.engine, service.unsupported) == ("b", EngineKind.KERNEL, False)
    told = [one.message for one in loaded.warnings if "relayed as in mode tcp" in one.message]
    assert len(told) == 1


@pytest.mark.parametrize(
    "line",
    [
        "balance uri",
        "balance url_param u",
        "cookie SRV insert",
        "http-request deny",
        "http-response set-header a b",
        "option forwardfor",
        "option originalto",
        "redirect location /x",
        "stats enable",
    ],
)
def test_sections_of_mode_http_that_ask_for_http_are_not_relayed(line: str) -> None:
    for text in (
        _WEB.format(f" {line}\n server s 1.1.1.1:1\n"),
        f"listen f\n mode http\n bind :80\n {line}\n server s 1.1.1.1:1\n",
    ):
        (service,) = configure(text).services
        assert service.unsupported, text


@pytest.mark.parametrize(
    "lines",
    [
        "use_backend b if { path_beg /a }",
        "tcp-request content reject if { hdr(host) a }",
        "stick-table type string size 1k\n stick on url_param(a)",
        "use-server s if { path /a }",
        "tcp-request inspect-delay 1s\n tcp-request content track-sc0 url table t",
    ],
)
def test_what_a_request_says_is_asked_once_a_connection_and_so_in_mode_tcp_alone(
    lines: str,
) -> None:
    """Where HTTP is spoken the next request of a connection may be another server's."""
    text = f"listen f\n mode MODE\n bind :80\n {lines}\n server s 1.1.1.1:1\n"
    others = (
        "backend b\n mode MODE\n server s 1.1.1.1:1\nbackend t\n stick-table type string size 1k\n"
    )
    for mode in ("http", "tcp"):
        (service,) = configure((text + others).replace("MODE", mode)).services
        assert service.unsupported is (mode == "http")
        assert ("which only HTTP has" in service.engine_reason) is (mode == "http")


def test_what_is_not_carried_out_is_said_once_for_a_section() -> None:
    result = read(
        """
listen x
    bind :80
    bind :81 curves P-256
    bind :82 ecdhe P-256
    retries 3
    option redispatch
    option httpchk
    http-check expect status 200
    server s 1.1.1.1:1 check
"""
    )
    said = [(w.line, w.message.split(" is not carried out")[0]) for w in result.warnings]
    assert said == [
        (10, "'bind :81 curves'"),
    ]
    assert result.configuration.services[0].engine is EngineKind.KERNEL


def test_a_second_try_is_the_proxy_engines_which_users_can_ask_for() -> None:
    text = "listen x\n bind :80\n option redispatch\n server s 1.1.1.1:1\n"
    result = read(text)
    (note,) = result.notes
    assert (note.line, "option proxy-engine" in note.message) == (9, True)
    assert result.configuration.services[0].engine is EngineKind.KERNEL
    result = read(text + " option proxy-engine\n")
    assert result.notes == ()
    (service,) = result.configuration.services
    assert (service.engine, service.engine_origin.line) == (EngineKind.PROXY, 11)
