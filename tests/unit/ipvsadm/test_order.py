# SPDX-License-Identifier: Apache-2.0
"""The order of listings, against the literal comparison and merge sort."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ipvs.model import Destination, DestRow, ServiceKey, ServiceRow, VirtualService
from penstock.ipvsadm import order
from penstock.ipvsadm.address import words

# Near the places where a difference of 32 bits overflows, and anywhere.
numbers = st.one_of(
    st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 0x0A000001, 0xC0A80001]),
    st.integers(0, 2**32 - 1),
)
v4 = numbers.map(lambda n: str(ipaddress.IPv4Address(n)))
v6 = st.tuples(numbers, numbers, numbers, numbers).map(
    lambda w: str(ipaddress.IPv6Address(w[0] << 96 | w[1] << 64 | w[2] << 32 | w[3]))
)
ports = st.sampled_from([0, 80, 443, 65535])


def dests(addresses: st.SearchStrategy[str]) -> st.SearchStrategy[list[DestRow]]:
    row = st.builds(lambda a, p: DestRow(Destination(a, p)), addresses, ports)
    return st.lists(row, max_size=24)


def literal(a: DestRow, b: DestRow) -> int:
    """libipvs' comparison of destinations, a difference at a time."""
    x, y = words(a.dest.address), words(b.dest.address)
    if ":" not in a.dest.address:
        x, y = (x[0], 0, 0, 0), (y[0], 0, 0, 0)
    for m, n in zip((*x, a.dest.port), (*y, b.dest.port), strict=True):
        difference = (m - n) & 0xFFFFFFFF
        if difference:
            return difference - 2**32 if difference & 0x80000000 else difference
    return 0


@given(st.one_of(dests(v4), dests(v6), dests(st.one_of(v4, v6))))
def test_destinations_come_as_from_the_literal_sort(rows: list[DestRow]) -> None:
    assert order.destinations(rows) == order.merge_sort(rows, literal)


@given(st.lists(st.integers(), max_size=40))
def test_the_merge_sort_sorts(values: list[int]) -> None:
    assert order.merge_sort(values, lambda a, b: a - b) == sorted(values)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers()), max_size=40))
def test_the_merge_sort_is_stable(pairs: list[tuple[int, int]]) -> None:
    by_first = order.merge_sort(pairs, lambda a, b: a[0] - b[0])
    assert by_first == sorted(pairs, key=lambda pair: pair[0])


keys = st.one_of(
    st.builds(ServiceKey, st.sampled_from([6, 17, 132]), v4, ports),
    st.builds(lambda p, a, port: ServiceKey(p, a, port, 0, 6), st.sampled_from([6, 17]), v6, ports),
    st.builds(lambda m, f: ServiceKey(fwmark=m or 1, family=f), numbers, st.sampled_from([4, 6])),
)


@given(st.lists(keys.map(lambda key: ServiceRow(VirtualService(key))), max_size=24))
def test_services_come_as_from_the_literal_sort(rows: list[ServiceRow]) -> None:
    def columns(row: ServiceRow) -> tuple[int, ...]:
        key = row.service.key
        place = words(key.address) if key.address else (0, 0, 0, 0)
        return (key.fwmark, key.family, key.proto, *place, key.port)

    expected = order.merge_sort(rows, lambda a, b: order.compare(columns(a), columns(b)))
    assert order.services(rows) == expected


@pytest.mark.parametrize(
    ("listed", "kernel"),
    [
        ("172.20.0.1 192.168.9.9 10.4.4.4", "10.4.4.4 192.168.9.9 172.20.0.1"),
        ("192.0.2.1 198.51.100.1 9.9.9.9", "9.9.9.9 198.51.100.1 192.0.2.1"),
        ("10.0.0.1 10.0.0.2 120.0.0.1", "120.0.0.1 10.0.0.2 10.0.0.1"),
    ],
)
def test_high_addresses_come_before_low_ones(listed: str, kernel: str) -> None:
    rows = [DestRow(Destination(address, 80)) for address in kernel.split()]
    assert [row.dest.address for row in order.destinations(rows)] == listed.split()


def test_marks_come_after_addresses_and_families_apart() -> None:
    rows = [
        ServiceRow(VirtualService(key))
        for key in (
            ServiceKey(fwmark=3, family=6),
            ServiceKey(fwmark=3),
            ServiceKey(6, "2001:db8::1", 80, 0, 6),
            ServiceKey(17, "192.0.2.1", 53),
            ServiceKey(6, "192.0.2.1", 80),
        )
    ]
    assert order.services(rows) == rows[::-1]
