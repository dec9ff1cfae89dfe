# SPDX-License-Identifier: Apache-2.0
"""The pinned programs, and a mark that says which they are: the same ones need not be verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from penstock.kernel.libbpf import LibbpfError
from penstock.kernel.programs import Program

PROGRAMS = ("tc", "reply", "xdp", "sweep", "sync", "cut")  # in the object penstock_tc and so on
_MARK = "digest"  # a symbolic link, whose target is the digest: bpffs has no files


def digest_of(path: Path, constants: Mapping[str, int]) -> str:
    """Of what is loaded from *path* with *constants*, of which the seed is those maps' own."""
    code = hashlib.sha256(path.read_bytes())
    code.update(repr(sorted(constants.items())).encode())
    return code.hexdigest()


def pin_programs(programs: Mapping[str, Program], directory: Path, digest: str) -> None:
    """Put the programs where tools and the next start find them, in the place of an earlier one's.

    What keeps traffic going without us are the links.
    """
    directory.mkdir(exist_ok=True)
    mark = directory / _MARK
    mark.unlink(missing_ok=True)
    for name, program in programs.items():
        fresh = directory / f"new_{name}"  # bpffs takes no dots
        fresh.unlink(missing_ok=True)
        program.pin(fresh)
        fresh.rename(directory / f"penstock_{name}")
    mark.symlink_to(digest)


def pinned_programs(directory: Path, digest: str) -> dict[str, Program]:
    """An earlier start's, where they are those of *digest*; else none."""
    try:
        if os.readlink(directory / _MARK) != digest:
            return {}
    except OSError:
        return {}
    found: dict[str, Program] = {}
    try:
        for name in PROGRAMS:
            found[name] = Program.from_pin(directory / f"penstock_{name}")
    except LibbpfError:
        for program in found.values():
            program.close()
        return {}
    return found
