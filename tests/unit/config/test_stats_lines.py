# SPDX-License-Identifier: Apache-2.0
"""``stats`` lines of the global section, with HAProxy 2.6's verdicts and sentences."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

import pytest

from penstock.config.haproxy import loads
from penstock.errors import ConfigError
from penstock.proxied import LocalAddress, LocalKind
from penstock.runtime_sockets import AccessLevel, RuntimeSockets, SeverityOutput
from penstock.terms import PortRange


def read(text: str) -> RuntimeSockets:
    lines = "".join(f" {line}\n" for line in text.splitlines())
    result = loads(f"global\n{lines}", environ={"cli": "7"})
    assert not result.warnings
    return result.configuration.settings.runtime_api


def refused(line: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loads(f"global\n {line}\n")
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.message.rstrip()


def test_none() -> None:
    assert read("maxconn 5") == RuntimeSockets((), 10_000, 10)


def test_a_path_with_everything() -> None:
    found = read(
        "stats socket /run/h.sock mode 660 user a group b level admin expose-fd listeners"
        " severity-output string\nstats timeout 2m\nstats maxconn 3"
    )
    (one,) = found.sockets
    assert (found.timeout, found.maxconn) == (120_000, 3)
    assert one.listener.address == LocalAddress(LocalKind.UNIX, "/run/h.sock")
    assert (one.listener.mode, one.listener.user, one.listener.group) == (0o660, "a", "b")
    assert (one.level, one.severity) == (AccessLevel.ADMIN, SeverityOutput.STRING)
    assert one.exposes_listeners


def test_unix_bind_holds_for_them_too() -> None:
    (one,) = read("unix-bind prefix /run/ mode 600 gid 5\nstats socket unix@x.sock").sockets
    assert one.listener.address == LocalAddress(LocalKind.UNIX, "/run/x.sock")
    assert (one.listener.mode, one.listener.group) == (0o600, "#5")
    assert one.level is AccessLevel.OPERATOR


def test_other_addresses() -> None:
    found = read(
        "stats socket ipv4@127.0.0.1:9999 level user\n"
        "stats socket abns@x,:7000-7002\n"
        'stats socket "fd@${cli}" level admin'
    )
    assert [(one.listener.address, one.listener.ports) for one in found.sockets] == [
        (IPv4Address("127.0.0.1"), PortRange.single(9999)),
        (LocalAddress(LocalKind.ABSTRACT, "x"), None),
        (IPv4Address(0), PortRange(7000, 7002)),
        (LocalAddress(LocalKind.INHERITED, "7"), None),
    ]


# Each line, and HAProxy's message below it; "…" stands for "'stats socket' :".
REFUSED = """
stats
    'stats' only supports 'socket', 'maxconn', 'bind-process' and 'timeout' (got '')
stats foo
    'stats' only supports 'socket', 'maxconn', 'bind-process' and 'timeout' (got 'foo')
stats socket
    'stats socket' in global section expects an address or a path to a UNIX socket
stats socket /x levl admin
    … unknown keyword 'levl'. Did you mean 'level' maybe ?
stats socket /x level root
    … ''level' only supports 'user', 'operator', and 'admin' (got 'root')'
stats socket /x level
    … ''level' : missing level'
stats socket /x mode 9
    … ''mode' : missing or invalid mode '9' (octal integer expected)'
stats socket /x mode
    … ''mode' : missing or invalid mode '' (octal integer expected)'
stats socket /x user
    … ''user' : missing user name'
stats socket /x expose-fd
    … ''expose-fd' : missing fd type'
stats socket /x expose-fd x
    … ''expose-fd' only supports 'listeners' (got 'x')'
stats socket /x severity-output x
    … ''severity-output' only supports 'none', 'number', and 'string' (got 'x')'
stats socket /x severity-output
    … ''severity-output' : missing severity format'
stats socket 127.0.0.1
    … missing port specification in '127.0.0.1'
stats socket 127.0.0.1:0
    … invalid port '0'
stats socket nosuch.invalid:99
    … invalid address: 'nosuch.invalid' in 'nosuch.invalid:99'
stats timeout 0
    'stats timeout' expects a positive value
stats timeout x
    'stats timeout' : unexpected character 'x'
stats timeout 1y
    'stats timeout' : unexpected character 'y'
stats timeout 99999999999999
    timer overflow in argument '99999999999999' to 'stats timeout' (maximum value is
    2147483647 ms or ~24.8 days)
stats maxconn 0
    'stats maxconn' expects a positive value
stats maxconn x
    'stats maxconn' expects a positive value
stats bind-process x
    'stats bind-process' : 'x' is not a valid number/range.
stats bind-process 1 2
    'stats bind-process' : '2' is not a valid number/range. It supports numbers from 1 to 1.
"""
ROWS = [
    (line, " ".join(message).replace("…", "'stats socket' :"))
    for line, *message in (
        re.split(r"\n +", entry) for entry in re.split(r"\n(?=stats)", REFUSED.strip())
    )
]


@pytest.mark.parametrize(("line", "message"), ROWS)
def test_refused(line: str, message: str) -> None:
    assert refused(line) == message


@pytest.mark.parametrize("line", ["stats bind-process all", "stats bind-process odd 1"])
def test_what_meant_something_before(line: str) -> None:
    assert read(line) == RuntimeSockets()
