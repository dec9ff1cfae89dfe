# SPDX-License-Identifier: Apache-2.0
"""When a daemon that was started on demand ends, and what counts as use of its namespace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.instance.lifetime import Lifetime, Uses

OURS = "net:[4026532177]"
OTHER = "net:[4026531833]"
OWN_PID = 100


class Look:
    """Answers as told, and knows how often it was asked."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.answers.pop(0)


def ends_at(look: Callable[[], bool], seconds: int = 60) -> int | None:
    life = Lifetime((look,), now=0.0)
    return next((now for now in range(seconds) if life.look(float(now))), None)


def test_two_looks_in_a_row_without_use_are_the_end() -> None:
    assert ends_at(Look(False, False)) == 10
    assert ends_at(Look(False, True, False, False)) == 20


def test_a_namespace_in_use_lives_on() -> None:
    look = Look(*[True, False] * 6)
    assert ends_at(look) is None
    assert look.asked == 11  # every five seconds


def test_the_costly_looks_wait_for_the_cheap_ones_to_find_nothing() -> None:
    cheap, costly = Look(True, False, True), Look(False)
    life = Lifetime((cheap, costly), now=0.0)
    for now in (5.0, 10.0, 15.0):
        assert not life.look(now)
    assert (cheap.asked, costly.asked) == (3, 1)


def test_over_is_over() -> None:
    look = Look(False, False, True)
    life = Lifetime((look,), now=0.0)
    for now in (5.0, 10.0):
        life.look(now)
    assert life.over


class Proc:
    """A /proc in which one daemon, in OURS, runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "self").mkdir()
        (root / "stat").write_text("")
        self.process(OWN_PID, net=OURS)
        self.process(1, net=OTHER)

    def process(
        self, pid: int, net: str, mnt: str = "mnt:[1]", thread: str = "", fd: str = ""
    ) -> Path:
        folder = self.root / str(pid)
        for name in (f"task/{pid}/ns", f"task/{pid + 1}/ns", "ns", "fd"):
            (folder / name).mkdir(parents=True)
        (folder / "ns/net").symlink_to(net)
        (folder / "ns/mnt").symlink_to(mnt)
        (folder / f"task/{pid}/ns/net").symlink_to(net)
        (folder / f"task/{pid + 1}/ns/net").symlink_to(thread or net)
        (folder / "fd/0").symlink_to("/dev/null")
        if fd:
            (folder / "fd/7").symlink_to(fd)
        self.mounted(pid, OTHER)
        return folder

    def mounted(self, pid: int, name: str) -> None:
        (self.root / str(pid) / "mountinfo").write_text(
            "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
            f"290 27 0:4 {name} /run/netns/x rw shared:3 - nsfs nsfs rw\n"
        )

    def uses(self) -> list[str]:
        """Which of the looks find one."""
        uses = Uses(OURS, self.root, OWN_PID)
        looks = (uses.is_mounted, uses.has_processes, uses.is_held)
        return [look.__name__ for look in looks if look()]


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_the_daemon_itself_is_no_use(proc: Proc) -> None:
    assert proc.uses() == []


def test_a_name_is_a_use(proc: Proc) -> None:
    proc.mounted(OWN_PID, OURS)
    assert proc.uses() == ["is_mounted"]


def test_a_process_is_a_use(proc: Proc) -> None:
    proc.process(200, net=OURS)
    assert "has_processes" in proc.uses()


def test_a_thread_is_a_use(proc: Proc) -> None:
    proc.process(200, net=OTHER, thread=OURS)
    assert proc.uses() == ["is_held"]


def test_a_descriptor_is_a_use(proc: Proc) -> None:
    proc.process(200, net=OTHER, fd=OURS)
    assert proc.uses() == ["is_held"]


def test_a_name_among_other_mounts_is_a_use(proc: Proc) -> None:
    proc.process(200, net=OTHER, mnt="mnt:[2]")
    assert proc.uses() == []
    proc.mounted(200, OURS)
    assert proc.uses() == ["is_held"]


def test_a_name_that_only_begins_like_ours_is_none(proc: Proc) -> None:
    proc.mounted(OWN_PID, OURS.replace("177]", "1770]"))
    assert proc.uses() == []


def test_processes_that_end_meanwhile_do_not_matter(proc: Proc) -> None:
    folder = proc.root / "300"
    folder.mkdir()  # ended: nothing in it can be read any more
    assert proc.uses() == []
