# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: penstock beside its peers in one run, and what a packet, a check and a flow cost.

``python -m bench --help`` lists them. They build their networks from ``penstock.lab``; nothing
imports this package. docs/benchmarks.md says how each figure comes about.
"""
