# SPDX-License-Identifier: Apache-2.0
"""FIX messages; what is said of each is what HAProxy 2.6.12 does with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.fix import is_valid, tag_number, value


def fields(text: str) -> bytes:
    return text.replace("|", "\x01").encode()


def message(
    version: str = "FIX.4.2",
    body: str = "35=0|49=A|56=B|34=2|52=20260101-00:00:00|",
    *,
    length: int | None = None,
    checksum: str | None = None,
) -> bytes:
    size = len(body) if length is None else length
    data = fields(f"8={version}|9={size}|{body}")
    return data + fields(f"10={sum(data) % 256:03}|" if checksum is None else f"10={checksum}|")


@pytest.mark.parametrize(
    "data",
    [
        message(),
        message() + message(),  # only the first is looked at
        message("FIX.4.0"),
        message("FIXT.1.1", "35=0|1621=x|49=sender|"),
        message("FIX.4.2", "35=0|446=x|15000=by users|"),
        message("FIX.4.2", "35=0|58=a=b|34=2|"),
    ],
)
def test_valid(data: bytes) -> None:
    assert is_valid(data) is True


@pytest.mark.parametrize(
    "data",
    [
        message("FIX.9.9"),
        message("FIX.4.2", "35=0|447=x|49=sender|"),  # a tag of FIX 4.3
        message("FIX.4.2", "35=0|20000=x|49=sender|"),
        message("FIX.4.2", "49=A|35=0|34=2|56=B|"),
        message("FIX.4.2", "35=0|x=y|34=2|56=B|"),
        message("FIX.4.2", "35=0|49=|34=2|56=B|"),
        message("FIX.4.2", "35=0|=a|34=2|56=B|"),
        message("FIX.4.2", "35=0|0=a|34=2|56=B|"),
        message("FIX.4.2", f"35=0|{'1' * 5000}=a|34=2|56=B|"),
        message(length=39),
        message(length=43),
        message(length=0),
        message(checksum="1"),
        message(checksum="0123"),
        message(checksum="abc"),
        fields("9=5|8=FIX.4.2|35=0|34=2|56=B|10=000|"),
        fields("8=FIX.4.2|35=0|9=5|34=2|56=B|10=000|"),
    ],
)
def test_not_valid(data: bytes) -> None:
    assert is_valid(data) is False


@given(st.integers(0, len(message()) - 1))
def test_a_part_of_a_message_tells_nothing_yet(length: int) -> None:
    assert is_valid(message()[:length]) is None


@given(st.binary(max_size=200))
def test_whatever_comes_gets_an_answer(data: bytes) -> None:
    assert is_valid(data) in (True, False, None)
    assert is_valid(fields("8=FIX.4.2|9=5|35=0|34=12345|") + data) in (True, False, None)


def test_values() -> None:
    data = message()
    assert value(data, 49) == b"A"
    assert value(data, 8) == b"FIX.4.2"
    assert value(data, 57) is None  # the checksum has come, and it was not there
    assert value(data[:20], 57) == b""  # it may come
    assert value(b"", 57) == b""
    assert value(fields("8=FIX.4.2|x=3|57=a|"), 57) is None
    assert value(fields("8=|57=a|"), 57) is None


def test_names_of_tags() -> None:
    assert [tag_number(name) for name in ("49", "MsgType", "sendercompid")] == [49, 35, 49]
    assert [tag_number(name) for name in ("0", "-1", "Account", "")] == [None] * 4
