# SPDX-License-Identifier: Apache-2.0
"""The configurations in examples/haproxy, each with real traffic, on the engine it is promised.

One network and one penstock for all of them, reloaded from file to file as an operator would.
Every service is called on all its addresses, and must be answered by a server that is up in its
pool, through the engine that ``penstock check`` names. What a file says beyond that has a test of
its own in ``BEYOND``. HAProxy must pass the same.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import gcd
from pathlib import Path

import pytest

from penstock.engine.proxy.engine import worker_count
from penstock.lab.examples import STRANGER, Play, Stage
from penstock.lab.network import Network, until
from penstock.lab.runners import Haproxy, Penstock
from penstock.lab.speakers import Caller
from penstock.lab.spoken import QUESTION, Answer
from penstock.model import Algorithm, EngineKind, ForwardingMethod, Pool, Service

EXAMPLES = Path(__file__).parents[2] / "examples" / "haproxy"
FILES = sorted(file.stem for file in EXAMPLES.glob("*.cfg"))


def hello(name: str) -> bytes:
    """A TLS ClientHello that asks for *name*."""
    context = ssl.create_default_context()
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(received, sent, server_hostname=name).do_handshake()
    return sent.read()


def introduced(address: str) -> bytes:
    """Our question behind a PROXY header that says it comes from *address*."""
    return f"PROXY TCP4 {address} 198.51.100.1 40000 8443\r\n".encode() + QUESTION


# What clients say where a question of ours would not do.
SAYS = {
    "behind-a-proxy": introduced("10.9.8.7"),
    "ingress-sni": hello("www.example.org"),
    "tls-only": hello("tak.example.net"),
}


TURNS = 4

ENCRYPTED = {"mqtt-tls"}

# What HAProxy needs help of the host for (TPROXY rules), and penstock does not.
OURS = {"transparent-source"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Network("pse") as network:
        yield Stage(network, tmp_path_factory.mktemp("stage"))


@pytest.fixture(
    scope="module", params=["penstock", pytest.param("haproxy", marks=pytest.mark.needs("haproxy"))]
)
def runner(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Penstock | Haproxy]:
    """penstock, and then HAProxy: the demands on both are the same, and so not ours alone."""
    where = stage.site.balancer.namespace
    running = (
        Penstock(where, stage.directory, "--hook", "tc")
        if request.param == "penstock"
        else Haproxy(where, stage.directory)
    )
    yield running
    running.stop()


@pytest.mark.parametrize("name", FILES)
def test_it_does_what_the_file_says(stage: Stage, runner: Penstock | Haproxy, name: str) -> None:
    text = (EXAMPLES / f"{name}.cfg").read_text()
    if name in OURS and isinstance(runner, Haproxy):
        pytest.skip("the host would have to be set up for it")
    play = stage.play(text, runner)
    caller = replace(stage.caller, say=SAYS.get(name, QUESTION), tls=name in ENCRYPTED)
    for service in play.services:
        before = runner.forwarded()
        asked = everyone_answers(stage, caller, play, service)
        moved = runner.forwarded() - before
        if isinstance(runner, Penstock):
            assert runner.balancer.service(service.name).engine == service.engine
            assert (moved > 0) == (asked and service.engine is EngineKind.KERNEL)
    if name in BEYOND:
        BEYOND[name](stage, play)
    for service in play.services:
        backups_when_nobody_else_is_up(stage, caller, play, service)


def everyone_answers(stage: Stage, caller: Caller, play: Play, service: Service) -> bool:
    """Calls *service* wherever it listens; False when there is nobody to call."""
    calls = [call for bind in service.binds for call in stage.calls(bind)]
    if not calls or service.pool is None or not play.up(service.pool):
        return False
    pool = play.pool(service.pool)
    if any(real.link.local is not None for real in pool.reals):
        return False  # another service answers, at the end
    for address, port in calls:
        answer = caller.ask(address, port)
        assert answer.server in identities(play, pool, port)
        sees_whom_it_should(stage, pool, answer, address)
    answers = asked_while_the_same_are_up(caller, play, pool, calls[0])
    shared_as_the_file_says(play, service, calls[0][1], answers)
    return True


def identities(play: Play, pool: Pool, port: int) -> Counter[str]:
    """Who may answer at *port*, with the weight of each."""
    weights: Counter[str] = Counter()
    up = play.up(pool.name)
    for real in pool.reals:
        if real.name in up:
            weights[f"{real.address}:{real.port.of(port)}"] += real.weight
    return weights


def asked_while_the_same_are_up(
    caller: Caller, play: Play, pool: Pool, call: tuple[str, int]
) -> Counter[str]:
    """On a busy machine a check may not be answered in its time, and a server is down for some."""
    for _ in range(5):
        before = set(play.up(pool.name))
        answers = asked_together(caller, play, pool, call)
        if set(play.up(pool.name)) == before:
            return answers
    raise AssertionError("servers come and go")


def asked_together(caller: Caller, play: Play, pool: Pool, call: tuple[str, int]) -> Counter[str]:
    """Who answers connections that are all open at once: TURNS of the pool's servers."""
    times = TURNS * identities(play, pool, call[1]).total() // unit_of_weight(play, pool)
    limits = [real.maxconn for real in pool.reals if real.name in play.up(pool.name)]
    if all(limits):
        times = min(times, sum(limits))
    until("earlier connections to be over", lambda: play.live(pool.name) == 0)
    with contextlib.ExitStack() as held:
        return Counter(held.enter_context(caller.held(*call)).server for _ in range(times))


def unit_of_weight(play: Play, pool: Pool) -> int:
    up = play.up(pool.name)
    return gcd(*(real.weight for real in pool.reals if real.name in up))


def ahead(play: Play, service: Service) -> int:
    """By how many connections a server may be ahead: workers take their own turns each."""
    if isinstance(play.runner, Penstock) and service.engine is EngineKind.PROXY:
        return worker_count(play.loaded.configuration.settings.workers)
    return 0


def shared_as_the_file_says(play: Play, service: Service, port: int, answers: Counter[str]) -> None:
    assert service.pool is not None
    pool = play.pool(service.pool)
    weights = identities(play, pool, port)
    unit = unit_of_weight(play, pool)
    fair = {name: TURNS * weight // unit for name, weight in weights.items()}
    match pool.scheduler.algorithm:
        case _ if pool.back.stick:
            assert len(answers) == 1
        case Algorithm.ROUNDROBIN | Algorithm.STATIC_RR:
            slack = ahead(play, service)
            assert all(abs(answers[name] - share) <= slack for name, share in fair.items())
        case Algorithm.LEASTCONN:
            assert answers == fair
        case Algorithm.SOURCE:
            assert len(answers) == 1
        case Algorithm.FIRST:
            first = next(real for real in pool.reals if real.name in play.up(pool.name))
            if not first.maxconn:
                assert set(answers) == {f"{first.address}:{first.port.of(port)}"}
        case _:
            assert set(answers) <= set(weights)


def sees_whom_it_should(stage: Stage, pool: Pool, answer: Answer, address: str) -> None:
    """Servers see the balancer's address, and are told the client's where the file says so."""
    client = stage.site.client.address(6 if ":" in address else 4)
    real = next(one for one in pool.reals if answer.server.startswith(f"{one.address}:"))
    if real.forwarding is ForwardingMethod.NAT:
        assert answer.seen == client
    else:
        assert answer.seen != client
    assert bool(answer.told) == (real.link.send_proxy is not None)


def backups_when_nobody_else_is_up(
    stage: Stage, caller: Caller, play: Play, service: Service
) -> None:
    if service.pool is None or not service.binds:
        return
    pool = play.pool(service.pool)
    backups = [real.name for real in pool.reals if real.backup]
    checked = all(real.check is not None for real in pool.reals)
    if not backups or not checked:
        return
    taken = backups if pool.allbackups else backups[:1]
    stage.speakers.silence(*(str(real.address) for real in pool.reals if not real.backup))
    until("backups to be all that is up", lambda: play.up(pool.name) == taken)
    call = stage.calls(service.binds[0])[0]
    answers = asked_together(caller, play, pool, call)
    shared_as_the_file_says(play, service, call[1], answers)


def test_a_reload_may_change_the_engine(stage: Stage, runner: Penstock | Haproxy) -> None:
    """One port, with and without a line that only the proxy engine carries out, in turn."""
    if isinstance(runner, Haproxy):
        pytest.skip("it has one engine")
    text = (EXAMPLES / "mosquitto-edge.cfg").read_text()
    for told, variant in [("", text.replace(" send-proxy", "")), (stage.site.client.v4, text)] * 2:
        play = stage.play(variant, runner)
        before = runner.forwarded()
        assert stage.caller.ask(vip(stage), 1883).told == told
        kernel = play.services[0].engine is EngineKind.KERNEL
        assert kernel == (not told)
        assert (runner.forwarded() > before) == kernel


def test_an_engine_runs_every_file(stage: Stage) -> None:
    for name in FILES:
        assert not stage.unsupported((EXAMPLES / f"{name}.cfg").read_text()), name


# -- what files say beyond the engine and the balance ------------------------------------------


def vip(stage: Stage) -> str:
    return stage.site.balancer.v4


def servers(play: Play, pool: str, *names: str) -> set[str]:
    """The identities of *names*, all of them when none is given; of pools with fixed ports."""
    return {
        f"{real.address}:{real.port.value}"
        for real in play.pool(pool).reals
        if not names or real.name in names
    }


def carried_out(play: Play, words: str) -> bool:
    """Whether no warning of ours says that the line that begins with *words* is not."""
    return isinstance(play.runner, Haproxy) or not any(
        f"'{words}" in str(warning) and "is not carried out" in str(warning)
        for warning in play.loaded.warnings
    )


def refused(stage: Stage, port: int, source: str = "", say: bytes = b"") -> None:
    with pytest.raises(ConnectionError):
        stage.caller.ask(vip(stage), port, source=source, say=say)


def turns_strangers_away(port: int, *more: str) -> Callable[[Stage, Play], None]:
    def beyond(stage: Stage, play: Play) -> None:
        for source in (STRANGER, *more):
            refused(stage, port, source)
        assert stage.caller.ask(vip(stage), port)

    return beyond


def only_these_are_up(words: str, **pools: tuple[str, ...]) -> Callable[[Stage, Play], None]:
    """Checks look further than a connect: *words* begin the line that says so."""

    def beyond(stage: Stage, play: Play) -> None:
        if not carried_out(play, words):
            return
        for pool, names in pools.items():
            until(f"{names} to be up", functools.partial(_is_up, play, pool, names))
            bind = play.service(pool).binds[0]
            for call in stage.calls(bind):
                assert stage.caller.ask(*call).server in servers(play, pool, *names)

    return beyond


def _is_up(play: Play, pool: str, names: tuple[str, ...]) -> bool:
    return play.up(pool) == list(names)


def tells_the_clients_address(*ports: int) -> Callable[[Stage, Play], None]:
    def beyond(stage: Stage, play: Play) -> None:
        for port in ports:
            for source in (stage.site.client.v4, STRANGER):
                told = stage.caller.ask(vip(stage), port, source=source).told
                assert told.removeprefix("::ffff:") == source

    return beyond


def follows_the_port(stage: Stage, play: Play) -> None:
    for number in (1, 2, 3):
        for port, kind in ((9000 + number, "node"), (19000 + number, "bus")):
            answer = stage.caller.ask(vip(stage), port)
            assert {answer.server} == servers(play, f"{kind}{number}")


def keeps_the_ports(stage: Stage, play: Play) -> None:
    for port, server_port in ((8003, 8003), (8101, 9101), (8103, 9103), (8201, 7201)):
        assert stage.caller.ask(vip(stage), port).server.endswith(f":{server_port}")


def follows_the_name(stage: Stage, play: Play) -> None:
    for name, pool in (
        ("git.example.net", "git"),
        ("GIT.example.net", "git"),
        ("one.shop.example.net", "shop"),
        ("shop.example.net", "web"),
        ("elsewhere.example", "web"),
    ):
        answer = stage.caller.ask(vip(stage), 443, say=hello(name))
        assert answer.server in servers(play, pool), name


def takes_tls_alone(stage: Stage, play: Play) -> None:
    refused(stage, 8446, say=QUESTION)
    assert stage.caller.ask(vip(stage), 8446, say=hello("any.example")).server


def tells_tls_from_the_rest(stage: Stage, play: Play) -> None:
    told = stage.caller.ask(vip(stage), 443, say=hello("any.example")).server
    assert {told} == servers(play, "tunnel")
    assert {stage.caller.ask(vip(stage), 443).server} == servers(play, "shell")


def fills_one_lobby_first(stage: Stage, play: Play) -> None:
    pool = play.pool("lobbies")
    until("earlier connections to be over", lambda: play.live(pool.name) == 0)
    with contextlib.ExitStack() as held:
        answers = [
            held.enter_context(stage.caller.held(vip(stage), 25565)).server for _ in range(4)
        ]
    (one,), (two,) = servers(play, "lobbies", "lobby1"), servers(play, "lobbies", "lobby2")
    assert answers == [one, one, one, two]


def passes_on_whom_it_is_told(stage: Stage, play: Play) -> None:
    assert stage.caller.ask(vip(stage), 8443, say=introduced("10.9.8.7")).told == "10.9.8.7"
    refused(stage, 8443, say=introduced("203.0.113.9"))


def turns_the_hasty_away(stage: Stage, play: Play) -> None:
    for _ in range(20):
        assert stage.caller.ask(vip(stage), 2222, source=STRANGER).server
    refused(stage, 2222, STRANGER)
    refused(stage, 2222, STRANGER)


def remembers(port: int) -> Callable[[Stage, Play], None]:
    def beyond(stage: Stage, play: Play) -> None:
        for source in ("", STRANGER, "203.0.113.8"):
            answers = {stage.caller.ask(vip(stage), port, source=source).server for _ in range(4)}
            assert len(answers) == 1

    return beyond


def hands_over_inside(stage: Stage, play: Play) -> None:
    answer = stage.caller.ask(vip(stage), 8000)
    assert answer.server in servers(play, "application")


def lets_the_office_in(stage: Stage, play: Play) -> None:
    assert stage.caller.ask(vip(stage), 5222, source="203.0.113.5")
    for source in ("203.0.113.6", "10.66.1.1"):
        refused(stage, 5222, source)


def follows_the_source(stage: Stage, play: Play) -> None:
    assert {stage.caller.ask(vip(stage), 7443, source=STRANGER).server} == servers(play, "tenant")
    refused(stage, 7443, "203.0.113.200")
    assert stage.caller.ask(vip(stage), 7443).server in servers(play, "common")


def keeps_the_slow_one_for_strangers(stage: Stage, play: Play) -> None:
    answers = {stage.caller.ask(vip(stage), 4000, source=STRANGER).server for _ in range(3)}
    assert answers == servers(play, "batch", "slow")


def opens_ten_a_second(stage: Stage, play: Play) -> None:
    began = time.monotonic()
    for _ in range(25):
        stage.caller.ask(vip(stage), 2323)
    assert time.monotonic() - began > 1.0


def asks_another_server(stage: Stage, play: Play) -> None:
    ours = isinstance(play.runner, Penstock)
    if ours and play.service("syslog").engine is EngineKind.KERNEL:
        return  # docs/haproxy.md: there a connect that fails is not tried again
    dead = play.real("syslog", "log2")
    stage.speakers.silence(str(dead.address))
    answers = {stage.caller.ask(vip(stage), 6514).server for _ in range(4)}
    assert answers == servers(play, "syslog", "log1")


BEYOND: dict[str, Callable[[Stage, Play], None]] = {
    "behind-a-proxy": passes_on_whom_it_is_told,
    "denylist": lets_the_office_in,
    "everything-by-source": follows_the_source,
    "hiveserver2": turns_strangers_away(10000, "10.66.0.9"),
    "ingress-sni": follows_the_name,
    "ingress-proxied": tells_the_clients_address(80, 443),
    "ldap": turns_strangers_away(389),
    "mail-proxied": tells_the_clients_address(25, 993),
    "minecraft": fills_one_lobby_first,
    "minecraft-proxied": tells_the_clients_address(25565),
    "mongodb": only_these_are_up("tcp-check", mongodb=("mongo1",)),
    "mosquitto-edge": tells_the_clients_address(1883),
    "patroni": only_these_are_up("option httpchk", primary=("pg1",), replicas=("pg2", "pg3")),
    "postgresql-internal": turns_strangers_away(5432),
    "rate-limit": opens_ten_a_second,
    "rdp": remembers(3389),
    "redis-cluster": follows_the_port,
    "redis-master": only_these_are_up("tcp-check", redis=("redis1",)),
    "redispatch": asks_another_server,
    "relay-ports": keeps_the_ports,
    "ssh-bastion": turns_the_hasty_away,
    "sticky-peers": remembers(3200),
    "swarm": turns_strangers_away(2376),
    "tls-only": takes_tls_alone,
    "unix-sockets": hands_over_inside,
    "use-server": keeps_the_slow_one_for_strangers,
    "v2ray": tells_tls_from_the_rest,
    "vault": only_these_are_up("option httpchk", vault=("vault1",)),
}
