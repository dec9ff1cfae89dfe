# SPDX-License-Identifier: Apache-2.0
"""What either compiler makes of the datapath is taken by the kernel's verifier."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from penstock.engine.proxy.lane.library import Library
from penstock.kernel.btf import Btf
from penstock.kernel.objects import ObjectFile

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["clang", "zig"])
def built(
    request: pytest.FixtureRequest,
    build_hook: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    command = getattr(build_hook, f"{request.param}_command")()
    if command is None:
        pytest.skip(f"needs the compiler {request.param}")
    target = tmp_path_factory.mktemp(request.param) / "penstock.bpf.o"
    build_hook.compile_one(command, ROOT / build_hook.SOURCE, target)
    return target


@pytest.mark.root
def test_the_kernel_takes_it(built: Path) -> None:
    with ObjectFile(built) as found:
        found.load()
        for name in found.program_names:
            with found.program(name) as program:
                assert program.info().xlated_size > 0


def test_python_finds_its_structs(built: Path) -> None:
    btf = Btf.from_object(built)
    assert btf.layout("flow4").size == 64
    assert btf.layout("flow6").size == 128
    assert btf.enum("reason")


def test_ziglang_is_asked_for_only_where_a_compiler_is_missing(
    build_hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wanted() -> list[str]:
        hook = build_hook.CompileDatapath(str(ROOT), {}, None, None, str(tmp_path), "wheel")
        dependencies: list[str] = hook.dependencies()
        return dependencies

    # Says that it can compile for BPF, and takes every program of this machine.
    (tmp_path / "clang").write_text("#!/bin/sh\necho '  bpf - BPF (host endian)'\n")
    (tmp_path / "clang").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert wanted() == []
    # It has no headers, and nobody else is there.
    (tmp_path / "clang").write_text(
        "#!/bin/sh\necho '  bpf - BPF (host endian)'\n[ \"$1\" = --print-targets ]\n"
    )
    assert wanted() == [build_hook.ZIGLANG]
    (tmp_path / "clang").write_text("#!/bin/sh\necho '  x86-64 only'\n")
    assert wanted() == [build_hook.ZIGLANG]
    (tmp_path / "clang").unlink()
    assert wanted() == [build_hook.ZIGLANG]


@pytest.mark.parametrize("name", ["hosted_command", "hosted_zig_command"])
def test_either_compiler_makes_the_lane(build_hook: ModuleType, name: str, tmp_path: Path) -> None:
    command = getattr(build_hook, name)()
    if command is None:
        pytest.skip(f"no {name.replace('_', ' ')}")
    target = tmp_path / "lane.so"
    build_hook.compile_one(command, ROOT / build_hook.LANE, target, build_hook.LANE_FLAGS)
    assert Library(target).turn is not None
