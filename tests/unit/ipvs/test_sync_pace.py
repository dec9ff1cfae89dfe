# SPDX-License-Identifier: Apache-2.0
"""When backups are told."""

from __future__ import annotations

import pytest

from penstock.ipvs.sync_pace import Pace, pace
from penstock.ipvs.sysctls import DEFAULTS


@pytest.mark.parametrize(
    ("sysctls", "wanted"),
    [
        ({}, Pace(3, 60, False)),
        ({"sync_threshold": 0}, Pace(50, 60, False)),
        ({"sync_threshold": 1000}, Pace(127, 60, False)),
        ({"sync_refresh_period": 10}, Pace(3, 10, False)),
        ({"sync_period": 0}, Pace(3, 0, False)),
        ({"sync_period": 0, "sync_refresh_period": 5}, Pace(3, 5, False)),
        ({"sync_period": 0, "sync_threshold": 0}, Pace(127, 0, False)),
        ({"sync_persist_mode": 1}, Pace(3, 60, True)),
    ],
)
def test_pace(sysctls: dict[str, int], wanted: Pace) -> None:
    assert pace({**DEFAULTS, **sysctls}) == wanted
