# SPDX-License-Identifier: Apache-2.0
"""The form of the statistics page: what a POST asks for, as commands of the Runtime API.

The commands do it, so that a button does what a line on the socket does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from penstock.web.stats_uri import Outcome

# The words that come before and behind ``backend/server`` on a line.
_ACTIONS: Final[dict[str, tuple[str, str]]] = {
    "ready": ("set server", "state ready"),
    "drain": ("set server", "state drain"),
    "maint": ("set server", "state maint"),
    "shutdown": ("shutdown sessions server", ""),
    "dhlth": ("disable health", ""),
    "ehlth": ("enable health", ""),
    "hrunn": ("set server", "health up"),
    "hnolb": ("set server", "health stopping"),
    "hdown": ("set server", "health down"),
    "dagent": ("disable agent", ""),
    "eagent": ("enable agent", ""),
    "arunn": ("set server", "agent up"),
    "adown": ("set server", "agent down"),
    "disable": ("disable server", ""),
    "enable": ("enable server", ""),
    "stop": ("set server", "state drain"),
    "start": ("set server", "state ready"),
}

Run = Callable[[Sequence[str]], bool]
"""Carries out a command, given as its words; False when it failed."""


@dataclass(frozen=True, slots=True)
class Form:
    action: str
    backend: str
    servers: tuple[str, ...]


class FormError(Exception):
    """It cannot be read, or names an action that there is none of."""


def read_form(body: bytes) -> Form | None:
    """None: it names no action or no backend. Raises FormError.

    Of an action or backend that is named twice the last one counts, as in HAProxy.
    """
    pairs = [_pair(part) for part in body.split(b"&") if part]
    chosen = dict(pairs)
    action, backend = chosen.get("action"), chosen.get("b")
    if action is not None and action not in _ACTIONS:
        raise FormError(f"no action {action!r}")
    if action is None or backend is None:
        return None
    # HAProxy goes through a form from its end.
    servers = tuple(value for key, value in reversed(pairs) if key == "s")
    return Form(action, backend, servers)


def _pair(part: bytes) -> tuple[str, str]:
    key, _, value = part.partition(b"=")
    return _decoded(key), _decoded(value)


def _decoded(text: bytes) -> str:
    decoded = unquote_to_bytes(text.replace(b"+", b" "))
    try:
        return decoded.decode("ascii")
    except UnicodeDecodeError:
        raise FormError("a name that is not ASCII") from None


def carry_out(form: Form, run: Run) -> Outcome:
    """Do what *form* says to each of its servers."""
    before, behind = _ACTIONS[form.action]
    done = [
        run((*before.split(), f"{form.backend}/{server}", *behind.split()))
        for server in form.servers
    ]
    if not done:
        return Outcome.NONE
    if not any(done):
        return Outcome.ERRP
    return Outcome.DONE if all(done) else Outcome.PART
