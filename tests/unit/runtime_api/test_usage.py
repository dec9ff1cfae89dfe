# SPDX-License-Identifier: Apache-2.0
"""The answer to unknown commands, compared with what HAProxy 2.6.12 says."""

from __future__ import annotations

import pytest

from penstock.runtime_api.registry import Command, Registry, command
from penstock.runtime_api.request import Arguments, split
from penstock.runtime_api.usage import usage

ALWAYS = ("help [<command>]", "prompt", "quit")


def made(*names: str) -> list[Command]:
    return [command(name, f"{name:<40}: x", lambda *_: "") for name in names]


SOME = made(
    *("show stat", "show info", "show fd", "show libs", "show pools", "show sess", "show errors"),
    *("show version", "show peers", "show servers conn", "show cli level", "show cli sockets"),
    *("user", "operator", "add acl", "add map", "del acl", "del map", "trace"),
)


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        ("bogus", ["show fd", "show libs", "show pools", "show sess", "user"]),
        ("show sta", ["show stat"]),
        ("shw stat", ["show stat"]),
        ("show bogus", ["show errors", "show fd", "show libs", "show pools", "show sess"]),
        ("show cli foo", ["show cli level", "show cli sockets"]),
        ("@1", ["add acl", "add map", "del acl", "del map", "trace", "user"]),
        ("show stat more", ["show stat"]),
    ],
)
def test_near_matches(line: str, listed: list[str]) -> None:
    head, *lines = usage(SOME, split(line)).splitlines()
    assert head == "Unknown command, but maybe one of the following ones is a better match:"
    names = [one.split(":")[0].strip() for one in lines]
    assert tuple(names[-3:]) == ALWAYS
    assert set(names[:-3]) <= set(listed)
    assert names[:-3]


def test_nothing_lists_everything() -> None:
    head, *lines = usage(SOME, Arguments()).splitlines()
    assert head == "Unknown command. Please enter one of the following commands only:"
    assert len(lines) == len(SOME) + 3
    assert lines[:-3] == sorted(lines[:-3])


def test_help_of_a_word() -> None:
    head, *lines = usage(SOME, split("help show cli")).splitlines()
    assert head == "The following commands are valid at this level:"
    assert [one.split(":")[0].strip() for one in lines[:-3]] == [
        "show cli level",
        "show cli sockets",
    ]


def test_the_longest_words_are_meant() -> None:
    registry = Registry(made("show", "show cli level"))
    found = [registry.find(split(line)) for line in ("show", "show cli", "show cli level x", "sho")]
    assert [one.words if one else None for one in found] == [
        ("show",),
        ("show",),
        ("show", "cli", "level"),
        None,
    ]


def test_two_commands_of_one_name() -> None:
    with pytest.raises(ValueError, match="same words"):
        Registry(made("a", "a"))
