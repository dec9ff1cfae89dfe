# SPDX-License-Identifier: Apache-2.0
"""``penstock install-ipvsadm`` makes links, and touches nothing that is not its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

NAMES = ("ipvsadm", "ipvsadm-restore", "ipvsadm-save")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The penstock that was called."""
    path = tmp_path / "bin" / "penstock"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path)])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "sbin"
    path.mkdir()
    return path


def there(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_links_are_made_renewed_and_removed(
    penstock: Callable, program: Path, folder: Path
) -> None:
    for _ in range(2):
        assert penstock("install-ipvsadm", folder).status == 0
        assert there(folder) == list(NAMES)
        assert {(folder / name).readlink() for name in NAMES} == {program}
    program.unlink()  # uninstalled first: the links still go
    assert penstock("install-ipvsadm", "--remove", folder).status == 0
    assert there(folder) == []
    assert penstock("install-ipvsadm", "--remove", folder).out == "nothing to remove\n"


@pytest.mark.parametrize("option", [[], ["--remove"]])
@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_the_real_one_is_left_alone(
    penstock: Callable, program: Path, folder: Path, option: list[str], kind: str
) -> None:
    real = folder / "ipvsadm-save"
    if kind == "file":
        real.write_text("the real one")
    else:
        real.symlink_to("/bin/sh" if kind == "link" else folder / "gone")
    outcome = penstock("install-ipvsadm", *option, folder)
    assert outcome.status == 1
    assert outcome.err == f"penstock: {real} is not a link to penstock; leaving it alone\n"
    assert there(folder) == ["ipvsadm-save"]


def test_a_folder_that_is_not_there(penstock: Callable, program: Path, tmp_path: Path) -> None:
    outcome = penstock("install-ipvsadm", tmp_path / "none")
    assert outcome.status == 1
    assert "No such file or directory" in outcome.err


def test_haproxy_is_one_name(penstock: Callable, program: Path, folder: Path) -> None:
    assert penstock("install-haproxy", folder).status == 0
    assert there(folder) == ["haproxy"]
    assert (folder / "haproxy").readlink() == program
    assert penstock("install-haproxy", "--remove", folder).status == 0
    assert there(folder) == []
