# SPDX-License-Identifier: Apache-2.0
"""The configurations beside this file, as users write them: which engine each service gets."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from penstock.config.haproxy import AddressFamilyPreference, LoadResult, load
from penstock.errors import ConfigError
from penstock.model import Address, CheckKind, EngineKind, Protocol

FILES = Path(__file__).parent / "files"
WRONG = {"many-mistakes.cfg": 18, "whole.cfg": 7}  # how many errors each has

KERNEL: dict[str, list[str]] = {
    "doubtful.cfg": ["web"],
    "galera.cfg": ["galera-write", "galera-read"],
    "kubernetes-api.cfg": ["api", "nodeports"],
    "language.cfg": ["one"],
    "mail.cfg": ["imaps"],
    "mqtt.cfg": ["mqtt"],
    "own/dns-udp.cfg": ["dns-udp", "dns-tcp"],
    "own/words.cfg": ["syslog", "web"],
    "postgres.cfg": ["primary"],
    "rabbitmq.cfg": ["amqp", "amqp-streams"],
    "redis.cfg": ["redis"],
    "resolvers.cfg": ["app"],
    "sni.cfg": [],
}
PROXY: dict[str, dict[str, int]] = {  # service: the line that decides
    "mail.cfg": {"smtp": 12},
    "sni.cfg": {"tls": 13},
}


def _resolve(name: str, family: AddressFamilyPreference) -> Address | None:
    return ip_address("127.0.0.1") if name == "localhost" else None


def _load(name: str) -> LoadResult:
    return load([FILES / name], environ={}, resolve=_resolve)


def test_every_file_is_listed() -> None:
    found = {str(path.relative_to(FILES)) for path in FILES.rglob("*.cfg")}
    assert found == set(KERNEL) | set(WRONG)


@pytest.mark.parametrize("name", KERNEL)
def test_the_engine_of_each_service(name: str) -> None:
    services = _load(name).configuration.services
    kernel = [service.name for service in services if service.engine is EngineKind.KERNEL]
    assert kernel == KERNEL[name]
    assert {
        service.name: service.engine_origin.line
        for service in services
        if service.engine is EngineKind.PROXY
    } == PROXY.get(name, {})


@pytest.mark.parametrize("name", WRONG)
def test_all_mistakes_are_told_at_once(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(name)
    assert len(caught.value.diagnostics) == WRONG[name]
    assert caught.value.exit_status == 1


def test_udp_and_tcp_on_one_port() -> None:
    configuration = _load("own/dns-udp.cfg").configuration
    assert [service.protocol for service in configuration.services] == [Protocol.UDP, Protocol.TCP]
    udp, tcp = (pool.reals[0].check for pool in configuration.pools)
    assert udp is not None
    assert tcp is not None
    assert (udp.kind, len(udp.send)) == (CheckKind.UDP, 17)
    assert tcp.kind is CheckKind.TCP_CONNECT


def test_language() -> None:
    (service,) = _load("language.cfg").configuration.services
    (pool,) = _load("language.cfg").configuration.pools
    assert str(service.binds[0].vip) == "127.0.0.1"
    assert [str(real.address) for real in pool.reals] == ["10.0.0.7", "10.0.0.8"]
    assert (service.timeouts.client, pool.timeouts.connect) == (30_000, 120_000)
    assert pool.timeouts.server == 3_600_000


EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*/haproxy.cfg"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_run_on_the_kernel_engine_without_a_warning(path: Path) -> None:
    result = load([path], environ={}, resolve=_resolve)
    assert result.configuration.services
    assert {service.engine for service in result.configuration.services} == {EngineKind.KERNEL}
    if path.parent.name != "cdn-edge":  # a newcomer's first file, which has no timeouts
        assert result.warnings == ()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 3
