# SPDX-License-Identifier: Apache-2.0
"""``-cc``: whether a condition as of ``.if`` holds (HAProxy manual 2.4)."""

from __future__ import annotations

import os

from penstock.config.haproxy.conditions import ConditionError, evaluate
from penstock.config.haproxy.lexer import LexError, Place, split
from penstock.haproxy.voice import Voice


def holds(text: str, voice: Voice) -> int:
    """0: it does, 1: it does not, 2: it cannot be understood, and that has been said."""
    try:
        words = split(text, os.environ, Place("-cc", 1, ""), 0)
        return 0 if evaluate(" ".join(words), os.environ) else 1
    except LexError as wrong:
        voice.alert(f"config : Syntax Error in condition: {wrong.message}")
    except ConditionError as wrong:
        voice.alert(f"config : Failed to evaluate condition: {wrong.message}")
    return 2
