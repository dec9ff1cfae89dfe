# SPDX-License-Identifier: Apache-2.0
"""Firewall marks that netfilter sets, brought to where the datapath sees them.

A packet meets our TC program before any netfilter rule, so it carries only the marks that TC has
set by then. What netfilter marks for one of our services is sent through the loopback device once
(nft's ``dup``, which keeps the mark) and meets the program there; this is so for the first packet
of a connection only, all others are known by their addresses. nft does it, as whoever sets marks
that way has it, or its library, already.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable

import structlog

_log = structlog.get_logger("penstock")
_TABLE = "penstock_marks"
_PRIORITY = -140  # after mangle's -150
_SECONDS = 10
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"
_FAMILIES = {4: ("ip", "127.0.0.1"), 6: ("ip6", "::1")}


class MarkRules:
    """One nft table a family, there as long as there are services of a mark."""

    def __init__(self) -> None:
        self._held: dict[int, frozenset[int]] = {}
        self._complained = False

    def hold(self, marks: Iterable[tuple[int, int]]) -> None:
        """Bring packets with these marks, each with its family (4, 6), to the datapath."""
        wanted: dict[int, set[int]] = {}
        for mark, family in marks:
            wanted.setdefault(family, set()).add(mark)
        for family in _FAMILIES:
            some = frozenset(wanted.get(family, ()))
            if some != self._held.get(family, frozenset()) and self._replace(family, some):
                self._held[family] = some

    def forget_earlier(self) -> None:
        """Take away what a daemon left that was killed, and whose datapath is gone."""
        if shutil.which("nft", path=_PATH) is not None:
            for family in _FAMILIES:
                self._replace(family, frozenset())

    def close(self) -> None:
        self.hold(())

    def _replace(self, family: int, marks: frozenset[int]) -> bool:
        kind, loopback = _FAMILIES[family]
        # Declared first, so that deleting it never fails; all of it is one transaction.
        script = f"table {kind} {_TABLE}\ndelete table {kind} {_TABLE}\n"
        if marks:
            values = ", ".join(str(mark) for mark in sorted(marks))
            script += (
                f"table {kind} {_TABLE} {{\n chain first {{\n"
                f"  type filter hook prerouting priority {_PRIORITY};\n"
                f'  iifname != "lo" meta mark {{ {values} }} dup to {loopback} device "lo" drop\n'
                " }\n}\n"
            )
        return self._nft(script)

    def _nft(self, script: str) -> bool:
        program = shutil.which("nft", path=_PATH)
        if program is None:
            self._complain("there is no program nft here")
            return False
        done = subprocess.run(  # noqa: S603  # numbers only go into the script
            [program, "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            self._complain((done.stderr.strip() or "nft failed").splitlines()[0])
        return done.returncode == 0

    def _complain(self, why: str) -> None:
        if not self._complained:
            _log.warning(
                "marks that netfilter sets do not reach the datapath, those that TC sets do",
                reason=why,
            )
            self._complained = True
