# SPDX-License-Identifier: Apache-2.0
"""Build hook: compiles the C of the package, with the machine's compilers or PyPI's ziglang.

The BPF object takes a clang and no system header, so the machine it is built on has no say in what
comes out. The proxy's fast lane is a library for this machine, and takes any C compiler.
``python hatch_build.py`` does the same in the source tree.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, outside of a build
    BuildHookInterface = object  # type: ignore[assignment, misc]

ZIGLANG = "ziglang>=0.13"
SOURCE = Path("src/penstock/bpf/penstock.bpf.c")
LANE = Path("src/penstock/engine/proxy/lane/lane.c")
LANE_FLAGS = ("-O2", "-g", "-std=gnu11", "-Wall", "-Wextra", "-fPIC", "-shared")
_TRIAL = "#include <sys/epoll.h>\nint main(void) { return epoll_create1(0) < 0; }\n"
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


def hosted_command() -> list[str] | None:
    """A compiler for programs of this machine that has its headers, or None."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is None:
            continue
        trial = [path, "-x", "c", "-", "-o", os.devnull]
        done = subprocess.run(trial, input=_TRIAL, text=True, capture_output=True, check=False)
        if not done.returncode:
            return [path]
    return None


def hosted_zig_command() -> list[str] | None:
    """As ``hosted_command()`` with the ziglang package, which brings headers of its own.

    For any processor of the kind, and for glibc 2.17 (2012) or later: a wheel travels.
    """
    if importlib.util.find_spec("ziglang") is None:
        return None
    libc = "gnu.2.17" if platform.libc_ver()[0] == "glibc" else "musl"
    target = f"{platform.machine()}-linux-{libc}"
    return [sys.executable, "-m", "ziglang", "cc", "-target", target, "-fno-sanitize=undefined"]


def needs_zig() -> bool:
    return clang() is None or hosted_command() is None


def compile_one(
    command: list[str], source: Path, target: Path, flags: tuple[str, ...] = (*FLAGS, "-c")
) -> None:
    """Compile a C file, for BPF unless *flags* say otherwise, into *target*.

    Exits where the compiler refuses it.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
        fresh = Path(folder) / target.name
        cache = {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
        done = subprocess.run(
            [*command, *flags, str(source), "-o", str(fresh)],
            env={**os.environ, **cache},  # zig needs one, and a user need not have a home
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{command[0]} could not compile {source}")
        strip = shutil.which("llvm-strip")
        if strip is not None and "-shared" not in flags:  # drops DWARF; BTF stays
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


def compile_lane(root: Path) -> Path:
    """Compile the proxy's fast lane of the source tree at *root*; the library's path."""
    command = hosted_command() or hosted_zig_command()
    if command is None:
        raise SystemExit("no C compiler: install one, or the Python package ziglang")
    target = (root / LANE).with_suffix(".so")
    compile_one(command, root / LANE, target, LANE_FLAGS)
    return target


class CompileDatapath(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """ziglang is large: only where a compiler is missing."""
        return [ZIGLANG] if needs_zig() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        for target in (compile_datapath(root), compile_lane(root)):
            build_data["artifacts"].append(str(target.relative_to(root)))
        # Any Python's, but this machine's.
        place = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{place}"


if __name__ == "__main__":
    if "--has-compilers" in sys.argv:  # the set-up's question
        sys.exit(needs_zig())
    here = Path(__file__).resolve().parent
    print(compile_datapath(here), compile_lane(here), sep="\n")
