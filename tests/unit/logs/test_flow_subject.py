# SPDX-License-Identifier: Apache-2.0
"""No sample of a log line of packets asks for what only a proxy knows."""

from __future__ import annotations

import pytest
from unit_building import service

from penstock.logs.dates import Dates
from penstock.logs.flow_subject import FlowSubject
from penstock.logs.format import beyond_packets
from penstock.logs.line import Setting, compile_line
from penstock.logs.model import Format, Sampled
from penstock.logs.record import Record
from penstock.rules.model import Call, Expression
from penstock.rules.vocabulary import CONVERTERS, FETCHES, Signature

_ARGUMENTS = {
    **{"integer": "1", "string": "txn.a", "table": "t", "regex": "a", "server": "b/s"},
    **{"IPv4 address": "192.0.2.1", "IPv6 address": "::1", "IPv4 mask": "8"},
}
# Whose arguments are words of their own.
_GIVEN = {
    "bin": ("00",),
    "date": ("0", "ms"),
    "digest": ("sha256",),
    "ipmask": ("8", "64"),
    "mqtt_field_value": ("connect", "protocol_name"),
}
_SETTING = Setting(Dates(lambda seconds: 0), "host", 1)


def call(signature: Signature, count: int) -> Call:
    name = signature.name
    given = [_ARGUMENTS.get(kind, "x") for kind in signature.arguments]
    if name.startswith("map") and name.endswith("_ip"):
        given[1] = "192.0.2.1"
    return Call(name, _GIVEN.get(name, tuple(given))[:count])


def records() -> tuple[Record, ...]:
    """One that reached a server, and one that was refused before."""
    reached = Record("f", "b", 0, "192.0.2.1", 1234, "192.0.2.2", 80, "s")
    reached.source, reached.target, reached.connected = "192.0.2.3", "192.0.2.4", 3
    return reached, Record("f", "b", 0, "2001:db8::1", 1234, "2001:db8::2", 80)


def answer(made: Format) -> None:
    """Make a line of each record, where packets are said to suffice for it."""
    if beyond_packets(made) is not None:
        return
    render = compile_line(made, _SETTING)
    for record in records():
        record.subject = FlowSubject(record, service(), lambda: 0)
        assert render(record)


@pytest.mark.parametrize("name", sorted(FETCHES))
def test_fetches(name: str) -> None:
    signature = FETCHES[name]
    for count in sorted({signature.needed, len(signature.arguments)}):
        answer(Format((Sampled(Expression(call(signature, count))),)))


@pytest.mark.parametrize("name", sorted(CONVERTERS))
@pytest.mark.parametrize("before", ["src", "src_port", "fe_name"])
def test_converters(name: str, before: str) -> None:
    signature = CONVERTERS[name]
    for count in sorted({signature.needed, len(signature.arguments)}):
        made = Expression(Call(before), (call(signature, count),))
        answer(Format((Sampled(made),)))
