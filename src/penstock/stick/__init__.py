# SPDX-License-Identifier: Apache-2.0
"""Stick tables: what is remembered of a client, and where it goes next time."""
