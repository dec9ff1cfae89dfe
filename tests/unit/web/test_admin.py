# SPDX-License-Identifier: Apache-2.0
"""The form of the statistics page."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from penstock.web.admin import Form, FormError, carry_out, read_form
from penstock.web.stats_uri import Outcome


def test_a_form_names_servers_an_action_and_a_backend() -> None:
    form = read_form(b"s=srv1&s=srv+2&action=maint&b=%233")
    assert form == Form("maint", "#3", ("srv 2", "srv1"))
    assert read_form(b"b=x&action=ready&s=a") == Form("ready", "x", ("a",))


@pytest.mark.parametrize("body", [b"", b"s=a", b"s=a&b=x", b"action=ready&s=a"])
def test_without_action_or_backend_nothing_is_asked_for(body: bytes) -> None:
    assert read_form(body) is None


@pytest.mark.parametrize("body", [b"action=explode&b=x&s=a", b"action=ready&b=%ff&s=a"])
def test_what_cannot_be_read_is_a_fault(body: bytes) -> None:
    with pytest.raises(FormError):
        read_form(body)


@pytest.mark.parametrize(
    ("action", "command"),
    [
        ("ready", "set server x/a state ready"),
        ("drain", "set server x/a state drain"),
        ("maint", "set server x/a state maint"),
        ("shutdown", "shutdown sessions server x/a"),
        ("dhlth", "disable health x/a"),
        ("ehlth", "enable health x/a"),
        ("hrunn", "set server x/a health up"),
        ("hnolb", "set server x/a health stopping"),
        ("hdown", "set server x/a health down"),
        ("dagent", "disable agent x/a"),
        ("eagent", "enable agent x/a"),
        ("arunn", "set server x/a agent up"),
        ("adown", "set server x/a agent down"),
        ("disable", "disable server x/a"),
        ("enable", "enable server x/a"),
    ],
)
def test_actions_are_commands_of_the_runtime_api(action: str, command: str) -> None:
    ran: list[str] = []

    def run(words: Sequence[str]) -> bool:
        ran.append(" ".join(words))
        return True

    assert carry_out(Form(action, "x", ("a",)), run) is Outcome.DONE
    assert ran == [command]


@pytest.mark.parametrize(
    ("servers", "outcome"),
    [
        (("a", "b"), Outcome.DONE),
        (("a", "no"), Outcome.PART),
        (("no", "no2"), Outcome.ERRP),
        ((), Outcome.NONE),
    ],
)
def test_the_outcome_is_that_of_all_servers(servers: tuple[str, ...], outcome: Outcome) -> None:
    form = Form("ready", "x", servers)
    assert carry_out(form, lambda words: "/no" not in words[2]) is outcome
