# SPDX-License-Identifier: Apache-2.0
"""The proxy engine: a terminating TCP proxy and a UDP relay for what packets alone cannot do."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.engine.proxy.engine import ProxyEngine, worker_count
    from penstock.engine.proxy.privileges import Owner

__all__ = ["Owner", "ProxyEngine", "worker_count"]


# A worker passes by here on its way, and needs nothing of what the daemon's side is made of.
def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.engine"), name)
