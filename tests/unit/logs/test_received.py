# SPDX-License-Identifier: Apache-2.0
"""Log lines of others; what becomes of each is what HAProxy 2.6.12 made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.events import Level
from penstock.logs.dates import Dates
from penstock.logs.heading import Sender
from penstock.logs.model import Descriptor, Facility, Heading, RingBuffer, Sampling, Target
from penstock.logs.outlet import Means
from penstock.logs.received import Received, read
from penstock.logs.relay import Relay
from penstock.logs.relayed import heading_of, relayed_head

_NOW = 1_795_916_570_933_207_000  # 2026-11-28T22:02:50.933207Z… in ns
_DATES = Dates(lambda second: 0)
_HERE = _DATES.iso(_NOW // 10**9, 933207).encode()
_TODAY = _DATES.syslog(_NOW // 10**9).encode()


def passed_on(line: bytes, heading: Heading | None = None) -> bytes:
    received = read(line)
    level = received.level or 0
    facility = Facility.LOCAL0 if received.facility is None else received.facility
    grave = int(facility), level
    head = relayed_head(heading or heading_of(received), received, grave, _DATES, _NOW)
    return head + received.text


@pytest.mark.parametrize(
    ("line", "same", "modern"),
    [
        (
            b"<134>Nov  8 01:02:03 host app[12]: hello",
            b"<134>Nov  8 01:02:03 host app[12]: hello",
            b"<134>1 2026-11-08T01:02:03-00:00 host app 12 - - hello",
        ),
        (
            b"<14>Nov 18 01:02:03 host app: hello",
            b"<14>Nov 18 01:02:03 host app: hello",
            b"<14>1 2026-11-18T01:02:03-00:00 host app - - - hello",
        ),
        (
            b"<13>1 2026-11-28T01:02:03.5Z h t p m - text",
            b"<13>1 2026-11-28T01:02:03.5Z h t p m - text",
            b"<13>1 2026-11-28T01:02:03.5Z h t p m - text",
        ),
        (b"plain", b"plain", b"<128>1 " + _HERE + b" - - - - - plain"),
        (b"<13>plain", b"<13>plain", b"<13>1 " + _HERE + b" - - - - - plain"),
        (
            b"<13>Nov  8 01:02:03 hostonly",
            b"<13>Nov  8 01:02:03 hostonly",
            b"<13>1 " + _HERE + b" - - - - - Nov  8 01:02:03 hostonly",
        ),
        (
            b"<13>Nov  8 01:02:03 h no tag",
            b"<13>Nov  8 01:02:03 h no tag",
            b"<13>1 2026-11-08T01:02:03-00:00 h - - - - no tag",
        ),
        (
            b'<13>1 - - - - - [a b="c"][d e="f\\]"] x',
            b"<13>x",
            b'<13>1 - - - - - [a b="c"][d e="f\\]"] x',
        ),
        (b"<1x>text", b"<1x>text", b"<128>1 " + _HERE + b" - - - - - <1x>text"),
        (b"<13>1 nonsense", b"<13>1 nonsense", b"<13>1 " + _HERE + b" - - - - - 1 nonsense"),
    ],
)
def test_a_line_stays_what_it_is_or_is_put_into_another_format(
    line: bytes, same: bytes, modern: bytes
) -> None:
    assert passed_on(line) == same
    assert passed_on(line, Heading.RFC5424) == modern


@pytest.mark.parametrize(
    ("heading", "made"),
    [
        (Heading.RAW, b"text"),
        (Heading.PRIORITY, b"<30>text"),
        (Heading.SHORT, b"<6>text"),
        (Heading.TIMED, b"<6>2026-02-09T01:02:03Z text"),
        (Heading.ISO, b"2026-02-09T01:02:03Z text"),
        (Heading.LOCAL, b"<30>Feb  9 01:02:03 tag[7]: text"),
        (Heading.RFC3164, b"<30>Feb  9 01:02:03 host tag[7]: text"),
    ],
)
def test_every_format(heading: Heading, made: bytes) -> None:
    assert passed_on(b"<30>1 2026-02-09T01:02:03Z host tag 7 - - text", heading) == made


def test_what_is_not_said_is_ours() -> None:
    assert passed_on(b"text", Heading.RFC3164) == b"<128>" + _TODAY + b" localhost text"
    assert passed_on(b"<30>1 2026-99-09T01:02:03Z h - - - - x", Heading.RFC3164) == (
        b"<30>" + _TODAY + b" h x"
    )
    # A month that has not come yet is one of last year.
    assert passed_on(b"<30>Dec 31 23:59:59 h t: x", Heading.ISO) == b"2025-12-31T23:59:59-00:00 x"


def test_a_priority_without_end_is_text() -> None:
    assert read(b"<" + b"1" * 5000 + b">x").text.endswith(b">x")
    assert read(b"<" + b"1" * 5000 + b">x").level is None


@given(st.binary(max_size=300))
def test_whatever_comes_is_passed_on(line: bytes) -> None:
    for start in (b"", b"<30>", b"<30>1 2026-02-09T01:02:03Z ", b"<30>Nov  8 01:02:03 "):
        assert isinstance(read(start + line), Received)
        passed_on(start + line, Heading.RFC5424)
        passed_on(start + line, Heading.RFC3164)


class _Sent:
    def __init__(self) -> None:
        self.lines: dict[object, list[bytes]] = {}

    def open(self, destination: object) -> object:
        return self.lines.setdefault(destination, []).append


def test_targets_choose() -> None:
    sent = _Sent()
    means = Means(Sender("x", 1, "h"), False, _DATES, sent.open, lambda: _NOW)  # type: ignore[arg-type]
    grave = Target(Descriptor(3), Facility.USER, level=Level.ERR, heading=Heading.SHORT)
    floor = Target(Descriptor(4), Facility.USER, floor=Level.WARNING, heading=Heading.PRIORITY)
    sampled = Target(
        Descriptor(5), Facility.USER, heading=Heading.RAW, sampling=Sampling(((2, 2),), 2)
    )
    short = Target(Descriptor(6), Facility.USER, length=80, heading=Heading.PRIORITY)
    ring = Target(RingBuffer("r", 90), Facility.USER, length=80, heading=Heading.PRIORITY)
    relay = Relay((grave, floor, sampled, short, ring), means)
    for line in (b"<27>" + b"a" * 100, b"<30>b\n", b"c\0\n"):
        relay.pass_on(line)
    lines = sent.lines
    assert lines[Descriptor(3)] == [b"<3>" + b"a" * 100 + b"\n", b"<0>c\n"]
    assert lines[Descriptor(4)] == [b"<28>" + b"a" * 100 + b"\n", b"<30>b\n", b"<12>c\n"]
    assert lines[Descriptor(5)] == [b"b\n"]
    assert lines[Descriptor(6)][0] == b"<27>" + b"a" * 76 + b"\n"
    # An event has no line break, and its heading does not count for the line's own length.
    assert lines[RingBuffer("r", 90)] == [b"<27>" + b"a" * 80, b"<30>b", b"<8>c"]
