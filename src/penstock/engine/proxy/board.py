# SPDX-License-Identifier: Apache-2.0
"""Counters in memory that the daemon and its workers share: each worker writes columns of its own.

Whoever wants a number adds up what all workers wrote; nobody locks. A row is a service or a real
server, and the daemon says which. Turns alone are written by all workers.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from operator import add

from penstock.engine.figures import MAXIMA, Figure

MAX_ROWS = 1 << 16
MAX_WORKERS = 64


Column = Figure
COLUMNS = len(Column)
_TURN = int(Column.TURN)
_TIMES = (Column.QUEUE_TIME_MAX, Column.CONNECT_TIME_MAX, Column.TOTAL_TIME_MAX)
_ROW_BYTES = COLUMNS * 8
_AREA = MAX_ROWS * _ROW_BYTES


class Board:
    """All numbers; sparse memory, so that rows nobody uses cost nothing."""

    def __init__(self, fd: int, workers: int) -> None:
        """*fd*: from ``create()``, maybe inherited. It is closed by ``close()``."""
        self._fd = fd
        self._map = mmap.mmap(fd, workers * _AREA)
        self._cells = memoryview(self._map).cast("q")
        self._workers = workers

    @classmethod
    def create(cls, workers: int) -> Board:
        fd = os.memfd_create("penstock-board", os.MFD_CLOEXEC)
        os.ftruncate(fd, workers * _AREA)
        return cls(fd, workers)

    def fileno(self) -> int:
        return self._fd

    def area(self, worker: int) -> memoryview:
        """The cells that one worker writes: ``area[row * COLUMNS + column]``."""
        size = MAX_ROWS * COLUMNS
        return self._cells[worker * size : (worker + 1) * size]

    def address(self, worker: int) -> int:
        """Where in memory ``area(worker)`` is; for code that is not Python's."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._map)) + worker * _AREA

    def read(self, row: int, column: Column) -> int:
        """The sum over all workers."""
        at = row * COLUMNS + column
        size = MAX_ROWS * COLUMNS
        total = 0
        for worker in range(self._workers):
            total += self._cells[worker * size + at]
        return total

    def parts(self, row: int, column: Column) -> list[int]:
        """Each worker's, in order."""
        size = MAX_ROWS * COLUMNS
        return [self._cells[n * size + row * COLUMNS + column] for n in range(self._workers)]

    def column(self, column: Column, rows: int) -> list[int]:
        """That number of each of the first *rows* rows: the sum over all workers, or the most."""
        size, join = MAX_ROWS * COLUMNS, max if column in MAXIMA else add
        parts = [
            self._cells[worker * size + column : worker * size + rows * COLUMNS : COLUMNS].tolist()
            for worker in range(self._workers)
        ]
        whole = parts[0]
        for part in parts[1:]:
            whole = list(map(join, whole, part))
        return whole

    def forget_maxima(self, rows: int) -> None:
        """Highest numbers of the first *rows* rows begin anew; a worker may be writing one.

        Then it stands as if that had been a moment later, or earlier.
        """
        size = MAX_ROWS * COLUMNS
        for worker in range(self._workers):
            for at in range(worker * size, worker * size + rows * COLUMNS, COLUMNS):
                self._cells[at + Column.LIVE_MAX] = self._cells[at + Column.LIVE]
                self._cells[at + Column.QUEUED_MAX] = self._cells[at + Column.QUEUED]
                for column in _TIMES:
                    self._cells[at + column] = 0

    def turn(self, row: int) -> int:
        """How many were asked for before, by all workers together.

        Two workers that ask at the same moment may get the same number.
        """
        at = row * COLUMNS + _TURN
        turn = self._cells[at]
        self._cells[at] = turn + 1
        return turn

    def clear(self, row: int) -> None:
        """For the row's next owner; nobody may be counting in it."""
        size = MAX_ROWS * COLUMNS
        for worker in range(self._workers):
            at = worker * size + row * COLUMNS
            for column in range(COLUMNS):
                self._cells[at + column] = 0

    def close(self) -> None:
        self._cells.release()
        self._map.close()
        os.close(self._fd)
