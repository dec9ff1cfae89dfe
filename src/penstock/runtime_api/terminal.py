# SPDX-License-Identifier: Apache-2.0
"""One client of the Runtime API: what it may do, and answers to its commands. No I/O.

The owner hands over what arrives and asks for output piece by piece, so that a long answer is
made no faster than its reader takes it.
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from penstock.errors import PenstockError
from penstock.events import Level
from penstock.runtime_api.context import Context, Session
from penstock.runtime_api.registry import Answer, Command, CommandFailed, Message, Registry
from penstock.runtime_api.request import More, Request, Requests, TooLongError
from penstock.runtime_api.usage import usage
from penstock.runtime_sockets import SeverityOutput

_log = structlog.get_logger("penstock")
_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


class Terminal:
    """Answers one client."""

    def __init__(self, registry: Registry, context: Context) -> None:
        """*context* has the client's Session."""
        self._registry = registry
        self._context = context
        self._requests = Requests()
        self._answer: Iterator[str] | None = None
        self._ended = False  # the client sends no more

    @property
    def session(self) -> Session:
        return self._context.session

    def receive(self, data: bytes) -> None:
        """What the client has sent; nothing: it will not send any more."""
        self._ended = self._ended or not data
        self._requests.receive(data)

    @property
    def over(self) -> bool:
        """Nothing is to come: when the last output has left, the connection may be closed."""
        return self.session.closing and self._answer is None

    def output(self) -> str | None:
        """The next piece of output, which may be empty; None: the client has to send something."""
        if self.over:
            return None
        if self._answer is not None:
            return self._piece(self._answer)
        try:
            request = self._requests.take()
        except TooLongError:
            self.session.closing = True
            return None
        match request:
            case None:
                self.session.closing = self._ended
                return None
            case More():
                return "+ " if self.session.interactive else ""
            case Request():
                self._answer = self._run(request)
                return ""

    def _piece(self, answer: Iterator[str]) -> str:
        try:
            return next(answer)
        except StopIteration:
            self._answer = None
        except Exception:
            # A bug in one command must not take the daemon, and the health checks, with it.
            _log.exception("a command of the Runtime API failed; this is a bug")
            self._answer = None
            self.session.closing = True
            return "Internal error.\n"
        session = self.session
        if session.closing or self._requests.empty:
            # Before the last answer's end is read, all of them are true.
            self._context.controller.catch_up()
        if session.closing:
            return ""
        if session.interactive:
            return "\n> "
        end = "" if session.bare else "\n"
        session.bare = False
        # HAProxy answers all that came at once, and then hangs up.
        session.closing = self._requests.empty
        return end

    def _run(self, request: Request) -> Iterator[str]:
        try:
            answer = self._carried_out(request)
        except CommandFailed as failed:
            answer = Message(failed.text, failed.level, failed.bare)
        except PenstockError as refused:
            answer = Message(str(refused), Level.ERR)
        if isinstance(answer, Message):
            ended = answer.bare or answer.text.endswith("\n")
            text = answer.text if ended else f"{answer.text}\n"
            yield self._marked(answer.level) + text
        elif isinstance(answer, str):
            yield answer
        else:
            yield from answer

    def _carried_out(self, request: Request) -> Answer:
        session = self.session
        found = self._registry.find(request.arguments)
        if found is None:
            return Message(usage(self.visible(), request.arguments))
        if found.expert and not session.expert:
            raise CommandFailed("This command is restricted to expert mode only.")
        if found.experimental and not session.experimental:
            raise CommandFailed("This command is restricted to experimental mode only.")
        if found.level > session.level:
            raise CommandFailed("Permission denied")
        return found.run(self._context, request.arguments, request.payload)

    def visible(self) -> list[Command]:
        """The commands that ``help`` tells of. As in HAProxy these are those of all levels."""
        session = self.session
        return [
            one
            for one in self._registry.commands
            if (session.expert or not one.expert) and (session.experimental or not one.experimental)
        ]

    def _marked(self, level: Level) -> str:
        match self.session.severity:
            case SeverityOutput.NUMBER:
                return f"[{int(level)}]: "
            case SeverityOutput.STRING:
                return f"[{_LEVELS[level]}]: "
        return ""
