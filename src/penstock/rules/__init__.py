# SPDX-License-Identifier: Apache-2.0
"""Conditions and rules of a haproxy.cfg: what they say, read from words and put to a connection."""
