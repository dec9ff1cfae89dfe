# SPDX-License-Identifier: Apache-2.0
"""Logging as HAProxy does it: what a line says, where it goes, and under which heading."""
