# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stick import peers_entries as entries
from penstock.stick import peers_wire as wire
from penstock.stick.data import DATA_TYPES, Kind
from penstock.stick.model import Key, KeyType, Stored, TableSpec
from penstock.stick.peers_wire import Reader, WireError
from penstock.stick.table import Value, layout

_NUMBERS = st.integers(0, (1 << 64) - 1) | st.integers(0, 300) | st.integers(2200, 2400)
_WORDS = st.integers(0, 0xFFFFFFFF)
_NOW = 50_000_000_000


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, "00"),
        (239, "ef"),
        (240, "f000"),
        (0x1234, "f49401"),  # the example of doc/peers.txt
        (2287, "ff7f"),
        (2288, "f08000"),
        (264431, "ffff7f"),
        (264432, "f0808000"),
    ],
)
def test_numbers_as_haproxy_writes_them(value: int, data: str) -> None:
    assert wire.encode(value).hex() == data
    assert Reader(bytes.fromhex(data)).number() == value


@given(_NUMBERS)
def test_numbers(value: int) -> None:
    data = wire.encode(value)
    reader = Reader(data + b"x")
    assert reader.number() == value
    assert reader.left == 1
    for cut in range(len(data)):
        with pytest.raises(WireError):
            Reader(data[:cut]).number()


def test_a_negative_number_is_its_complement() -> None:
    assert Reader(wire.encode(-1)).number() == (1 << 64) - 1


@st.composite
def _specs(draw: st.DrawFn) -> TableSpec:
    names = draw(st.lists(st.sampled_from(sorted(DATA_TYPES)), unique=True, max_size=8))
    stored = tuple(
        Stored(
            name,
            draw(st.integers(1, 1 << 31)) if DATA_TYPES[name].kind is Kind.RATE else 0,
            draw(st.integers(1, 5)) if DATA_TYPES[name].array else 1,
        )
        for name in names
    )
    return TableSpec(
        draw(st.sampled_from(["t", "some.table", "section/t"])),
        draw(st.sampled_from(KeyType)),
        100,
        key_length=draw(st.integers(0, 300)),
        expire=draw(st.none() | st.integers(1, 1 << 31)),
        stored=stored,
    )


@given(_specs(), st.integers(1, 500))
def test_definitions(spec: TableSpec, number: int) -> None:
    found = wire.read_message(wire.define(number, spec))
    assert found is not None
    definition = wire.read_definition(found[0].body)
    assert definition == wire.Definition(
        number,
        spec.wire_name,
        spec.key,
        spec.key_size,
        tuple(stored for stored, _ in layout(spec)),
        spec.expire or 0,
    )
    assert definition.layout == layout(spec)


@given(_specs(), st.data())
def test_entries(spec: TableSpec, data: st.DataObject) -> None:
    keys: st.SearchStrategy[Key] = st.integers(0, (1 << spec.key_size * 8) - 1)
    if spec.key is KeyType.STRING:
        keys = st.binary(max_size=spec.key_size - 1)
    elif spec.key is KeyType.BINARY:
        keys = st.binary(min_size=spec.key_size, max_size=spec.key_size)
    elif spec.key is KeyType.IPV6:
        keys = st.integers(0, (1 << 128) - 1)
    sent, heard = entries.SentTexts(), entries.HeardTexts()
    # Several entries in a row: the second time a text is only a number.
    for _ in range(data.draw(st.integers(1, 4))):
        key = data.draw(keys)
        values: list[tuple[Value, ...]] = []
        for stored, kind in layout(spec):
            size = stored.size if kind.array else 1
            if kind.kind is Kind.TEXT:
                values.append((data.draw(st.none() | st.sampled_from(["", "a", "ä", "b" * 300])),))
            elif kind.kind is Kind.RATE:
                rates: list[Value] = []
                for _ in range(size):
                    began = _NOW - data.draw(_WORDS)
                    rates += (began, data.draw(_WORDS), data.draw(_WORDS))
                values.append(tuple(rates))
            else:
                top = (1 << kind.bits) - 1
                values.append(tuple(data.draw(st.integers(0, top)) for _ in range(size)))
        body = entries.encode_key(spec, key) + entries.encode_values(
            layout(spec), values, sent, _NOW
        )
        reader = Reader(body)
        assert entries.read_key(reader, spec) == key
        said = entries.read_values(reader, layout(spec), heard, _NOW)
        assert not reader.left
        assert [said[kind.name] for _, kind in layout(spec)] == [
            None if one == (None,) else one for one in values
        ]


def test_texts_beyond_what_is_remembered() -> None:
    sent, heard = entries.SentTexts(), entries.HeardTexts()
    for turn in range(2):
        for number in range(300):
            data = sent.encode(f"server{number}")
            assert heard.read(Reader(data)) == f"server{number}", turn
    assert len(sent.encode("server299")) == 2


@given(st.none() | _WORDS, st.none() | _WORDS, st.binary(max_size=400))
def test_updates(number: int | None, remaining: int | None, body: bytes) -> None:
    data = wire.update(body, number=number, remaining=remaining)
    for cut in range(len(data)):
        assert wire.read_message(data[:cut]) is None
    found = wire.read_message(b"\0\4" + data + b"tail", 2)
    assert found is not None
    message, end = found
    assert end == len(data) + 2
    reader = Reader(message.body)
    timed = message.kind in (wire.Kinds.UPDATE_TIMED, wire.Kinds.INCREMENTAL_TIMED)
    numbered = message.kind in (wire.Kinds.UPDATE, wire.Kinds.UPDATE_TIMED)
    assert (reader.word() if numbered else None) == number
    assert (reader.word() if timed else None) == remaining
    assert reader.take(reader.left) == body


def test_short_messages_have_no_length() -> None:
    assert wire.read_message(wire.control(wire.Control.HEARTBEAT) + b"\x0a") == (
        wire.Message(0, 4),
        2,
    )


def test_a_message_beyond_any_buffer_is_refused() -> None:
    with pytest.raises(wire.Oversized):
        wire.read_message(b"\x0a\x80" + wire.encode(1 << 20))
    with pytest.raises(WireError):
        wire.read_message(b"\x0a\x80\xff\xff\xff\xff\xff")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01\x05ab",
        b"\x01\x01t\x04\x04" + wire.encode(1 << 5) + b"\0\x06\x0a",  # a period of another type
        b"\x01\x01t\x04\x04" + wire.encode(1 << 23),  # an array without size
    ],
)
def test_definitions_that_make_no_sense(body: bytes) -> None:
    with pytest.raises(WireError):
        wire.read_definition(body)


def test_data_of_later_versions_come_behind_ours() -> None:
    body = b"\x01\x01t\x04\x04" + wire.encode(1 << 26 | 1 << 5) + b"\0\x05\x0a\x1a\x0a"
    assert wire.read_definition(body).stored == (Stored("conn_rate", 10),)


def test_a_definition_of_protocol_2_0_has_no_periods() -> None:
    definition = wire.read_definition(b"\x01\x01t\x04\x04" + wire.encode(1 << 5 | 1 << 4))
    assert [one.name for one in definition.stored] == ["conn_cnt", "conn_rate"]


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for read in (wire.read_definition, wire.read_message):
        try:
            read(body)
        except WireError:
            continue
