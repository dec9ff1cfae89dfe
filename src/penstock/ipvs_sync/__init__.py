# SPDX-License-Identifier: Apache-2.0
"""Connection synchronisation with other directors."""

from penstock.ipvs_sync.loop import SyncEngine, Synchroniser

__all__ = ["SyncEngine", "Synchroniser"]
