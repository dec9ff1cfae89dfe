# SPDX-License-Identifier: Apache-2.0
"""A web server for a test, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_web import Web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    one = Web(tmp_path)
    yield one
    one.close()
