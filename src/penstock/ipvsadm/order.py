# SPDX-License-Identifier: Apache-2.0
"""The order of a sorted listing: libipvs' comparison, and the C library's merge sort.

The comparison subtracts unsigned numbers into an int, so that 192.168.0.1 comes before 10.0.0.1,
and is no order at all where addresses are spread over more than half of the circle of 2**32: what
comes out then depends on which pairs the sort happens to compare. So the sort is glibc's own,
unless all differences are small enough for the comparison to be an order; then any stable sort
gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from penstock.ipvs.model import DestRow, ServiceRow
from penstock.ipvsadm.address import words

Item = TypeVar("Item")
Columns = tuple[int, ...]  # compared one after the other

_HALF = 1 << 31
_FULL = 1 << 32


def services(rows: Sequence[ServiceRow]) -> list[ServiceRow]:
    """Services as they are listed: by mark, family, protocol, address and port."""
    return _sorted(rows, [_service_columns(row) for row in rows])


def destinations(rows: Sequence[DestRow]) -> list[DestRow]:
    """Destinations as they are listed: by address and port."""
    if len(rows) < 2:
        return list(rows)
    families = {":" in row.dest.address for row in rows}
    columns = [(*words(row.dest.address), row.dest.port) for row in rows]
    if len(families) == 1:
        return _sorted(rows, columns)
    # The first one's family says how much of both addresses is compared.
    pairs = list(zip([":" in row.dest.address for row in rows], columns, rows, strict=True))
    return [pair[2] for pair in merge_sort(pairs, _mixed)]


def _service_columns(row: ServiceRow) -> Columns:
    key = row.service.key
    return (key.fwmark, key.family, key.proto, *words(key.address or "0.0.0.0"), key.port)  # noqa: S104


def _mixed(a: tuple[bool, Columns, DestRow], b: tuple[bool, Columns, DestRow]) -> int:
    if a[0]:
        return compare(a[1], b[1])
    return compare((a[1][0], a[1][4]), (b[1][0], b[1][4]))


def compare(a: Columns, b: Columns) -> int:
    """What libipvs' comparison returns: the first difference, as an int of 32 bits."""
    for x, y in zip(a, b, strict=True):
        if x != y:
            return ((x - y + _HALF) % _FULL) - _HALF
    return 0


def merge_sort(items: Sequence[Item], order: Callable[[Item, Item], int]) -> list[Item]:
    """glibc's msort: halves, the first the smaller one; of equals the first half's come first."""
    count = len(items)
    if count < 2:
        return list(items)
    middle = count // 2
    left = merge_sort(items[:middle], order)
    right = merge_sort(items[middle:], order)
    merged = []
    i = j = 0
    while i < len(left) and j < len(right):
        if order(left[i], right[j]) <= 0:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]


def _sorted(rows: Sequence[Item], columns: Sequence[Columns]) -> list[Item]:
    if len(rows) < 2:
        return list(rows)
    keys = _keys(columns)
    if keys is None:
        pairs = list(zip(columns, rows, strict=True))
        return [pair[1] for pair in merge_sort(pairs, lambda a, b: compare(a[0], b[0]))]
    # Places break ties, so that rows are never compared.
    return [rows[place] for _, place in sorted(zip(keys, range(len(rows)), strict=True))]


def _keys(columns: Sequence[Columns]) -> list[int] | None:
    """Numbers in the comparison's order, None when it is none.

    Each column lies on a circle; where all of it fits in half of one, the differences are what
    they would be on a line that begins where that half does.
    """
    keys = [0] * len(columns)
    for values in zip(*columns, strict=True):
        column: Sequence[int] = values
        low, high = min(column), max(column)
        if low == high:
            continue
        if high - low >= _HALF:
            start = _start_of_half(column)
            if start is None:
                return None
            column = [(value - start) % _FULL for value in column]
            low, high = 0, max(column)
        width = (high - low).bit_length()
        keys = [key << width | value - low for key, value in zip(keys, column, strict=True)]
    return keys


def _start_of_half(column: Sequence[int]) -> int | None:
    """Where on the circle a half begins that holds all of *column*, None where there is none."""
    values = sorted(set(column))
    for before, after in zip([values[-1] - _FULL, *values[:-1]], values, strict=True):
        if after - before > _HALF:
            return after
    return None
