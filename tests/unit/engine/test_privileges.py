# SPDX-License-Identifier: Apache-2.0
"""Whom workers run as, where root may become another and where it may not."""

from __future__ import annotations

import os

import pytest

from penstock.engine.proxy import privileges
from penstock.engine.proxy.privileges import Owner
from penstock.errors import ConfigError


@pytest.fixture
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(privileges, "permitted", lambda: (1 << 32) - 1)


@pytest.mark.usefixtures("capable")
def test_by_name_and_by_number() -> None:
    assert Owner.of("#12", "#34") == Owner(12, 34)
    assert Owner.of(None, "#34") == Owner(-1, 34)
    assert Owner.of("root", None) == Owner(0, 0)
    with pytest.raises(ConfigError, match="cannot find user id for 'nobody-at-all'"):
        Owner.of("nobody-at-all", None)


@pytest.mark.usefixtures("capable")
def test_a_root_that_may_not_is_told_so_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each worker would end as soon as it has begun."""
    monkeypatch.setattr(privileges, "permitted", lambda: 1 << 12)
    assert Owner.of(None, None) == Owner()
    with pytest.raises(ConfigError, match="CAP_SETUID or CAP_SETGID"):
        Owner.of("#12", "#34")


def test_nobody_else_than_root_becomes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Owner.of("#12", "#34") == Owner()
