# SPDX-License-Identifier: Apache-2.0
"""The reading end of a ring buffer, against a program that writes to it."""

from __future__ import annotations

import select
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.errors import DatapathError
from penstock.kernel.maps import ArrayMap, Map
from penstock.kernel.objects import ObjectFile
from penstock.kernel.programs import Program
from penstock.kernel.ringbuf import RingBuffer

pytestmark = pytest.mark.root

RECORD = 8 + 24  # 20 bytes, rounded up, behind their header
NO_WAKEUP, FORCE_WAKEUP = 1, 2
MANY = 1 << 30


class Ring:
    """A program that writes, and what reads."""

    def __init__(self, program: Program, ring: RingBuffer) -> None:
        self.program = program
        self.ring = ring

    def write(self, first: int, records: int, *, discarded: int = 0, flags: int = 1) -> int:
        """How many had no room."""
        order = struct.pack("5I", records, first, discarded, flags, 0)
        return int(struct.unpack("5I", self.program.run_syscall(order)[1])[4])

    def read(self, most: int = MANY) -> list[int]:
        found = []
        for raw in self.ring.read(most):
            number, *zeros, inverted = struct.unpack("5I", raw)
            assert zeros == [0, 0, 0]
            assert inverted == number ^ 0xFFFFFFFF
            found.append(number)
        return found


@pytest.fixture
def ring(compile_bpf: Callable[[Path], Path]) -> Iterator[Ring]:
    with ObjectFile(compile_bpf(Path(__file__).parent / "kernel_layer.bpf.c")) as opened:
        opened.skip_program("careless")
        opened.load()
        with opened.program("on_ring") as program, opened.map("ring", RingBuffer) as found:
            yield Ring(program, found)


def test_records_come_in_order_and_once(ring: Ring) -> None:
    assert ring.read() == []
    assert ring.write(100, 3) == 0
    assert ring.ring.waiting() == 3 * RECORD
    assert ring.read() == [100, 101, 102]
    assert ring.read() == []
    assert ring.ring.waiting() == 0


def test_it_goes_round(ring: Ring) -> None:
    """Record by record over the end many times, so that each place is cut once."""
    number = 0
    for _ in range(20):
        assert ring.write(number, 101) == 0
        assert ring.read() == list(range(number, number + 101))
        number += 101
    assert number * RECORD > 10 * 4096


def test_a_part_may_be_read_first(ring: Ring) -> None:
    ring.write(1, 5)
    assert ring.read(2) == [1, 2]
    ring.write(6, 1)
    assert ring.read(2) == [3, 4]
    assert ring.read() == [5, 6]


def test_what_was_discarded_is_not_seen(ring: Ring) -> None:
    ring.write(7, 3, discarded=1)
    assert ring.ring.waiting() > 3 * RECORD
    assert ring.read(2) == [7, 8]
    assert ring.read() == [9]
    assert ring.ring.waiting() == 0


def test_a_full_ring_takes_no_more_until_it_is_read(ring: Ring) -> None:
    assert ring.write(0, 200) == 200 - 127  # one header's room is never used
    assert ring.read(1) == [0]
    assert ring.write(500, 1) == 0
    assert ring.read() == [*range(1, 127), 500]


def test_what_is_skipped_is_gone(ring: Ring) -> None:
    ring.write(1, 9)
    ring.ring.skip()
    ring.write(50, 1)
    assert ring.read() == [50]


def test_a_second_reader_goes_on_where_the_first_was(ring: Ring) -> None:
    ring.write(1, 3)
    assert ring.read(1) == [1]
    with RingBuffer.duplicate(ring.ring.fd) as other:
        assert Ring(ring.program, other).read() == [2, 3]


def test_a_program_decides_who_is_woken(ring: Ring) -> None:
    with select.epoll() as epoll:
        epoll.register(ring.ring.fd, select.EPOLLIN | select.EPOLLET)
        assert epoll.poll(0) == []
        ring.write(1, 3, flags=NO_WAKEUP)
        assert epoll.poll(0) == []
        ring.write(4, 1, flags=FORCE_WAKEUP)
        assert [fd for fd, _ in epoll.poll(5)] == [ring.ring.fd]
        assert ring.read() == [1, 2, 3, 4]


def test_only_a_ring_is_one(compile_bpf: Callable[[Path], Path]) -> None:
    with ObjectFile(compile_bpf(Path(__file__).parent / "kernel_layer.bpf.c")) as opened:
        opened.skip_program("careless")
        opened.load()
        with pytest.raises(DatapathError, match="map into memory the map counters"):
            opened.map("counters", RingBuffer)
        with opened.map("ring", Map) as ring, pytest.raises(DatapathError):
            ArrayMap.duplicate(ring.fd)
