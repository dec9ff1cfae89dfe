# SPDX-License-Identifier: Apache-2.0
"""``show resolvers``: the same lines as HAProxy 2.6.12."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from types import SimpleNamespace
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from penstock.config import resolve
from penstock.config.haproxy import Resolvers
from penstock.names.dns import asker
from penstock.names.follower import Question
from penstock.names.group import Failed, Found
from penstock.names.ledger import Ledger
from penstock.runtime_api import show_resolvers
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import CommandFailed
from penstock.runtime_api.request import Arguments
from penstock.terms import Origin

_HOME = ip_address("127.0.0.1")
_LINES = (
    *("sent:        {}", "snd_error:   {}", "valid:       {}", "update:      {}"),
    *("cname:       {}", "cname_error: {}", "any_err:     {}", "nx:          {}"),
    *("timeout:     {}", "refused:     {}", "other:       {}", "invalid:     {}"),
    *("too_big:     {}", "truncated:   {}", "outdated:    {}"),
)


def section(*ports: int, name: str = "mydns") -> Resolvers:
    return Resolvers(
        name=name,
        nameservers=tuple((_HOME, port) for port in ports),
        parse_resolv_conf=False,
        resolve_retries=1,
        accepted_payload_size=1232,
        timeout_resolve=1000,
        timeout_retry=20_000,
        hold={},
        origin=Origin(),
        labels=tuple(f"ns{number}" for number in range(1, len(ports) + 1)),
    )


def ask(words: str, *sections: Resolvers, ledger: Ledger | None = None) -> str:
    controller = SimpleNamespace(resolvers=sections, ledger=ledger or Ledger())
    context = cast("Context", SimpleNamespace(controller=controller))
    answer = show_resolvers.COMMANDS[0].run(context, Arguments(words.split()), None)
    assert isinstance(answer, str)
    return answer


def block(label: str, **counts: int) -> str:
    lines = (line.format(counts.get(line.partition(":")[0], 0)) for line in _LINES)
    return f" nameserver {label}:\n" + "".join(f"  {line}\n" for line in lines)


@pytest.fixture
def nameserver() -> Iterator[socket.socket]:
    """Answers each question with what its first label says, until it is closed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve, args=(sock,))
        thread.start()
        yield sock
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", sock.getsockname())
        thread.join()


def _serve(sock: socket.socket) -> None:
    while data := (received := sock.recvfrom(4096))[0]:
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        name = query.question[0].name
        match name.labels[0]:
            case b"nx":
                reply.set_rcode(dns.rcode.NXDOMAIN)
            case b"refused":
                reply.set_rcode(dns.rcode.REFUSED)
            case b"failing":
                reply.set_rcode(dns.rcode.SERVFAIL)
            case _:
                reply.answer = [dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.1")]
        reply.flags |= dns.flags.RA
        sock.sendto(reply.to_wire(), received[1])


def test_what_name_servers_said(nameserver: socket.socket) -> None:
    ledger = Ledger()
    one = section(nameserver.getsockname()[1])
    look_up = asker((one,), ledger)

    def outcome(name: str) -> object:
        return look_up(Question("mydns", f"{name}.example", ipv4_first=True))

    assert isinstance(outcome("www"), Found)
    ledger.updated("mydns")
    for name in ("nx", "refused", "failing"):
        assert isinstance(outcome(name), Failed)
    said = ask("show resolvers mydns", one, ledger=ledger)
    # Where there is no address of one family, the other one is asked for.
    assert said == "Resolvers section mydns\n" + block(
        "ns1", sent=7, valid=1, update=1, nx=2, refused=2, other=2
    )


def test_sections_and_their_name_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "system_nameservers", lambda: ("192.0.2.53",))
    said = ask("show resolvers", section(1, 2), section(3, name="other"))
    assert said == (
        f"Resolvers section mydns\n{block('ns1')}{block('ns2')}"
        f"Resolvers section other\n{block('ns1')}"
        f"Resolvers section default\n{block('192.0.2.53')}"
    )


def test_none_and_none_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "system_nameservers", tuple)
    assert ask("show resolvers") == "No resolvers found\n"
    with pytest.raises(CommandFailed, match="Can't find that resolvers section"):
        ask("show resolvers nope", section(1))
