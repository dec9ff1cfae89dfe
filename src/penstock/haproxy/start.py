# SPDX-License-Identifier: Apache-2.0
"""What a process in haproxy's place begins with."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.haproxy.arguments import Arguments
from penstock.haproxy.voice import Voice


@dataclass(frozen=True, slots=True)
class Start:
    """*words* are the command line as it was, for a master to be started with again."""

    arguments: Arguments
    words: list[str]
    voice: Voice
