# SPDX-License-Identifier: Apache-2.0
"""All commands, in the order in which HAProxy lists equally good suggestions."""

from __future__ import annotations

from penstock.runtime_api import builtin
from penstock.runtime_api.registry import Registry


def registry() -> Registry:
    return Registry(builtin.COMMANDS)
