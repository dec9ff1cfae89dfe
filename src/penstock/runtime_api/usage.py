# SPDX-License-Identifier: Apache-2.0
"""What ``help`` and unknown commands are answered with: HAProxy's list of the nearest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock.config.haproxy.suggest import distance, fingerprint_of
from penstock.runtime_api.registry import Command

_MOST_MATCHES = 5
_MOST_WORDS = 5  # of a command that count
_ALWAYS = """\
  help [<command>]                        : list matching or all commands
  prompt                                  : toggle interactive mode with prompt
  quit                                    : disconnect
"""


def usage(commands: Iterable[Command], arguments: Sequence[str]) -> str:
    """Commands like *arguments*, or with ``help`` in front, like the words behind it.

    *commands* are those to be seen at this level.
    """
    asked = list(arguments)
    helps = asked[:1] == ["help"]
    words = asked[1:] if helps else asked
    visible = list(commands)
    length = max((_common(one.words, words) for one in visible), default=0)
    if helps:
        head = "The following commands are valid at this level:\n"
    elif not length and not (words and words[0]):
        head = "Unknown command. Please enter one of the following commands only:\n"
    else:
        head = "Unknown command, but maybe one of the following ones is a better match:\n"
    listed = [one for one in visible if one.usage and _common(one.words, words) >= length]
    if len(words) > length and words[length]:
        listed = _nearest(listed, words, length) or listed
    lines = sorted(one.usage for one in listed)
    return head + "".join(f"  {line}\n" for line in lines) + _ALWAYS


def _common(words: Sequence[str], asked: Sequence[str]) -> int:
    count = 0
    for one, other in zip(words, asked, strict=False):
        if one != other:
            break
        count += 1
    return count


def _nearest(commands: list[Command], words: list[str], length: int) -> list[Command]:
    """Those whose further words look most like the further *words*."""
    wanted = words[length:_MOST_WORDS]
    size = sum(map(len, wanted))
    print_ = fingerprint_of(wanted)
    found: list[tuple[int, Command]] = []
    for one in commands:
        rest = one.words[length:]
        apart = distance(print_, fingerprint_of(rest))
        if apart < 5 * (size + sum(map(len, rest))) // 2:
            found.append((apart, one))
    found.sort(key=lambda pair: pair[0])
    best = found[:_MOST_MATCHES]
    return [one for apart, one in best if apart <= 5 * best[0][0] // 2]
