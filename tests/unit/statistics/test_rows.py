# SPDX-License-Identifier: Apache-2.0
"""Rows of servers are made of columns: they are what each row by itself would be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_rig import Rig
from unit_runtime import ask, configuration_of, runtime_of, terminal_of

from penstock.engine.figures import Figure
from penstock.runtime_api.context import Context, Runtime, Session
from penstock.runtime_sockets import AccessLevel
from penstock.statistics.rows import Selected, csv, rows
from penstock.statistics.shapes import Column, Kind, Same, Shape, Value, csv_header
from penstock.statistics.view import View

MANY = 450  # servers of one pool: more than are made in one go
CONFIGURATION = """
defaults
    mode tcp
listen plain
    bind 127.0.0.1:29741
    server a 10.0.0.1:80 check slowstart 60s weight 7
    server b 10.0.0.2:80 check observe layer4 inter 1s
    server c 10.0.0.3:0 check port 80 agent-check agent-port 99
    server d [fe80::1]:+4 track c
    server e /tmp/e.sock backup maxconn 4
    server f 10.0.0.6:80 disabled
backend web
    mode http
    server a 10.0.1.1:80 check
    server b 10.0.1.2:80
backend none
backend off
    disabled
    server a 10.0.2.1:80
backend spares
    server a 10.0.3.1:80 backup weight 3
    server b 10.0.3.2:80 backup weight 4
"""
LARGE = "backend large\n" + "".join(
    f"    server s{number} 10.1.{number >> 8}.{number & 255}:80\n" for number in range(MANY)
)
CHANGES = (
    "set server plain/a health down",
    "set server plain/b state drain",
    "set server plain/c state maint",
    "set weight spares/a 0",
    "set server large/s7 state maint",
    "set server large/s300 weight 9",
)
TEXTS = st.text(alphabet='ab,"\n\r% {}', max_size=6)
SHAPE = Shape(Kind.SERVER, "svname stot last_chk scur status", {"eint": "100%s", "slim": None})
VALUES = st.one_of(st.none(), st.integers(-1, 1 << 64), TEXTS)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, dict[str, Column]]:
    """A number of rows, and the columns of their fields."""
    count = draw(st.integers(1, 4))
    column = st.one_of(st.builds(Same, VALUES), st.lists(VALUES, min_size=count, max_size=count))
    return count, {name: draw(column) for name in SHAPE.names}


def value_at(column: Column, place: int) -> Value:
    return column.value if isinstance(column, Same) else column[place]


@given(tables())
def test_lines_of_many_are_those_of_each(table: tuple[int, dict[str, Column]]) -> None:
    count, columns = table
    each = [tuple(value_at(columns[name], place) for name in SHAPE.names) for place in range(count)]
    assert list(SHAPE.values(columns, count)) == each
    assert list(SHAPE.lines(columns, count)) == [SHAPE.csv(values) for values in each]


def test_a_line_in_which_nothing_varies() -> None:
    columns: dict[str, Column] = dict.fromkeys(SHAPE.names, Same("%s"))
    line = SHAPE.csv(["%s"] * len(SHAPE.names))
    assert list(SHAPE.lines(columns, 2)) == [line, line]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    rig = Rig(configuration_of(CONFIGURATION + LARGE), tmp_path)
    runtime = runtime_of(rig.controller, engines=[rig.engine], clock=rig.clock)
    for at, key in enumerate(rig.engine.reals):
        rig.engine.figures |= {(key, figure): (at * figure) % 11 for figure in Figure}
        rig.engine.conns[key] = at % 3
    runtime.collector.tick()
    terminal = terminal_of(runtime)
    for line in CHANGES:
        ask(terminal, line)
        terminal = terminal_of(runtime)
    rig.clock.now += 7
    return runtime


def view_of(runtime: Runtime) -> View:
    return Context(runtime, Session(AccessLevel.ADMIN)).view()


SELECTED = (
    Selected(),
    Selected(legends=False),
    Selected(usable_only=True),
    Selected(in_service_only=True),
    Selected(kinds=4),
    Selected(kinds=2),
    Selected(id=2),
)


@pytest.mark.parametrize("selected", SELECTED)
def test_a_table_is_the_lines_of_its_rows(runtime: Runtime, selected: Selected) -> None:
    view = view_of(runtime)
    lines = [row.csv() for row in rows(view, selected)]
    assert "".join(csv(view, selected)) == csv_header() + "".join(lines)


def test_rows_are_in_their_order_however_many_are_made_at_once(runtime: Runtime) -> None:
    found = [row.as_mapping() for row in rows(view_of(runtime), Selected())]
    assert [(row["pxname"], row["svname"]) for row in found] == [
        *(("plain", name) for name in ("FRONTEND", *"abcdef", "BACKEND")),
        *(("web", name) for name in (*"ab", "BACKEND")),
        ("none", "BACKEND"),
        *(("spares", name) for name in (*"ab", "BACKEND")),
        *(("large", f"s{number}") for number in range(MANY)),
        ("large", "BACKEND"),
    ]


def test_what_a_backend_sums_up(runtime: Runtime) -> None:
    found = {
        row["pxname"]: row
        for row in (row.as_mapping() for row in rows(view_of(runtime), Selected(kinds=2)))
    }
    large = found["large"]
    servers = [row.as_mapping() for row in rows(view_of(runtime), Selected(kinds=4))]
    mine = [row for row in servers if row["pxname"] == "large"]
    assert large["connect"] == sum(int(row["connect"] or 0) for row in mine)
    assert (large["weight"], large["act"]) == (MANY - 2 + 9, MANY - 1)
    assert (found["spares"]["weight"], found["spares"]["bck"]) == (4, 1)


def test_a_server_that_is_deleted_meanwhile_is_left_out(runtime: Runtime, tmp_path: Path) -> None:
    """A long answer is made between other events."""
    pieces = csv(view_of(runtime), Selected(kinds=4))
    begun = next(pieces) + next(pieces)
    other = Rig(configuration_of(CONFIGURATION), tmp_path / "other")
    runtime.controller.states = other.controller.states
    rest = "".join(pieces)
    assert "large,s0," in begun
    assert "large,s449," not in rest


def test_states_and_numbers_of_many_are_those_of_each(runtime: Runtime) -> None:
    controller, view = runtime.controller, view_of(runtime)
    for section in view.sections:
        pool = view.pools.get(section.name)
        if pool is None or pool.disabled:
            continue
        seen = view.servers(section, pool, 0, len(pool.reals))
        for at, name in enumerate(one.name for one in seen.members):
            standing, key = controller.states.server(name), controller.states.key(name)
            assert (
                *(seen.operational[at], seen.admin[at], seen.last_change[at]),
                *(seen.downtime[at], seen.downs[at], seen.usable[at]),
            ) == (
                *(standing.operational, int(standing.admin), standing.last_change),
                *(standing.downtime, standing.downs, standing.is_usable),
            )
            assert seen.counted.one(at) == view.reading.server(name, key)
            check = controller.check_status(key) if key is not None else None
            assert seen.checks[at] == (check if check is not None and check.enabled else None)
