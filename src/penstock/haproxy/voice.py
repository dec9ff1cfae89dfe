# SPDX-License-Identifier: Apache-2.0
"""How a process in haproxy's place speaks: on standard error, in HAProxy's shapes."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any

from penstock.dialect import VERSION
from penstock.events import Level

_NOBODY = re.compile(r"^(\w+) (\S+) (?=has no server available!$)")  # logs have no quotes


class Voice:
    """``[NOTICE]   (PID) : text`` and its likes."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.starting = True  # the first thing that is wrong then comes with who it is that speaks
        self.warned = False
        self._descriptor = 2
        self._introduced = False

    def leave_terminal(self) -> None:
        """Processes have no terminal from here on; what is said still reaches it."""
        self._descriptor = os.dup(2)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        if null > 2:
            os.close(null)

    @property
    def has_left_terminal(self) -> bool:
        return self._descriptor != 2

    def fall_silent(self) -> None:
        """Nothing that is said reaches the terminal any more."""
        if self._descriptor == 2:
            self.leave_terminal()
        os.close(self._descriptor)
        self._descriptor = 2

    def alert(self, text: str) -> None:
        self._introduce()
        self._say("ALERT", text)

    def warning(self, text: str) -> None:
        self.warned = True
        self._introduce()
        self._say("WARNING", text)

    def notice(self, text: str) -> None:
        self._say("NOTICE", text)

    def diagnosis(self, text: str) -> None:
        """What -dD asks for; as HAProxy, even where the rest is quiet."""
        self._say("DIAG", text, quietly=False)

    def event(self, _proxy: str, level: Level, sentence: str) -> None:
        """Whatever becomes of a server is a warning; that a proxy has none left, an alert."""
        if level is Level.EMERG:
            self.alert(_NOBODY.sub(r"\1 '\2' ", sentence))
        else:
            self.warning(sentence)

    def _introduce(self) -> None:
        if self.starting and not self._introduced:
            self._introduced = True
            self._say("NOTICE", f"haproxy version is {VERSION}")
            self._say("NOTICE", f"path to executable is {os.path.abspath(sys.argv[0])}")

    def _say(self, label: str, text: str, *, quietly: bool = True) -> None:
        if self.quiet and quietly:
            return
        line = f"{f'[{label}]'.ljust(11)}({os.getpid()}) : {text}\n"
        with contextlib.suppress(OSError):  # whoever listened has gone; what is done goes on
            os.write(self._descriptor, line.encode(errors="surrogateescape"))


def speak_through(voice: Voice, *, everything: bool) -> None:
    """Have the daemon's own log said by *voice*; *everything*: also what only informs."""
    import structlog  # noqa: PLC0415  # what only checks a file has no log

    say = {"warning": voice.warning, "info": voice.notice, "debug": voice.notice}

    def render(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        """Says it, and leaves nothing for the logger that comes after."""
        if method in ("info", "debug") and not everything:
            raise structlog.DropEvent
        text = str(event.pop("event"))
        if trace := event.pop("exception", ""):
            text += f"\n{trace}"
        details = " ".join(f"{key}={value}" for key, value in event.items())
        say.get(method, voice.alert)(f"{text} {details}" if details else text)
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.processors.format_exc_info, render], cache_logger_on_first_use=True
    )
