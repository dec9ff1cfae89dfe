# SPDX-License-Identifier: Apache-2.0
"""Servers given by name, followed in a real DNS server while traffic goes on."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from penstock.lab.network import Namespace, until
from penstock.lab.peers import ask
from penstock.lab.rig import Rig

pytestmark = pytest.mark.needs("dnsmasq")

RESOLVERS = """
resolvers here
    nameserver ns1 {address}:53
    timeout resolve 200ms
    timeout retry 500ms
    resolve_retries 2
    hold valid 200ms
    hold nx 200ms
"""


class NameServer:
    """A dnsmasq on a real server's address; ``tell`` changes what it knows of one name."""

    def __init__(self, namespace: Namespace, address: str, directory: Path, *records: str) -> None:
        self._hosts = directory / "hosts"
        self._hosts.write_text("")
        self._process: subprocess.Popen[bytes] = namespace.start(
            *(
                "dnsmasq",
                "--keep-in-foreground",
                "--no-resolv",
                "--no-hosts",
                "--conf-file=/dev/null",
            ),
            *("--bind-interfaces", f"--listen-address={address}", "--user=root", "--pid-file="),
            *(f"--addn-hosts={self._hosts}", "--local=/#/", "--local-ttl=0", "--log-facility=-"),
            *records,
        )
        until("dnsmasq to listen", lambda: namespace.listens(53))

    def tell(self, *addresses: str) -> None:
        self._hosts.write_text("".join(f"{address} web.example\n" for address in addresses))
        self._process.send_signal(signal.SIGHUP)


@pytest.fixture
def dns(rig: Rig) -> NameServer:
    one = rig.site.reals[0]
    return NameServer(one.namespace, one.v4, rig.directory)


def served(rig: Rig) -> dict[str, str]:
    """The address that each server of the pool has now."""
    return {real.name: real.address for real in rig.balancer.pool("web").reals}


def body(rig: Rig, server: str) -> str:
    resolvers = RESOLVERS.format(address=rig.site.reals[0].v4)
    return f"{resolvers}\nlisten web\n    bind {rig.vip(4)}:8080\n    {server}\n"


def test_a_server_follows_its_name(rig: Rig, dns: NameServer) -> None:
    one, two = rig.site.reals
    dns.tell(one.v4)
    rig.start(body(rig, "server s1 web.example:80 resolvers here init-addr none"))
    until("the name's first address", lambda: served(rig) == {"s1": f"{one.v4}:80"})
    held = rig.client.connect(rig.vip(4), 8080)
    assert ask(held)[0] == "r1"
    dns.tell(two.v4)
    until("the name's next address", lambda: served(rig) == {"s1": f"{two.v4}:80"})
    assert rig.tcp(8080, 4) == {"r2": 4}
    assert ask(held)[0] == "r1", "a connection stays where it is"
    held.close()
    assert f"web/s1 changed its IP from {one.v4} to {two.v4}" in rig.balancer.said()


def test_a_name_that_is_gone_takes_its_server_out(rig: Rig, dns: NameServer) -> None:
    dns.tell(rig.site.reals[0].v4)
    rig.start(body(rig, "server s1 web.example:80 resolvers here init-addr none"))
    until("the name's address", lambda: not served(rig)["s1"].endswith("(unresolved)"))
    dns.tell()
    until("the name to be gone", lambda: served(rig)["s1"].endswith("(unresolved)"))
    with pytest.raises(ConnectionRefusedError):
        rig.client.tcp(rig.vip(4), 8080)
    dns.tell(rig.site.reals[1].v4)
    until("the name's next address", lambda: not served(rig)["s1"].endswith("(unresolved)"))
    assert rig.tcp(8080, 2) == {"r2": 2}


def test_a_template_gets_an_address_each(rig: Rig, dns: NameServer) -> None:
    one, two = rig.site.reals
    dns.tell(one.v4, two.v4)
    rig.start(body(rig, "server-template s 3 web.example:80 resolvers here init-addr none"))
    until("two servers to have an address", lambda: len(set(served(rig).values())) == 3)
    assert rig.tcp(8080, 10) == {"r1": 5, "r2": 5}
    before = served(rig)
    assert rig.balancer.command("reload").returncode == 0
    assert served(rig) == before, "a reload forgets nothing that DNS told"


def test_srv_records_tell_ports_and_weights(rig: Rig) -> None:
    one = rig.site.reals[0]
    rig.servers.tcp(one.namespace, "heavy", one.v4, 9001)
    rig.servers.tcp(one.namespace, "light", one.v4, 9002)
    NameServer(
        one.namespace,
        one.v4,
        rig.directory,
        f"--host-record=a.example,{one.v4}",
        "--srv-host=_web._tcp.example,a.example,9001,1,600",
        "--srv-host=_web._tcp.example,a.example,9002,1,0",
    )
    rig.start(body(rig, "server-template s 2 _web._tcp.example resolvers here init-addr none"))
    until("both servers to have a place", lambda: len(set(served(rig).values())) == 2)
    assert set(served(rig).values()) == {f"{one.v4}:9001", f"{one.v4}:9002"}
    assert rig.tcp(8080, 8) == {"heavy": 6, "light": 2}
