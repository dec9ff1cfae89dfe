# SPDX-License-Identifier: Apache-2.0
"""The journal gives back what was appended, whatever happens in between."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.ipvs.journal import Journal
from penstock.ipvs.model import AddService, DeleteService, ServiceKey, VirtualService
from penstock.ipvs.records import Record

RECORDS: list[Record] = [
    AddService(VirtualService(ServiceKey(6, "203.0.113.1", port))) for port in range(1, 5)
]
GONE = DeleteService(ServiceKey(6, "203.0.113.1", 1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rules.jsonl"


def read_back(path: Path) -> list[Record]:
    journal = Journal(path, adopt=True)
    try:
        return journal.take()
    finally:
        journal.close()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file grows beyond *size* bytes: the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_records_come_back_in_order(path: Path) -> None:
    journal = Journal(path, adopt=False)
    journal.append(RECORDS[:2])
    journal.append([])
    journal.append(RECORDS[2:])
    # Not closed: its daemon was killed.
    assert read_back(path) == RECORDS
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_datapath_has_no_rules(path: Path) -> None:
    Journal(path, adopt=False).append(RECORDS)
    assert Journal(path, adopt=False).take() == []
    assert not path.exists()


def test_a_torn_line_is_ignored_and_does_not_spoil_the_next(path: Path) -> None:
    Journal(path, adopt=False).append(RECORDS)
    path.write_bytes(path.read_bytes()[:-5])
    journal = Journal(path, adopt=True)
    assert journal.take() == RECORDS[:-1]
    journal.append([GONE])
    assert read_back(path) == [*RECORDS[:-1], GONE]


def test_a_line_of_another_version_is_left_out(path: Path) -> None:
    Journal(path, adopt=False).append(RECORDS[:1])
    with path.open("ab") as file:
        file.write(b'["from-the-future",1]\n')
    assert read_back(path) == RECORDS[:1]


def test_what_cannot_be_written_is_not_in_the_file(path: Path) -> None:
    journal = Journal(path, adopt=False)
    journal.append(RECORDS[:1])
    size = path.stat().st_size
    with file_size_limit(size + 20), pytest.raises(PenstockError, match="cannot write"):
        journal.append(RECORDS[1:])
    assert path.stat().st_size == size
    journal.append([GONE])
    assert read_back(path) == [RECORDS[0], GONE]


def test_what_is_retracted_is_not_in_the_file(path: Path) -> None:
    journal = Journal(path, adopt=False)
    journal.retract(journal.mark())
    journal.append(RECORDS[:1])
    mark = journal.mark()
    journal.append(RECORDS[1:3])
    journal.append(RECORDS[3:])
    journal.retract(mark)
    journal.append([GONE])
    assert read_back(path) == [RECORDS[0], GONE]


def test_a_rewritten_journal_holds_just_that(path: Path) -> None:
    journal = Journal(path, adopt=False)
    for _ in range(600):
        journal.append(RECORDS)
    assert journal.outgrown(4)
    assert not journal.outgrown(1000)
    journal.rewrite(RECORDS[:1])
    assert not journal.outgrown(1)
    journal.append([GONE])
    assert read_back(path) == [RECORDS[0], GONE]
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_journal_that_cannot_be_rewritten_stays(path: Path) -> None:
    journal = Journal(path, adopt=False)
    journal.append(RECORDS)
    path.with_suffix(".new").mkdir()
    journal.rewrite(RECORDS[:1])
    journal.append([GONE])
    assert read_back(path) == [*RECORDS, GONE]
