# SPDX-License-Identifier: Apache-2.0
"""The proxy engine: a terminating TCP proxy and a UDP relay for what packets alone cannot do."""

from penstock.engine.proxy.engine import ProxyEngine, worker_count
from penstock.engine.proxy.privileges import Owner

__all__ = ["Owner", "ProxyEngine", "worker_count"]
