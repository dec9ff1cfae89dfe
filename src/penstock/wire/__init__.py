# SPDX-License-Identifier: Apache-2.0
"""Bytes on the wire that the proxy reads or writes itself: bytes in, meaning out, no I/O."""
