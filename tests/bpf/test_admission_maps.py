# SPDX-License-Identifier: Apache-2.0
"""Sets, tables and steps in the maps: shared, replaced, taken over, let go of."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from pathlib import Path

import pytest
from bpf_admission import Rules, knock, only, serve
from bpf_cases import FAMILIES, NEW, PORT
from bpf_lab import CLIENTS, Lab
from bpf_namespace import Namespace

from penstock.admission import (
    AddressTest,
    Admission,
    AdmissionRule,
    Counter,
    CountTest,
    End,
    NetworkSet,
    PortTest,
    SourceTable,
    Track,
    Verdict,
)
from penstock.engine.api import PutService, RemoveService, ServiceState, fingerprint
from penstock.engine.kernel.admission import sources_for, trie_keys
from penstock.engine.kernel.engine import KernelEngine
from penstock.errors import DatapathError
from penstock.kernel.bpffs import BPFFS, mount
from penstock.kernel.maps import HashMap, Map
from penstock.kernel.nested import TrieMap, create_lru
from penstock.model import Bind, PortRange, Protocol, Settings

pytestmark = pytest.mark.root

TABLE = SourceTable("t", 1000, expire=60_000, period=10_000)
MILLION = 1_000_000


def rejecting(*networks: str, also: tuple[AdmissionRule, ...] = ()) -> Admission:
    inside = AddressTest(End.SOURCE, NetworkSet.of(map(ip_network, networks)))
    return only(AdmissionRule(Verdict.REJECT, (inside,)), *also)


COUNTING = rejecting("10.1.0.0/31", "fd01::/127", also=(AdmissionRule(Track(TABLE)),))


@pytest.fixture
def rules(lab: Lab) -> Iterator[Rules]:
    found = Rules(lab)
    yield found
    found.close()
    assert held(lab) == ([], [])


def held(lab: Lab) -> tuple[list[int], list[int]]:
    """Numbers of the sets and of the tables that there are; whatever has none has no map."""
    numbers = []
    for labels, arrays in (
        (lab.maps.network_labels, (lab.maps.networks4, lab.maps.networks6)),
        (lab.maps.source_labels, (lab.maps.sources,)),
    ):
        named = sorted(int.from_bytes(key, "little") for key, _ in labels.items())
        numbers.append(named)
        for array in arrays:
            for number in range(64):
                found = array.open(number, Map)
                if found is not None:
                    found.close()
                    assert number in named
    return numbers[0], numbers[1]


def map_id(lab: Lab, number: int) -> int:
    found = lab.maps.networks4.open(number, Map)
    assert found is not None
    with found:
        return found.info.id


def program_of(lab: Lab, service: int) -> tuple[int, int]:
    raw = lab.maps.services.get(service.to_bytes(4, "little"))
    assert raw is not None
    found = lab.codec.service.unpack(raw)
    return found.integer("rules"), found.integer("rules_len")


# -- many ----------------------------------------------------------------------------------------


def test_a_million_networks(lab: Lab, rules: Rules) -> None:
    chosen = random.Random(5)  # noqa: S311  # addresses, not secrets
    start = int(IPv4Address("64.0.0.0"))
    networks = [IPv4Network((start + (n << 9), 23 + (n & 7))) for n in range(MILLION)]
    blocked = NetworkSet.of(networks)
    assert len(blocked) == MILLION
    service = serve(lab, 4)
    rules.put(service, only(AdmissionRule(Verdict.REJECT, (AddressTest(End.SOURCE, blocked),))))
    ((number,), _) = held(lab)
    with lab.maps.networks4.open(number, TrieMap) as trie:
        facts = Path(f"/proc/self/fdinfo/{trie.fd}").read_text()
    (taken,) = re.findall(r"^memlock:\s+(\d+)$", facts, re.MULTILINE)
    assert int(taken) // MILLION in range(20, 200)  # bytes a network, and that many networks
    for n in (0, MILLION - 1, *chosen.sample(range(MILLION), 50)):
        one = networks[n]
        for address, inside in ((one[0], True), (one[-1], True), (one[-1] + 1, n & 7 == 0)):
            if inside or address not in networks[min(n + 1, MILLION - 1)]:
                got = knock(lab, 4, client=str(address), port=20000)
                assert (got.reasons == {"PASS_RULE_REJECT": 1}) == inside, (n, address)
    rules.put(service, None)
    rules.kernel.settle()
    assert held(lab) == ([], [])
    assert NEW in knock(lab, 4, client=str(networks[7][0])).reasons


@pytest.mark.parametrize("family", [4, 6])
def test_keys_of_a_trie(lab: Lab, family: int) -> None:
    networks = [ip_network(n) for n in ("10.1.0.0/16", "0.0.0.0/0", "fd00::/8", "2001:db8::1/128")]
    known = NetworkSet.of(networks)
    size, layout = (4, lab.codec.network4) if family == 4 else (16, lab.codec.network6)
    keys = trie_keys(known.v4 if family == 4 else known.v6, size)
    found = {
        (layout.unpack(bytes(one)).integer("prefix"), layout.unpack(bytes(one)).raw("addr"))
        for one in (keys[at : at + layout.size] for at in range(0, len(keys), layout.size))
    }
    assert found == {
        (one.prefixlen, one.network_address.packed) for one in networks if one.version == family
    }


def test_a_table_takes_a_part_of_memory_at_most() -> None:
    assert sources_for(10, 1 << 30) == 4096
    assert sources_for(1 << 20, 64 << 20) == 1 << 20
    assert sources_for(1 << 30, 1 << 20) == (1 << 30) // 64 // 112


# -- replaced, shared ----------------------------------------------------------------------------


@FAMILIES
def test_services_that_say_the_same_share(lab: Lab, rules: Rules, family: int) -> None:
    one, other = serve(lab, family), serve(lab, 10 - family)
    rules.put(one, COUNTING)
    before = held(lab)
    rules.put(other, COUNTING)
    assert held(lab) == before == ([1], [1])
    rules.remove(one)
    rules.kernel.settle()
    assert held(lab) == before
    assert knock(lab, 10 - family, client=0).reasons.keys() & {NEW, "PASS_RULE_REJECT"}


@FAMILIES
def test_what_was_replaced_stays_until_the_tick(lab: Lab, rules: Rules, family: int) -> None:
    """A packet may just be judged by it."""
    service = serve(lab, family)
    rules.put(service, COUNTING)
    base, length = program_of(lab, service)
    before = [lab.maps.admission_steps.read(at) for at in range(base, base + length)]
    rules.put(service, rejecting(CLIENTS[family][1]))
    assert [lab.maps.admission_steps.read(at) for at in range(base, base + length)] == before
    assert len(held(lab)[0]) == 2
    rules.kernel.settle()
    assert [len(one) for one in held(lab)] == [1, 0]


def test_what_is_wanted_again_before_the_tick_is_kept(lab: Lab, rules: Rules) -> None:
    service = serve(lab, 4)
    rules.put(service, COUNTING)
    identity = map_id(lab, 1)
    rules.put(service, None)
    rules.put(service, COUNTING)
    rules.kernel.settle()
    assert map_id(lab, 1) == identity


def test_a_hundred_reloads_leave_nothing(lab: Lab, rules: Rules) -> None:
    service = serve(lab, 4)
    for number in range(100):
        rules.put(service, rejecting(f"10.9.{number}.0/24", also=COUNTING.stages[0]))
        rules.kernel.settle()
        assert [len(one) for one in held(lab)] == [2, 1]


# -- errors --------------------------------------------------------------------------------------


def test_what_cannot_be_put_leaves_the_old_rules(
    lab: Lab, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(lab, 4)
    rules.put(service, rejecting(CLIENTS[4][0]))

    def full(*_: object) -> None:
        raise DatapathError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(TrieMap, "add", full)
        with pytest.raises(DatapathError, match="no memory"):
            rules.put(service, COUNTING)
    assert [len(one) for one in held(lab)] == [1, 0]
    assert knock(lab, 4).reasons == {"PASS_RULE_REJECT": 1}
    rules.put(service, COUNTING)
    assert NEW in knock(lab, 4).reasons  # 10.1.0.2 is none of those
    with monkeypatch.context() as patch:
        patch.setattr(HashMap, "put", full)
        with pytest.raises(DatapathError, match="no memory"):
            rules.put(service, None)
    rules.kernel.settle()
    assert [len(one) for one in held(lab)] == [1, 1]


def test_more_steps_than_fit(lab: Lab, rules: Rules) -> None:
    ranges = tuple((n, n) for n in range(2000))
    service = serve(lab, 4)
    with pytest.raises(DatapathError, match="steps"):
        rules.put(service, only(AdmissionRule(Verdict.DROP, (PortTest(End.SOURCE, ranges),))))
    assert held(lab) == ([], [])


# -- another daemon --------------------------------------------------------------------------------


def test_a_new_daemon_takes_over(lab: Lab) -> None:
    first = Rules(lab)
    service = serve(lab, 4)
    first.put(service, COUNTING)
    assert NEW in knock(lab, 4).reasons
    identity = map_id(lab, 1)

    second = Rules(lab, {service: program_of(lab, service)})
    second.kernel.settle()
    assert held(lab) == ([1], [1])
    more = only(*COUNTING.stages[0], AdmissionRule(Verdict.REJECT, (_above(1),)))
    second.put(service, more)
    second.kernel.settle()
    assert map_id(lab, 1) == identity
    assert knock(lab, 4, port=40001).reasons == {"PASS_RULE_REJECT": 1}
    second.close()
    assert held(lab) == ([], [])


def _above(number: int) -> CountTest:
    return CountTest(TABLE, Counter.LIVE, ((number + 1, 0xFFFFFFFF),))


def test_a_new_daemon_clears_up_what_no_service_has(lab: Lab) -> None:
    """The last one was killed before it switched the service over."""
    dying = Rules(lab)
    with pytest.raises(KeyboardInterrupt), dying.kernel.prepared(7, COUNTING):
        raise KeyboardInterrupt
    assert held(lab) == ([1], [1])
    Rules(lab).kernel.settle()
    assert held(lab) == ([], [])


# -- the whole engine ------------------------------------------------------------------------------


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace("link set lo up\n", {})
    with made.inside():
        yield made
    made.close()


def test_the_engine_keeps_rules_with_their_service(
    built_object: Path, namespace: Namespace, tmp_path: Path
) -> None:
    mount(BPFFS)
    pins = BPFFS / f"penstock-admission-{os.getpid()}"
    bind = Bind(ip_address("127.0.0.1"), PortRange.single(PORT))
    state = ServiceState("s", Protocol.TCP, (bind,), None, admission=COUNTING)
    settings = Settings(max_flows=1024)
    try:
        engine = KernelEngine.open(settings, pins=pins, state=tmp_path)
        engine.apply(PutService(state))
        assert engine.observe().services == {"s": fingerprint(state)}
        engine.close(keep=True)

        engine = KernelEngine.open(settings, pins=pins, state=tmp_path)
        assert engine.adopted
        engine.apply(PutService(state))
        engine.tick()
        labels = engine._maps.network_labels, engine._maps.source_labels
        assert [len(list(one.items())) for one in labels] == [1, 1]
        engine.apply(RemoveService("s"))
        engine.tick()
        assert [len(list(one.items())) for one in labels] == [0, 0]
        engine.close(keep=False)
    finally:
        shutil.rmtree(pins, ignore_errors=True)


def test_maps_made_while_running() -> None:
    with create_lru("table", 16, 32, 4096) as table:
        assert (table.info.key_size, table.info.value_size, table.info.max_entries) == (
            16,
            32,
            4096,
        )
        table.put(bytes(16), bytes(32))
        assert list(table.items()) == [(bytes(16), bytes(32))]
    with TrieMap.create("trie", 8, 3) as trie:
        trie.add(bytes(8) + b"\x08" + bytes(7))
        with pytest.raises(ValueError, match="8 bytes"):
            trie.add(bytes(7))
        with pytest.raises(DatapathError):
            trie.add(b"".join(b"\x20" + bytes(6) + bytes((n,)) for n in range(9)))


def test_slots_there_are_not(lab: Lab) -> None:
    with pytest.raises(DatapathError, match="use slot 256"):
        lab.maps.sources.empty(256)
    assert len(lab.maps.sources) == 256
    assert lab.maps.sources.open(5, Map) is None
