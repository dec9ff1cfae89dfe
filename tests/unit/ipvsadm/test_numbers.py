# SPDX-License-Identifier: Apache-2.0
"""Numbers as the C library reads them, which is asked where it is at hand."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ipvsadm.numbers import leading_number, number

_C = ctypes.CDLL(None, use_errno=True)
_C.strtol.restype = ctypes.c_long
_C.strtol.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int]
_C.atoi.argtypes = [ctypes.c_char_p]

numeric_texts = st.text(alphabet="0123456789+- \t\nx.", max_size=24)


@given(numeric_texts)
def test_a_number_is_what_strtol_says(text: str) -> None:
    raw, end = ctypes.create_string_buffer(text.encode()), ctypes.c_char_p()
    value = _C.strtol(ctypes.cast(raw, ctypes.c_char_p), ctypes.byref(end), 10)
    whole = not end.value and ctypes.cast(end, ctypes.c_void_p).value != ctypes.addressof(raw)
    in_range = whole and 0 <= value <= 2**32 - 1
    assert number(text, 0, 2**32 - 1) == (value if in_range else None)


@given(numeric_texts)
def test_a_leading_number_is_what_atoi_says(text: str) -> None:
    assert leading_number(text) == _C.atoi(text.encode())


@pytest.mark.parametrize("text", ["٣", "²", "1_0", "0x10", "", " ", "+", "1 "])
def test_other_digits_are_none(text: str) -> None:
    assert number(text, 0, 100) is None


def test_a_very_long_number_is_read() -> None:
    assert number("0" * 5000 + "7", 0, 9) == 7
    assert number("9" * 5000, 0, 2**62) is None
    assert leading_number("9" * 5000) == -1  # LONG_MAX, of which an int keeps the lower half
