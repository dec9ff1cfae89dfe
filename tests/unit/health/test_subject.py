# SPDX-License-Identifier: Apache-2.0
"""No sample that a check may have asks for what only those know whom traffic passes through."""

from __future__ import annotations

import pytest

from penstock.config.haproxy import loads
from penstock.errors import ConfigError
from penstock.facts import ProcessFacts
from penstock.health.execution import Execution, Script
from penstock.health.subject import CheckSubject, World
from penstock.rules.vocabulary import CONVERTERS, FETCHES, Signature

_ARGUMENTS = {
    **{"integer": "1", "string": "txn.a", "table": "b", "regex": "a", "server": "b/s1"},
    **{"IPv4 address": "192.0.2.1", "IPv6 address": "::1", "IPv4 mask": "8", "IPv6 mask": "64"},
    **{"backend": "b", "frontend": "f"},
}
# Whose arguments are words of their own.
_GIVEN = {
    "bin": "00",
    "date": "0,ms",
    "digest": "sha256",
    "hmac": "sha256,c2VjcmV0",
    "mqtt_field_value": "connect,protocol_name",
}
_WORLD = World(lambda: 0, lambda: 7, ProcessFacts(thread=1, threads=1, hostname="here"))
_TEXT = """
frontend f
    mode tcp
    bind 127.0.0.1:80
backend b
    mode tcp
    option {option}
    {check} set-var(check.a) {sample}
    stick-table type ip size 1k store gpc0,gpc0_rate(1s),http_req_rate(1s)
    server s1 192.0.2.1:80 check
"""


def written(signature: Signature, count: int) -> str:
    given = _GIVEN.get(signature.name)
    if given is not None:
        return f"{signature.name}({given})"
    words = [_ARGUMENTS.get(kind, "x") for kind in signature.arguments[:count]]
    return f"{signature.name}({','.join(words)})" if words else signature.name


def carry_out(sample: str) -> bool:
    """Whether it is accepted; what is, must not fail."""
    accepted = False
    for check, option in (("tcp-check", "tcp-check"), ("http-check", "httpchk")):
        try:
            loaded = loads(_TEXT.format(option=option, check=check, sample=sample))
        except ConfigError:
            continue
        accepted = True
        (real,) = loaded.configuration.pool("b").reals
        assert real.check is not None
        assert real.check.ruleset is not None
        subject = CheckSubject((1, "b"), (1, "s1"), _WORLD)
        run = Execution(Script(real.check.ruleset, "b"), subject, up=True)
        run.begin()
        run.opened(secure=False)
        run.wrote()
        run.came(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
    return accepted


@pytest.mark.parametrize("name", sorted(FETCHES))
def test_fetches(name: str) -> None:
    signature = FETCHES[name]
    for count in sorted({signature.needed, len(signature.arguments)}):
        carry_out(written(signature, count))


@pytest.mark.parametrize("name", sorted(CONVERTERS))
def test_converters(name: str) -> None:
    signature = CONVERTERS[name]
    for count in sorted({signature.needed, len(signature.arguments)}):
        for before in ("str(ab)", "int(7)", "ipv4(192.0.2.1)"):
            carry_out(f"{before},{written(signature, count)}")


def test_some_of_them_are_carried_out() -> None:
    assert carry_out("date")
    assert carry_out("str(ab),hex")
    assert not carry_out("src_conn_rate(b)")
