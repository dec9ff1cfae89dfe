# SPDX-License-Identifier: Apache-2.0
"""The file that brings the rules back when the daemon has been killed: one JSON record a line.

It is as old as the datapath it describes and lies in the runtime directory, which does not
outlive the machine: nothing is flushed to a disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from penstock.errors import PenstockError
from penstock.ipvs.records import Record

_log = structlog.get_logger("penstock")
_SLACK = 1024  # records beyond which a file is worth writing anew
_GROWTH = 4

Mark = tuple[int, int]  # bytes and lines


class Journal:
    """Records of what the rules have become, in order."""

    def __init__(self, path: Path, *, adopt: bool) -> None:
        """*adopt*: the datapath was taken over, so its rules hold on; else they are gone."""
        self._path = path
        self._encoder = msgspec.json.Encoder()
        self._records: list[Record] = []
        self._fd = -1
        self._size = 0
        self._lines = 0
        if adopt:
            self._read()
        else:
            path.unlink(missing_ok=True)

    def take(self) -> list[Record]:
        """What the last daemon left behind, once."""
        records, self._records = self._records, []
        return records

    def append(self, records: Iterable[Record]) -> None:
        """Write *records* down. Raises PenstockError, and then none of them is in the file."""
        lines = [self._encoder.encode(record) for record in records]
        if not lines:
            return
        data = b"\n".join(lines) + b"\n"
        try:
            if self._fd < 0:
                self._fd = _opened(self._path)
            _write(self._fd, data)
        except OSError as error:
            if self._fd >= 0:
                os.ftruncate(self._fd, self._size)
            raise PenstockError(f"cannot write {self._path}: {error.strerror}") from error
        self._size += len(data)
        self._lines += len(lines)

    def mark(self) -> Mark:
        """The end of the file, to come back to."""
        return self._size, self._lines

    def retract(self, mark: Mark) -> None:
        """Forget what was appended since *mark*."""
        if self._size != mark[0]:
            self._size, self._lines = mark
            os.ftruncate(self._fd, self._size)

    def outgrown(self, records: int) -> bool:
        """Whether a file of only *records* would be much smaller."""
        return self._lines > _GROWTH * records + _SLACK

    def rewrite(self, records: Iterable[Record]) -> None:
        """Replace the file by one that holds just *records*; where that fails the old one stays."""
        lines = [self._encoder.encode(record) + b"\n" for record in records]
        temporary = self._path.with_suffix(".new")
        fd = -1
        try:
            temporary.unlink(missing_ok=True)
            fd = _opened(temporary)
            data = b"".join(lines)
            _write(fd, data)
            os.replace(temporary, self._path)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
                temporary.unlink()  # where the disk is full it helps
            _log.warning("the journal of rules stays long", reason=str(error))
            return
        self.close()
        self._fd, self._size, self._lines = fd, len(data), len(lines)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise PenstockError(f"cannot read {self._path}: {error.strerror}") from error
        whole = data[: data.rfind(b"\n") + 1]  # a daemon killed in the middle tears the last line
        decoder = msgspec.json.Decoder(Record)
        lines = whole.splitlines()
        for number, line in enumerate(lines, 1):
            try:
                self._records.append(decoder.decode(line))
            except msgspec.MsgspecError as error:
                _log.error(
                    "a rule cannot be read back", file=f"{self._path}:{number}", reason=str(error)
                )
        try:
            self._fd = _opened(self._path)
            os.ftruncate(self._fd, len(whole))
        except OSError as error:
            raise PenstockError(f"cannot write {self._path}: {error.strerror}") from error
        self._size, self._lines = len(whole), len(lines)


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
