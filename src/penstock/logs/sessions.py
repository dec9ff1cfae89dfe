# SPDX-License-Identifier: Apache-2.0
"""When a service's connections are logged, how grave that is, and in which words. Pure."""

from __future__ import annotations

from dataclasses import replace

from penstock.events import Level
from penstock.logs.dates import Dates
from penstock.logs.line import Render, Setting, compile_line
from penstock.logs.model import Format, SessionLog, UniqueId
from penstock.logs.outlet import Means, Outlet
from penstock.logs.record import Record

_SECOND = 1_000_000_000
_INFO, _ERR = int(Level.INFO), int(Level.ERR)
# Where an address is unknown, as in HAProxy's log_prefix.
_UNKNOWN = "unknown"
_LONGEST_NAME = 127  # HAProxy's UNIQUEID_LEN with its NUL


class SessionLogger:
    """One service's; made anew with its configuration.

    *early*: a line is written once a connection stands, for it waits for nothing more. *begins*:
    before that, once it is known that it is to be carried.
    """

    def __init__(
        self, log: SessionLog, means: Means, section: str, unique: UniqueId | None = None
    ) -> None:
        """*section*: the frontend's name."""
        means = means.named(log.naming)
        self._outlet = Outlet(log.journal, means)
        self._log = log
        self._dates: Dates = means.dates
        formats = [one for one in (log.format, log.structured, log.error) if one is not None]
        self.begins = log.format is None
        self.early = log.at_once
        named = unique.format if unique is not None else None
        self.named_by = frozenset(named.variables if named is not None else ())
        if named is not None and any("ID" in one.variables for one in formats):
            formats.append(named)
        self.uses = frozenset(name for one in formats for name in one.variables)
        self.samples = any(one.has_samples for one in formats)
        setting = Setting(
            means.dates,
            means.sender.hostname,
            means.sender.pid,
            section=section,
            early=log.early,
            count=lambda: self._outlet.lines,
        )
        self._line = _compiled(log.format, setting)
        self._structured = _compiled(log.structured, setting)
        self._error = _compiled(log.error or log.format, setting)
        self._unique_id = _compiled(named, replace(setting, early=False, late=False))

    def name(self, record: Record) -> str | None:
        """What ``unique-id-format`` makes of it."""
        if self._unique_id is None:
            return None
        made = self._unique_id(record).encode("utf-8", "surrogateescape")
        return made[:_LONGEST_NAME].decode("utf-8", "surrogateescape")

    def begin(self, record: Record, protocol: str, listener: int) -> None:
        """Where a connection comes from, for who has given no format."""
        if record.client is None or record.client == "unix":
            line = f"Connect to unix:{listener} ({record.frontend}/{protocol})"
        else:
            line = (
                f"Connect from {record.client}:{record.client_port} to {record.wanted}:"
                f"{record.wanted_port} ({record.frontend}/{protocol})"
            )
        self._outlet.write(_INFO, line)

    def write(self, record: Record) -> None:
        """The line of a connection that stands, or has ended."""
        log = self._log
        if self._line is None:
            return
        failed = record.failed
        if not failed and log.failures_only:
            return
        if not log.silent_too and not record.received and not self.early:
            return
        level = _ERR if failed and log.failures_apart else _INFO
        self._put(level, self._line, record)

    def refuse(self, record: Record, listener: str, reason: str) -> None:
        """Of one that has not become a connection of the service's, and why (manual 8.2.5)."""
        level = _ERR if self._log.failures_apart else _INFO
        if self._log.error is not None and self._error is not None:
            self._put(level, self._error, record)
            return
        client = _UNKNOWN if record.client is None else f"{record.client}:{record.client_port}"
        second, rest = divmod(record.accepted, _SECOND)
        self._outlet.write(
            level,
            f"{client} [{self._dates.logged(second)}.{rest // 1_000_000:03}]"
            f" {record.frontend}/{listener}: {reason}",
        )

    @property
    def silent_too(self) -> bool:
        return self._log.silent_too

    def _put(self, level: int, line: Render, record: Record) -> None:
        structured = b""
        if record.unique_id is None and "ID" in self.uses:
            record.unique_id = self.name(record)
        if self._structured is not None:
            text = f"{self._structured(record)} "
            structured = text.encode("utf-8", "surrogateescape")
        text = line(record)
        self._outlet.lines += 1
        self._outlet.write(level, text, structured)


def _compiled(made: Format | None, setting: Setting) -> Render | None:
    return None if made is None else compile_line(made, setting)
