# SPDX-License-Identifier: Apache-2.0
"""What operators set outlives the daemon and not the datapath."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from unit_building import real

from penstock.control.desired import Override
from penstock.control.edits import Added, Edits, FrontEdit, FrontState
from penstock.control.overrides import OverrideStore, SavedServer
from penstock.errors import PenstockError
from penstock.model import AdminState, PortMode, RealPort
from penstock.proxied import Link, ProcessRates

NAMES = st.sampled_from(["a", "b", "c.d", "e:1"])
OVERRIDES = st.builds(
    Override,
    weight=st.none() | st.integers(0, 256),
    admin=st.none() | st.sampled_from(AdminState),
    address=st.none() | st.ip_addresses(),
    port=st.none() | st.builds(RealPort, st.just(PortMode.FIXED), st.integers(1, 65535)),
    hostname=st.none() | st.just("a.example"),
    maxconn=st.none() | st.integers(0, 9),
    tls=st.none() | st.booleans(),
    check=st.none() | st.booleans(),
    check_address=st.none() | st.ip_addresses(),
    check_port=st.none() | st.integers(1, 65535),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "overrides.json"


@given(st.dictionaries(st.tuples(NAMES, NAMES), OVERRIDES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_daemon_that_takes_over_reads_what_was_set(
    path: Path, given_overrides: dict[tuple[str, str], Override]
) -> None:
    first = OverrideStore(path, adopt=False)
    for (pool, server), override in given_overrides.items():
        first.put(pool, server, override)
    assert OverrideStore(path, adopt=True).current == first.current == given_overrides


def test_a_new_datapath_begins_with_nothing(path: Path) -> None:
    OverrideStore(path, adopt=False).put("web", "s1", Override(weight=3))
    assert OverrideStore(path, adopt=False).current == {}
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[{]", b"\xff\x00", b'[{"pool": 1}]'])
def test_a_damaged_file_is_no_reason_not_to_start(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with capture_logs() as logs:
        store = OverrideStore(path, adopt=True)
    assert store.current == {}
    told = [one["event"] for one in logs]
    forgotten = ["what operators had set cannot be read, and is forgotten"]
    assert told == ([] if content == b"{}" else forgotten)
    store.put("web", "s1", Override(weight=3))
    assert OverrideStore(path, adopt=True).current == {("web", "s1"): Override(weight=3)}


def test_no_file_is_nothing_set(path: Path) -> None:
    with capture_logs() as logs:
        assert OverrideStore(path, adopt=True).current == {}
    assert logs == []


def test_what_cannot_be_written_is_not_set(path: Path) -> None:
    store = OverrideStore(path, adopt=False)
    store.put("web", "s1", Override(weight=3))
    path.with_suffix(".new").mkdir()
    with pytest.raises(PenstockError, match=r"cannot write .*: Is a directory"):
        store.put("web", "s2", Override(weight=4))
    assert store.current == {("web", "s1"): Override(weight=3)}


def test_current_is_a_copy(path: Path) -> None:
    store = OverrideStore(path, adopt=False)
    store.current["web", "s1"] = Override(weight=0)
    assert store.current == {}


def test_all_edits_are_read_again_but_for_servers_that_must_be_read_by_others(path: Path) -> None:
    new = Added("web", ("s9", "10.0.0.9:80"), real("s9", "10.0.0.9", link=Link(id=4)))
    edits = Edits(
        added=(new,),
        removed=frozenset({("web", "s1")}),
        fronts={"fe": FrontEdit(FrontState.PAUSED, 7)},
        maxconn=9,
        rates=ProcessRates(1, 2, 3),
    )
    OverrideStore(path, adopt=False).put_edits(edits)
    again = OverrideStore(path, adopt=True)
    assert again.edits == replace(edits, added=())
    assert again.saved == (SavedServer("web", ("s9", "10.0.0.9:80"), 4),)
