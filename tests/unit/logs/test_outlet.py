# SPDX-License-Identifier: Apache-2.0
"""Lines get to the targets that want them, under the headings that HAProxy gives them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_logs import NOW, SECOND, TARGET, Post

from penstock.events import Level
from penstock.logs.dates import Dates
from penstock.logs.model import Facility, Heading, Journal, Naming, Sampling, SyslogSocket, Target
from penstock.logs.outlet import Outlet

# As HAProxy 2.6 writes them: without log-send-hostname, and with it.
HEADINGS = [
    (None, "<134>Nov 28 17:44:56 penstock[4711]: ", "<134>Nov 28 17:44:56 vm penstock[4711]: "),
    (
        Heading.LOCAL,
        "<134>Nov 28 17:44:56 penstock[4711]: ",
        "<134>Nov 28 17:44:56 penstock[4711]: ",
    ),
    (
        Heading.RFC3164,
        "<134>Nov 28 17:44:56 localhost penstock[4711]: ",
        "<134>Nov 28 17:44:56 vm penstock[4711]: ",
    ),
    (
        Heading.RFC5424,
        "<134>1 2026-11-28T17:44:56.568353+00:00 - penstock 4711 - - ",
        "<134>1 2026-11-28T17:44:56.568353+00:00 vm penstock 4711 - - ",
    ),
    (Heading.PRIORITY, "<134>", "<134>"),
    (Heading.SHORT, "<6>", "<6>"),
    (Heading.TIMED, *["<6>2026-11-28T17:44:56.568353+00:00 "] * 2),
    (Heading.ISO, *["2026-11-28T17:44:56.568353+00:00 "] * 2),
    (Heading.RAW, "", ""),
]


@pytest.mark.parametrize(("heading", "plain", "named"), HEADINGS)
def test_headings(heading: Heading | None, plain: str, named: str) -> None:
    post = Post()
    journal = Journal((replace(TARGET, heading=heading),))
    Outlet(journal, post.means()).write(6, "text")
    Outlet(journal, post.means(send_hostname=True)).write(6, "text")
    assert post.texts == [f"{plain}text\n".encode(), f"{named}text\n".encode()]


def test_structured_data_are_for_rfc_5424_alone() -> None:
    post = Post()
    targets = tuple(replace(TARGET, heading=one) for one in (Heading.RFC5424, Heading.SHORT))
    Outlet(Journal(targets), post.means()).write(6, "text", b"[x@1 a=1] ")
    first, second = post.texts
    assert first.endswith(b"4711 - [x@1 a=1] text\n")
    assert second == b"<6>text\n"


def test_tags_and_names_of_the_configuration() -> None:
    post = Post()
    means = post.means().named(Naming("lb", send_hostname=True, hostname="edge"))
    Outlet(Journal((TARGET,)), means).write(6, "x")
    Outlet(Journal((TARGET,), tag="fe"), means).write(6, "x")
    assert post.texts == [
        b"<134>Nov 28 17:44:56 edge lb[4711]: x\n",
        b"<134>Nov 28 17:44:56 edge fe[4711]: x\n",
    ]


def test_levels_are_filtered_and_capped() -> None:
    post = Post()
    targets = (
        Target(SyslogSocket("/a"), Facility.LOCAL0, Level.NOTICE),
        Target(SyslogSocket("/b"), Facility.LOCAL0, Level.DEBUG, floor=Level.ERR),
    )
    outlet = Outlet(Journal(targets), post.means())
    outlet.write(Level.INFO, "info")
    outlet.write(Level.EMERG, "emerg")
    got = [(to.name, line[:5]) for to, line in post.lines if isinstance(to, SyslogSocket)]
    assert got == [("/b", b"<134>"), ("/a", b"<128>"), ("/b", b"<131>")]


def test_a_line_is_cut_to_its_length_with_its_end() -> None:
    post = Post()
    Outlet(Journal((replace(TARGET, length=80),)), post.means()).write(6, "x" * 200)
    (line,) = post.texts
    assert len(line) == 80
    assert line.endswith(b"xx\n")


def test_a_sample_takes_its_places_in_turn() -> None:
    post = Post()
    target = replace(TARGET, sampling=Sampling(((1, 1), (3, 4)), 5), heading=Heading.RAW)
    outlet = Outlet(Journal((target,)), post.means())
    for number in range(1, 11):
        outlet.write(6, str(number))
    assert post.texts == [b"1\n", b"3\n", b"4\n", b"6\n", b"8\n", b"9\n"]


@given(st.sets(st.integers(1, 30), min_size=1), st.integers(0, 5), st.integers(1, 4))
def test_a_sample_takes_as_many_as_it_names(places: set[int], more: int, turns: int) -> None:
    size = max(places) + more
    ranges = tuple((place, place) for place in sorted(places))
    post = Post()
    outlet = Outlet(Journal((replace(TARGET, sampling=Sampling(ranges, size)),)), post.means())
    for _ in range(size * turns):
        outlet.write(6, "x")
    assert len(post.lines) == len(places) * turns


def test_dates_of_local_time() -> None:
    dates = Dates(lambda second: -9000)
    assert dates.logged(SECOND) == "28/Nov/2026:15:14:56"
    assert dates.local(SECOND) == "28/Nov/2026:15:14:56 -0230"
    assert dates.gmt(SECOND) == "28/Nov/2026:17:44:56 +0000"
    assert dates.syslog(SECOND - 20 * 86400) == "Nov  8 15:14:56"
    assert dates.iso(SECOND, NOW % 10**9 // 1000) == "2026-11-28T15:14:56.568353-02:30"
