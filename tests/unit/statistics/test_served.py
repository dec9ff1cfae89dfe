# SPDX-License-Identifier: Apache-2.0
"""Rows of frontends that penstock itself answers on."""

from __future__ import annotations

from penstock.sections import Section
from penstock.statistics.rows import HTTP_FRONTEND
from penstock.statistics.served import SERVED, Rate, Tally, served_row

SECTION = Section("s", 3, front=True, back=False, mode="http", rate_limit=9)


def test_a_row_has_what_was_counted() -> None:
    tally = Tally(bytes_in=5)
    for _ in range(3):
        tally.opened(100.5)
        tally.asked(100.5)
    for status in (200, 204, 403, 503, 999):
        tally.answered(status)
    row = served_row(SECTION, tally, limit=10, status="OPEN", now=100.6).as_mapping()
    wanted = {
        **{"pxname": "s", "svname": "FRONTEND", "iid": 3, "type": 0, "mode": "http"},
        **{"scur": 3, "smax": 3, "slim": 10, "stot": 3, "bin": 5, "rate": 3, "rate_lim": 9},
        **{"req_tot": 3, "req_rate": 3, "dreq": 1, "hrsp_2xx": 2, "hrsp_4xx": 1},
        **{"hrsp_5xx": 1, "hrsp_other": 1, "status": "OPEN"},
    }
    assert {name: row[name] for name in wanted} == wanted


def test_it_has_the_fields_of_any_frontend_of_mode_http() -> None:
    def fields(shape: object) -> set[str]:
        nothing = [0] * len(shape.names)  # type: ignore[attr-defined]
        return {field.name for field, _, _ in shape.cells(nothing)}  # type: ignore[attr-defined]

    assert fields(SERVED) == fields(HTTP_FRONTEND)


def test_a_rate_slides_over_a_second() -> None:
    rate = Rate()
    for at in (10.0, 10.2, 10.9, 11.0):
        rate.add(at)
    assert rate.read(11.5) == 1 + 3 // 2
    assert rate.read(12.5) == 0
    assert rate.read(20.0) == 0
    assert rate.most == 3
