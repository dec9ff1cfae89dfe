# SPDX-License-Identifier: Apache-2.0
"""Kernel settings of the current network namespace, changed with a memory of what they were.

Names are paths below /proc/sys ("net/ipv4/conf/lo/forwarding"): interface names hold dots.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from penstock.errors import DatapathError

_ROOT: Final = Path("/proc/sys")


def read(name: str, root: Path = _ROOT) -> str | None:
    """The value without its line end, or None where this kernel has no such setting."""
    try:
        return (root / name).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def read_ports(name: str, root: Path = _ROOT) -> tuple[tuple[int, int], ...]:
    """A setting that lists ports, as inclusive ranges.

    Understands ip_local_port_range ("32768 60999") and ip_local_reserved_ports ("80,100-200").
    """
    text = read(name, root) or ""
    if "," not in text and "-" not in text and len(text.split()) == 2:
        first, last = text.split()
        return ((int(first), int(last)),)
    ranges = []
    for item in filter(None, text.split(",")):
        first, _, last = item.partition("-")
        ranges.append((int(first), int(last or first)))
    return tuple(ranges)


class Sysctls:
    """Changes settings and puts them back.

    ``recorded`` holds the former value of each that was changed; give it to a later process'
    Sysctls to have that one restore them.
    """

    def __init__(self, recorded: Mapping[str, str] | None = None, root: Path = _ROOT) -> None:
        self._root = root
        self._before = dict(recorded or {})
        self._ours: dict[str, str] = {}

    @property
    def recorded(self) -> Mapping[str, str]:
        return dict(self._before)

    def set(self, name: str, value: str) -> None:
        """Change a setting. Raises DatapathError where it is missing or may not be written."""
        present = read(name, self._root)
        if present is None:
            raise DatapathError(f"this kernel has no setting {name.replace('/', '.')}")
        if present == value:
            return
        self._write(name, value)
        self._before.setdefault(name, present)
        self._ours[name] = value

    def restore(self) -> None:
        """Put back the former values, but for those that somebody else has changed since."""
        while self._before:
            name, value = self._before.popitem()
            present = read(name, self._root)
            if present is not None and present == self._ours.get(name, present):
                self._write(name, value)

    def _write(self, name: str, value: str) -> None:
        try:
            (self._root / name).write_text(value + "\n", encoding="ascii")
        except OSError as error:
            raise DatapathError(
                f"cannot set {name.replace('/', '.')} to {value}: {error.strerror}"
            ) from error
