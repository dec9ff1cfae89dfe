# SPDX-License-Identifier: Apache-2.0
"""ring and log-forward sections; errors are HAProxy 2.6.12's."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from penstock.config.haproxy import loads
from penstock.errors import ConfigError
from penstock.logs.model import (
    Descriptor,
    Facility,
    Heading,
    RingBuffer,
    RingServer,
    RingSpec,
    SyslogServer,
    SyslogSocket,
)
from penstock.proxied import LocalAddress

_HOME = ip_address("127.0.0.1")


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        loads(text)
    return [one.message.strip() for one in raised.value.diagnostics]


def test_a_ring() -> None:
    made = loads(
        "ring r\n description all of it\n format rfc5424\n maxlen 1200\n size 32764\n"
        " timeout connect 5s\n timeout server 10s\n server a 127.0.0.1:514 log-proto octet-count\n"
        " server b /run/log\n"
    ).configuration
    servers = (RingServer("a", _HOME, 514, True), RingServer("b", SyslogSocket("/run/log")))
    ring = RingSpec("r", "all", Heading.RFC5424, 1200, 32764, 5000, servers)
    assert made.rings == (ring,)


def test_lines_for_a_ring_take_its_format() -> None:
    made = loads(
        "global\n log ring@r format iso local1\n log ring@buf0 local1\n"
        "listen l\n bind :1\n log global\n log ring@r local2\n server s 127.0.0.1:1\n"
        "ring r\n format short\n maxlen 1000\n"
    ).configuration
    (service,) = made.services
    assert [(one.destination, one.heading, one.facility) for one in service.journal.targets] == [
        (RingBuffer("r", 1000), Heading.SHORT, Facility.LOCAL1),
        (RingBuffer("buf0", 16384), Heading.TIMED, Facility.LOCAL1),
        (RingBuffer("r", 1000), Heading.SHORT, Facility.LOCAL2),
    ]


def test_a_log_server_that_takes_a_stream_has_a_ring_of_its_own() -> None:
    made = loads(
        "global\n log tcp@127.0.0.1:601 format rfc5424 local0\n log tcp@127.0.0.1 local0\n"
    ).configuration
    first, second = made.rings
    assert (first.name, first.heading, first.connect_timeout) == (
        "tcp@127.0.0.1:601",
        Heading.RFC5424,
        1000,
    )
    assert first.servers == (RingServer("tcp@127.0.0.1:601", _HOME, 601),)
    assert (second.servers[0].port, second.heading) == (514, None)
    (target, _) = made.settings.journal.targets
    assert target.destination == RingBuffer("tcp@127.0.0.1:601", 16384)


def test_a_log_forward_section() -> None:
    made = loads(
        "log-forward f\n bind 127.0.0.1:514\n bind fd@7\n dgram-bind 127.0.0.1:514,127.0.0.1:515\n"
        " log 127.0.0.1:1514 local0\n log stdout format raw daemon\n maxconn 20\n backlog 9\n"
        " timeout client 10s\n"
    )
    assert made.listens
    (one,) = made.configuration.log_forwards
    assert [type(each.address) for each in one.streams] == [type(_HOME), LocalAddress]
    assert [each.ports.first for each in one.datagrams if each.ports] == [514, 515]
    assert [each.destination for each in one.targets] == [SyslogServer(_HOME, 1514), Descriptor(1)]
    assert (one.maxconn, one.backlog, one.client_timeout) == (20, 9, 10_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ring\n", "missing ring name."),
        ("ring a%b\n", "invalid ring name 'a%b' (character '%' is not permitted)."),
        ("ring r\nring r\n", "sink named 'r' already exists."),
        ("ring buf0\n", "sink named 'buf0' already exists."),
        ("ring r\n size 0\n", "invalid size '0' for new sink buffer."),
        (
            "ring r\n size 100\n",
            "ignoring new size '100' that is smaller than current size '16384' for ring 'r'.",
        ),
        ("ring r\n maxlen x\n", "invalid size 'x' for new sink buffer."),
        ("ring r\n format nope\n", "unknown format 'nope'."),
        ("ring r\n description\n", "missing ring description text."),
        ("ring r\n timeout connect\n", "'timeout connect' expects <time> as argument."),
        ("ring r\n nope\n", "unknown statement 'nope'."),
        (
            "ring r\n server s 127.0.0.1:1 log-proto nope\n",
            "'server r/s' : 'log-proto' expects one of 'legacy' or 'octet-count' but got 'nope'.",
        ),
        (
            "ring r\n server s 127.0.0.1:1 ssl verify none\n",
            "'server r/s' : TLS is not spoken to servers of a ring.",
        ),
        ("log-forward\n", "missing name for ip-forward section."),
        (
            "log-forward a%b\n",
            "character '%' is not permitted in 'log-forward' name 'a%b'.",
        ),
        ("log-forward f\n nope\n", "unknown keyword 'nope' in log-forward section."),
        ("log-forward f\n maxconn\n", "'maxconn' expects an integer argument."),
        (
            "log-forward f\n timeout server 1s\n",
            "unknown keyword 'timeout server' in log-forward section.",
        ),
        ("log-forward f\n timeout client\n", "missing timeout client value."),
        (
            "log-forward f\n bind 127.0.0.1:1 ssl crt /dev/null\n",
            "'bind 127.0.0.1:1' : TLS is not spoken with those who send log lines.",
        ),
        (
            "frontend f\n bind :1\nlog-forward f\n",
            "log forward section 'f' has the same name as frontend 'f' declared at <text>:1.",
        ),
        (
            "global\n log ring@nope local0\n",
            "global log server declared in file '<text>' at line 2 uses unknown ring named 'nope'.",
        ),
        (
            "log-forward f\n bind :1\n log ring@nope local0\n",
            "log server declared in log-forward section 'f' in file '<text>' at line 3 uses unknown"
            " ring named 'nope'.",
        ),
        (
            "backend b\n log ring@nope local0\n",
            "log server declared in proxy section 'b' in file '<text>' at line 2 uses unknown ring"
            " named 'nope'.",
        ),
    ],
)
def test_faults(text: str, message: str) -> None:
    assert faults(text)[0] == message


def test_an_event_is_no_longer_than_its_ring() -> None:
    made = loads("ring r\n maxlen 20000\n")
    assert made.configuration.rings[0].longest == 16384
    assert (
        "ring 'r' event max length '20000' exceeds size, forced to size '16384'."
        in made.warnings[0].message
    )
