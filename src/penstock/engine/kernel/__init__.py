# SPDX-License-Identifier: Apache-2.0
"""The kernel engine: eBPF programs on the machine's interfaces, maps that outlive the daemon."""

from penstock.engine.kernel.engine import KernelEngine

__all__ = ["KernelEngine"]
