# SPDX-License-Identifier: Apache-2.0
"""A network in a box: namespaces, real servers and real clients around a real ``penstock run``.

``python -m penstock.lab`` shows the product at work; the tests and benchmarks with real traffic
build their networks from the same parts. Nothing of the product imports this package.
"""
