# SPDX-License-Identifier: Apache-2.0
"""Build hook: compiles the BPF object into the package, with clang or else PyPI's ziglang.

``python hatch_build.py`` does the same in the source tree. The C includes no system header, so
the machine it is built on has no say in what comes out.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, outside of a build
    BuildHookInterface = object  # type: ignore[assignment, misc]

ZIGLANG = "ziglang>=0.13"
SOURCE = Path("src/penstock/bpf/penstock.bpf.c")
FLAGS = ("-O2", "-g", "-mcpu=v3", "-Wall", "-Wno-unused-function", "-fno-stack-protector")
# What a compiler for hosted targets adds of its own and BPF has no use for.
ZIG_FLAGS = ("-fno-sanitize=undefined", "-fno-asynchronous-unwind-tables")


def clang() -> str | None:
    """A clang that can compile for BPF, or None."""
    for name in ("clang", *(f"clang-{version}" for version in range(25, 12, -1))):
        path = shutil.which(name)
        if path is None:
            continue
        known = subprocess.run(
            [path, "--print-targets"], capture_output=True, text=True, check=False
        ).stdout
        if "bpf" in known:
            return path
    return None


def clang_command() -> list[str] | None:
    """How to compile for BPF with clang, or None where there is none."""
    path = clang()
    return None if path is None else [path, "-target", "bpf"]


def zig_command() -> list[str] | None:
    """How to compile for BPF with the ziglang package, or None where it is not installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    target = "bpfel" if sys.byteorder == "little" else "bpfeb"
    zig = [sys.executable, "-m", "ziglang", "cc"]
    return [*zig, "-target", f"{target}-freestanding", *ZIG_FLAGS]


def compile_one(command: list[str], source: Path, target: Path) -> None:
    """Compile a C file for BPF into *target*. Exits where the compiler refuses it."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
        fresh = Path(folder) / target.name
        cache = {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
        done = subprocess.run(
            [*command, *FLAGS, "-c", str(source), "-o", str(fresh)],
            env={**os.environ, **cache},  # zig needs one, and a user need not have a home
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{command[0]} could not compile {source}")
        strip = shutil.which("llvm-strip")
        if strip is not None:  # drops DWARF, which nobody reads; BTF stays
            subprocess.run([strip, "--strip-debug", str(fresh)], check=True)
        fresh.replace(target)  # at once: somebody may be loading it


def compile_datapath(root: Path) -> Path:
    """Compile the datapath of the source tree at *root*; the object's path."""
    command = clang_command() or zig_command()
    if command is None:
        raise SystemExit("no compiler for BPF: install clang, or the Python package ziglang")
    target = (root / SOURCE).with_suffix(".o")
    compile_one(command, root / SOURCE, target)
    return target


class CompileDatapath(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """ziglang is large: only where there is no clang."""
        return [] if clang() else [ZIGLANG]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        target = compile_datapath(Path(self.root))
        build_data["artifacts"].append(str(target.relative_to(self.root)))


if __name__ == "__main__":
    if "--has-clang" in sys.argv:  # the set-up's question
        sys.exit(clang() is None)
    print(compile_datapath(Path(__file__).resolve().parent))
