# SPDX-License-Identifier: Apache-2.0
"""Lets the tests beside this file import its modules."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
