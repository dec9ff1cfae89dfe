# SPDX-License-Identifier: Apache-2.0
"""Penstock: an L4 (TCP/UDP) load balancer; haproxy.cfg on an eBPF datapath."""

__version__ = "0.1.0"
