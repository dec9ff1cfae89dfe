# SPDX-License-Identifier: Apache-2.0
"""Struct layouts as ``struct.Struct``: for elements that are written by the hundred thousand."""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable

from penstock.kernel.btf import Layout

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def unpacker(layout: Layout, *names: str) -> Callable[[bytes], tuple[int, ...]]:
    """A function of the struct's bytes to the values of *names*: numbers in host order."""
    fields = sorted((layout.field(name) for name in names), key=lambda field: field.offset)
    form, at = "=", 0
    for field in fields:
        form += f"{field.offset - at}x{_CODES[field.size]}"
        at = field.offset + field.size
    unpack = struct.Struct(f"{form}{layout.size - at}x").unpack
    order = [[field.name for field in fields].index(name) for name in names]
    if order == list(range(len(names))):
        return unpack
    pick = operator.itemgetter(*order)
    return lambda data: pick(unpack(data))


def packer(layout: Layout, *names: str) -> Callable[..., bytes]:
    """A function of the values of *names*, in order, to the struct's bytes; zeros elsewhere.

    Numbers are taken in host order; arrays, and what is in network order, as bytes.
    """
    fields = sorted((layout.field(name) for name in names), key=lambda field: field.offset)
    form, at = "=", 0
    for field in fields:
        number = not (field.count or field.wire or field.nested)
        form += f"{field.offset - at}x" + (_CODES[field.size] if number else f"{field.size}s")
        at = field.offset + field.size
    pack = struct.Struct(f"{form}{layout.size - at}x").pack
    order = [names.index(field.name) for field in fields]
    if order == list(range(len(names))):
        return pack
    return lambda *values: pack(*(values[index] for index in order))
