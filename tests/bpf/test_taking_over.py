# SPDX-License-Identifier: Apache-2.0
"""What a start finds pinned: maps are taken over, and programs where they are the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.engine.kernel import loader
from penstock.engine.kernel.loader import Datapath, open_datapath
from penstock.engine.kernel.program_pins import PROGRAMS
from penstock.kernel.bpffs import BPFFS, mount
from penstock.kernel.programs import Program

Change = Callable[[Path, pytest.MonkeyPatch], object]


@pytest.fixture
def pins(built_object: Path) -> Iterator[Path]:
    del built_object
    mount(BPFFS)
    path = BPFFS / f"penstock-taking-over-{os.getpid()}"
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def test_the_same_programs_go_on(pins: Path) -> None:
    adopted, first = _start(pins)
    assert not adopted
    assert _start(pins) == (True, first)


def _other_code(_pins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = loader._csum_ipv6_flag()
    monkeypatch.setattr(loader, "_csum_ipv6_flag", lambda: flag ^ 1 << 7)


def _one_unpinned(pins: Path, _monkeypatch: pytest.MonkeyPatch) -> None:
    (pins / "programs" / "penstock_cut").unlink()


def _pinning_was_cut_short(pins: Path, _monkeypatch: pytest.MonkeyPatch) -> None:
    (pins / "programs" / "digest").unlink()


def _none_pinned(pins: Path, _monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(pins / "programs")


@pytest.mark.parametrize(
    "change", [_other_code, _one_unpinned, _pinning_was_cut_short, _none_pinned]
)
def test_others_are_loaded(pins: Path, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    _, first = _start(pins)
    change(pins, monkeypatch)
    adopted, second = _start(pins)
    assert adopted
    assert not first & second
    assert _start(pins) == (True, second)


def test_programs_of_maps_that_are_gone_do_not_go_on(pins: Path) -> None:
    _, first = _start(pins)
    (pins / "maps" / "flows4").unlink()
    adopted, second = _start(pins)
    assert not adopted
    assert not first & second


def _start(pins: Path) -> tuple[bool, set[int]]:
    """Whether maps were taken over, and the numbers of the programs, which are those pinned."""
    datapath = open_datapath(1024, pins)
    try:
        ids = {program.info().id for program in _programs(datapath)}
        for path in (pins / "programs").glob("penstock_*"):
            with Program.from_pin(path) as pinned:
                assert pinned.info().id in ids
        return datapath.adopted, ids
    finally:
        datapath.close()


def _programs(datapath: Datapath) -> tuple[Program, ...]:
    return tuple(getattr(datapath, name) for name in PROGRAMS)
