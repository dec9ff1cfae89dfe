# SPDX-License-Identifier: Apache-2.0
"""Synchronisation messages: as Linux writes them, both ways, and whatever else may arrive."""

from __future__ import annotations

import contextlib
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ipvs.sync_wire import (
    INACTIVE,
    NO_OUTPUT,
    TEMPLATE,
    Malformed,
    Outbox,
    SyncedConnection,
    decode,
)


def packed(text: str) -> bytes:
    return ip_address(text).packed


def connection(flags: int = 0, state: int = 1, timeout: int = 900) -> SyncedConnection:
    return SyncedConnection(
        6,
        flags,
        state,
        packed("10.50.0.1"),
        40001,
        packed("203.0.113.1"),
        80,
        packed("10.0.1.2"),
        8080,
        0,
        timeout,
    )


def message(*connections: SyncedConnection, syncid: int = 5, maxlen: int = 1472) -> bytes:
    box = Outbox(syncid, maxlen)
    for one in connections:
        assert box.add(one, 0.0) is None
    taken = box.take()
    assert taken is not None
    return taken


# What ip_vs_sync.c of Linux writes for the two connections, put together by hand from its structs.
BY_LINUX = bytes.fromhex(
    "00 05 0050 02 01 0000"
    "00 06 0024 00000000 0001 9c41 0050 1f90 00000000 00000384 0a320001 cb007101 0a000102"
    "00 06 0024 00000100 0005 9c41 0050 1f90 00000000 00000078 0a320001 cb007101 0a000102"
)


def test_a_message_is_as_linux_writes_it() -> None:
    assert message(connection(), connection(INACTIVE, 5, 120)) == BY_LINUX


def test_and_as_linux_writes_it_it_is_read() -> None:
    assert list(decode(BY_LINUX, 5)) == [connection(), connection(INACTIVE, 5, 120)]


def test_ipv6_is_told_by_its_type() -> None:
    one = SyncedConnection(
        17, INACTIVE | NO_OUTPUT | 3, 0, packed("fd50::1"), 1, packed("2001:db8::1"), 53,
        packed("fd00:1::2"), 53, 7, 300,
    )  # fmt: skip
    raw = message(one)
    assert raw[8:12] == bytes.fromhex("01 11 0048")
    assert len(raw) == 8 + 72
    assert list(decode(raw, 0)) == [one]


@pytest.mark.parametrize(("own", "heard"), [(0, True), (5, True), (6, False)])
def test_syncid_0_hears_everybody(own: int, heard: bool) -> None:
    assert bool(list(decode(BY_LINUX, own))) is heard


def connections() -> st.SearchStrategy[SyncedConnection]:
    def of(size: int) -> st.SearchStrategy[SyncedConnection]:
        address = st.binary(min_size=size, max_size=size)
        port = st.integers(0, 65535)
        word = st.integers(0, 2**32 - 1)
        flags = st.sampled_from([0, 2, 3, INACTIVE, NO_OUTPUT | 3])
        tcp = st.builds(
            SyncedConnection, st.just(6), flags, st.integers(0, 10),
            address, port, address, port, address, port, word, word,
        )  # fmt: skip
        template = tcp.map(lambda one: one._replace(flags=one.flags | TEMPLATE, proto=0))
        return tcp | template

    return of(4) | of(16)


@given(st.lists(connections(), max_size=60), st.integers(1, 1472), st.integers(0, 255))
def test_what_is_written_is_read(some: list[SyncedConnection], maxlen: int, syncid: int) -> None:
    box = Outbox(syncid, maxlen)
    sent = [box.add(one, 1.0) for one in some]
    messages = [raw for raw in (*sent, box.take()) if raw is not None]
    assert [one for raw in messages for one in decode(raw, syncid)] == some
    for raw in messages:
        assert len(raw) <= maxlen or raw[4] == 1
    assert box.take() is None
    assert box.since is None


def test_no_message_has_more_than_its_count_can_say() -> None:
    box = Outbox(1, 65507)
    full = [raw for raw in (box.add(connection(), 0.0) for _ in range(256)) if raw is not None]
    assert [raw[4] for raw in full] == [255]


def test_a_message_waits_since_its_first_connection() -> None:
    box = Outbox(1, 8 + 2 * 36)
    assert box.since is None
    for now in (3.0, 4.0, 5.0):
        box.add(connection(), now)
    assert box.since == 5.0  # the first two have gone


@given(st.binary(max_size=200))
def test_nothing_that_arrives_is_worse_than_malformed(noise: bytes) -> None:
    with contextlib.suppress(Malformed):
        list(decode(noise, 0))


@given(st.integers(0, len(BY_LINUX) - 1), st.integers(0, 255))
def test_nor_a_message_with_one_byte_wrong(at: int, value: int) -> None:
    with contextlib.suppress(Malformed):
        list(decode(BY_LINUX[:at] + bytes([value]) + BY_LINUX[at + 1 :], 0))


def with_parameters(raw: bytes, *, padded: bool = True) -> bytes:
    """One connection with parameters behind it, then one without."""
    first, second = BY_LINUX[8:44], BY_LINUX[44:]
    size = 36 + len(raw)
    first = first[:2] + struct.pack(">H", size) + first[4:] + raw
    if padded:
        first += bytes(-size % 4)
    body = first + second
    return struct.pack(">BBHBbH", 0, 5, 8 + len(body), 2, 1, 0) + body


SEQUENCES = bytes([1, 24]) + bytes(range(24))


@pytest.mark.parametrize(
    ("parameters", "read"),
    [
        (SEQUENCES, 2),
        (bytes([0x41, 24]) + bytes(24), 2),  # the same, said to be optional
        (bytes([0x60, 3]) + b"abc", 2),  # unknown and optional
        (bytes([0x20, 3]) + b"abc", 1),  # unknown and not
        (bytes([2, 3]) + b"abc" + bytes([3, 3]) + b"sip", 1),  # an engine that is not here
    ],
)
def test_parameters_are_skipped(parameters: bytes, read: int) -> None:
    found = list(decode(with_parameters(parameters), 5))
    assert len(found) == read
    assert found[-1] == connection(INACTIVE, 5, 120)


@pytest.mark.parametrize(
    "parameters",
    [
        bytes([1]),
        bytes([1, 0]),
        bytes([1, 23]) + bytes(23),
        bytes([1, 24]) + bytes(20),
        SEQUENCES * 2,
        bytes([3, 17]) + bytes(17),
    ],
)
def test_wrong_ones_end_the_message(parameters: bytes) -> None:
    with pytest.raises(Malformed):
        list(decode(with_parameters(parameters), 5))


def test_connections_lie_at_multiples_of_four() -> None:
    with pytest.raises(Malformed):
        list(decode(with_parameters(SEQUENCES + bytes([0x60, 1, 9]), padded=False), 5))


@pytest.mark.parametrize("wrong", [BY_LINUX[:-1], BY_LINUX + b"\0", BY_LINUX[:7], b""])
def test_its_size_is_what_it_says(wrong: bytes) -> None:
    with pytest.raises(Malformed):
        list(decode(wrong, 5))


def test_what_stood_before_a_fault_holds() -> None:
    broken = BY_LINUX[:44] + b"\x02" + BY_LINUX[45:]
    found: list[SyncedConnection] = []
    with pytest.raises(Malformed):
        found.extend(decode(broken, 5))
    assert found == [connection()]


@pytest.mark.parametrize("fault", [{"state": 11}, {"proto": 50}])
def test_a_connection_of_no_known_state_or_protocol_is_skipped(fault: dict[str, int]) -> None:
    raw = message(connection()._replace(**fault), connection())
    assert list(decode(raw, 5)) == [connection()]
