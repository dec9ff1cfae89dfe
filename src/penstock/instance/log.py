# SPDX-License-Identifier: Apache-2.0
"""How the daemon speaks: structlog to stderr, one line an event; systemd adds time and name."""

from __future__ import annotations

import os
import sys

import structlog

from penstock.events import Level


def set_up() -> None:
    """Configure structlog for this process."""
    under_systemd = "JOURNAL_STREAM" in os.environ
    processors: list[structlog.typing.Processor] = [structlog.processors.add_log_level]
    if not under_systemd:
        processors.append(structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S", utc=False))
    processors.append(
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            pad_level=False,
            # Boxes and local variables, where rich is installed, are not for a journal.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=processors,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def to_stdlib() -> None:
    """Inside another program: speak through its ``logging``, unless it uses structlog itself."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def own_log(_proxy: str, level: Level, sentence: str) -> None:
    """An ``Events``: what becomes of proxies and servers, said among everything else."""
    log = structlog.get_logger("penstock")
    if level <= Level.EMERG:
        log.error(sentence)
    elif level <= Level.WARNING:
        log.warning(sentence)
    else:
        log.info(sentence)
