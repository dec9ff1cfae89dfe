# SPDX-License-Identifier: Apache-2.0
"""The quick way to pack a struct comes to the same bytes as the careful one."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.kernel.packer import packer
from penstock.errors import DatapathError
from penstock.kernel.btf import Field, Layout

INNER = Layout("inner", 8, {"one": Field("one", 0, 8)})
LAYOUT = Layout(
    "thing",
    48,
    {
        field.name: field
        for field in (
            Field("words", 0, 16, count=4, wire=True),
            Field("port", 16, 2, wire=True),
            Field("small", 18, 1),
            Field("pair", 20, 2),
            Field("number", 24, 4),
            Field("big", 32, 8),
            Field("inside", 40, 8, nested=INNER),
        )
    },
)
VALUES: dict[str, st.SearchStrategy[int | bytes]] = {
    "words": st.binary(max_size=16),
    "port": st.binary(min_size=2, max_size=2),
    "small": st.integers(0, 0xFF),
    "pair": st.integers(0, 0xFFFF),
    "number": st.integers(0, 0xFFFFFFFF),
    "big": st.integers(0, (1 << 64) - 1),
    "inside": st.binary(max_size=8),
}


@given(st.data(), st.lists(st.sampled_from(sorted(VALUES)), unique=True, min_size=1))
def test_any_fields_in_any_order(data: st.DataObject, names: list[str]) -> None:
    values = {name: data.draw(VALUES[name]) for name in names}
    packed = packer(LAYOUT, *names)(*values.values())
    assert packed == LAYOUT.pack(**values)
    assert len(packed) == LAYOUT.size


@pytest.mark.parametrize(("name", "value"), [("small", 256), ("number", -1), ("big", 1 << 64)])
def test_what_does_not_fit_is_refused(name: str, value: int) -> None:
    with pytest.raises(struct.error):
        packer(LAYOUT, name)(value)


def test_a_field_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(DatapathError, match="no field absent"):
        packer(LAYOUT, "absent")
