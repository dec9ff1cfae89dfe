# SPDX-License-Identifier: Apache-2.0
"""What an agent says of its server: one line of words (HAProxy manual 5.2, agent-check). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from penstock.checks.codes import CheckCode
from penstock.model import AdminState

MOST_TEXT = 127  # characters of a description (HAProxy: HCHK_DESC_LEN)
INCOMPLETE = "Ignoring incomplete line from agent"
_WORDS = re.compile(r"[^ \t,\n]+")
_WEIGHT = re.compile(r"[0-9].*%")


class Said(StrEnum):
    """Whether the server is up, in the agent's word for it."""

    UP = "up"
    DOWN = "down"
    STOPPED = "stopped"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class AgentReply:
    """Of several words of a kind the last one counts; None: it has said nothing of it."""

    health: Said | None = None
    word: str = ""  # for health, as it was written
    admin: AdminState | None = None
    weight: str | None = None  # with its "%"
    maxconn: str | None = None  # behind "maxconn:"
    unknown: str = ""  # the first word that means nothing
    description: str = ""  # what follows a "#"

    @property
    def up(self) -> bool | None:
        return None if self.health is None else self.health is Said.UP

    def result(self, warning: str) -> tuple[CheckCode, str]:
        """How the check ended, and what is told of it; *warning*: of carrying the words out."""
        if self.health is not None:
            code = CheckCode.L7OK if self.up else CheckCode.L7STS
            text = self.description
            if not text or self.up:
                text = self.unknown or warning or text
            return code, _cut(f"via agent : {self.word}" + (f" ({text})" if text else ""))
        if self.unknown:
            return CheckCode.CHECKED, _cut(f"agent reports an error : {self.unknown}")
        return CheckCode.CHECKED, _cut(f"agent warns : {warning}") if warning else ""


def is_whole(data: bytes) -> bool:
    """Whether a line has ended, so that no more need be read."""
    return any(end in data for end in (b"\n", b"\r", b"\0"))


def read_reply(data: bytes) -> AgentReply | None:
    """The first line of *data*; None: it has not ended."""
    line = re.match(rb"[^\n\r\0]*(?=[\n\r])", data)
    if line is None:
        return None
    text = line[0].decode(errors="surrogateescape")
    reply = AgentReply()
    for found in _WORDS.finditer(text):
        if found[0].startswith("#"):
            description = text[found.start() + 1 :].lstrip(" \t")
            return replace(reply, description=description)
        reply = _with(reply, found[0])
    return reply


def _with(reply: AgentReply, word: str) -> AgentReply:
    lower = word.lower()
    if lower in _HEALTH:
        return replace(reply, health=Said(lower), word=word)
    if lower in _ADMIN:
        return replace(reply, admin=AdminState(lower))
    if _WEIGHT.match(word):
        return replace(reply, weight=word)
    if lower.startswith("maxconn:"):
        return replace(reply, maxconn=word[len("maxconn:") :])
    return reply if reply.unknown else replace(reply, unknown=word)


_HEALTH = frozenset(Said)
_ADMIN = frozenset(AdminState)


def _cut(text: str) -> str:
    return text[:MOST_TEXT]
