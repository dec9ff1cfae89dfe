# SPDX-License-Identifier: Apache-2.0
"""What a command line asks for, once it is read and found legal."""

from __future__ import annotations

import msgspec

from penstock.ipvs.model import Command, ServiceKey


class View(msgspec.Struct, frozen=True):
    """How a listing looks."""

    numeric: bool = False
    sort: bool = True
    exact: bool = False
    columns: str = ""  # "stats", "rate", "thresholds", "persistent-conn", "tun-info" or none


class Help(msgspec.Struct, frozen=True):
    """``-h``."""


class Version(msgspec.Struct, frozen=True):
    """``-v``."""


class Do(msgspec.Struct, frozen=True, gc=False):
    """Something that the rule table answers with an errno."""

    command: Command


class ListRules(msgspec.Struct, frozen=True):
    """All virtual services, or one."""

    view: View
    key: ServiceKey | None = None


class ListConnections(msgspec.Struct, frozen=True):
    """``-L -c``."""

    view: View


class ListTimeouts(msgspec.Struct, frozen=True):
    """``-L --timeout``."""


class ListDaemons(msgspec.Struct, frozen=True):
    """``-L --daemon``."""


class Save(msgspec.Struct, frozen=True):
    """``-S``."""

    view: View


class Restore(msgspec.Struct, frozen=True):
    """``-R``."""


Request = (
    Help | Version | Do | ListRules | ListConnections | ListTimeouts | ListDaemons | Save | Restore
)
