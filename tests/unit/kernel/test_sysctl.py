# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import DatapathError
from penstock.kernel.sysctl import Sysctls, read, read_ports

FORWARDING = "net/ipv4/conf/lo/forwarding"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    setting = tmp_path / FORWARDING
    setting.parent.mkdir(parents=True)
    setting.write_text("0\n")
    (tmp_path / "range").write_text("32768\t60999\n")
    (tmp_path / "reserved").write_text("80,8000-8010,\n")
    (tmp_path / "none").write_text("\n")
    return tmp_path


def test_what_was_changed_is_put_back(proc: Path) -> None:
    sysctls = Sysctls(root=proc)
    sysctls.set(FORWARDING, "1")
    assert read(FORWARDING, proc) == "1"
    assert sysctls.recorded == {FORWARDING: "0"}
    sysctls.set(FORWARDING, "2")
    sysctls.restore()
    assert read(FORWARDING, proc) == "0"


def test_what_was_right_already_is_left_alone(proc: Path) -> None:
    sysctls = Sysctls(root=proc)
    sysctls.set(FORWARDING, "0")
    assert sysctls.recorded == {}


def test_what_somebody_else_changed_since_stays(proc: Path) -> None:
    sysctls = Sysctls(root=proc)
    sysctls.set(FORWARDING, "1")
    (proc / FORWARDING).write_text("5\n")
    sysctls.restore()
    assert read(FORWARDING, proc) == "5"


def test_a_later_process_restores(proc: Path) -> None:
    first = Sysctls(root=proc)
    first.set(FORWARDING, "1")
    later = Sysctls(first.recorded, root=proc)
    later.set(FORWARDING, "1")
    later.restore()
    assert read(FORWARDING, proc) == "0"


def test_an_unknown_setting_is_told(proc: Path) -> None:
    assert read("net/nothing", proc) is None
    with pytest.raises(DatapathError, match=r"no setting net\.nothing"):
        Sysctls(root=proc).set("net/nothing", "1")


def test_ports(proc: Path) -> None:
    assert read_ports("range", proc) == ((32768, 60999),)
    assert read_ports("reserved", proc) == ((80, 80), (8000, 8010))
    assert read_ports("none", proc) == ()
