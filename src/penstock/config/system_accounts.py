# SPDX-License-Identifier: Apache-2.0
"""Users and groups -> their ids, by the C library."""

from __future__ import annotations

import grp
import pwd


def system_account(kind: str, name: str) -> int | None:
    """The id of a user or, where *kind* is "group", of a group; None if there is none."""
    try:
        return grp.getgrnam(name).gr_gid if kind == "group" else pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # ValueError: a name that cannot be one
        return None
