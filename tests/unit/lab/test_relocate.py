# SPDX-License-Identifier: Apache-2.0
"""Files of other networks, moved into the lab's."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.lab.relocate import World, relocate, split_host

PLACES = {"192.0.2.1": "10.71.1.129", "db.example": "10.71.2.129", "2001:db8::1": "fd71:1::81"}
WORLD = World(("10.71.0.1", "fd71::1"), PLACES.__getitem__, Path("/lab"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("bind *:80\n", "bind *:80\n"),
        ("  bind :80,192.0.2.9:81 name x\n", "  bind :80,10.71.0.1:81 name x\n"),
        ("bind :::25 v4v6", "bind :::25 v4v6"),
        ("bind [2001:db8::9]:25-30", "bind [fd71::1]:25-30"),
        ("bind 2001:db8::9:25", "bind [fd71::1]:25"),
        ("bind unix@/run/x/in.sock mode 660", "bind unix@/lab/in.sock mode 660"),
        ("bind abns@name", "bind abns@name"),
        ("bind :1 ssl crt /etc/x/a.pem", "bind :1 ssl crt /lab/a.pem"),
        ("server a 192.0.2.1:5000", "server a 10.71.1.129:5000 inter 200ms"),
        ("server a 192.0.2.1", "server a 10.71.1.129 inter 200ms"),
        ("server a ipv4@192.0.2.1:+5", "server a 10.71.1.129:+5 inter 200ms"),
        ("server a [2001:db8::1]:5 check", "server a [fd71:1::81]:5 inter 200ms check"),
        ("server a db.example:5 inter 3s", "server a 10.71.2.129:5 inter 200ms inter 200ms"),
        (
            "server a 192.0.2.1:5 addr db.example",
            "server a 10.71.1.129:5 inter 200ms addr 10.71.2.129",
        ),
        ("server a /run/x/s.sock", "server a /lab/s.sock inter 200ms"),
        ("server-template a 1-3 db.example:5", "server-template a 1-3 10.71.2.129:5 inter 200ms"),
        ("default-server fastinter 1s", "default-server inter 200ms fastinter 200ms"),
        ("dispatch 192.0.2.1:5", "dispatch 10.71.1.129:5"),
        ("stats socket /run/admin.sock level admin", "stats socket /lab/admin.sock level admin"),
        ("# server a 192.0.2.1:5", "# server a 192.0.2.1:5"),
        ("acl x src 192.0.2.1", "acl x src 192.0.2.1"),
        ("\n", "\n"),
    ],
)
def test_addresses_move_and_ports_stay(before: str, after: str) -> None:
    assert relocate(before, WORLD) == after


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("a.example:80", ("a.example", ":80")),
        ("a.example", ("a.example", "")),
        ("[::1]", ("::1", "")),
        (":80", ("", ":80")),
        ("*:80-90", ("*", ":80-90")),
    ],
)
def test_an_address_has_a_host_and_a_port(address: str, parts: tuple[str, str]) -> None:
    assert split_host(address) == parts
