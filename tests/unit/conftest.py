# SPDX-License-Identifier: Apache-2.0
"""Lets the tests below import the modules that stand beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

# A slow machine is not a wrong result.
settings.register_profile("penstock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("penstock")
