# SPDX-License-Identifier: Apache-2.0
"""Which HAProxy is spoken: its version, and which of its build features hold here as well."""

from __future__ import annotations

from typing import Final

from penstock import __version__

# The dialect that is read is HAProxy's of this version: files ask for it by version_atleast().
DIALECT_VERSION: Final = "2.6.12"
DIALECT_DATE: Final = "2023/03/28"  # of that release, where tools expect a date

# What tools find where HAProxy shows its version.
VERSION: Final = f"{DIALECT_VERSION}-penstock{__version__}"

# Files and regression tests ask for these (HAProxy manual 2.4, "feature").
FEATURES: Final = frozenset(
    [
        "EPOLL",
        "GETADDRINFO",
        "LINUX_SPLICE",
        "LINUX_TPROXY",
        "NS",
        "OPENSSL",
        "POLL",
        "PROMEX",
        "RT",
        "SYSTEMD",
        "THREAD",
        "TPROXY",
    ]
)
