# SPDX-License-Identifier: Apache-2.0
"""The reading end of a BPF ring buffer map.

Source: Documentation/bpf/ringbuf.rst and kernel/bpf/ringbuf.c in the kernel's tree.
"""

from __future__ import annotations

import errno
import mmap
import struct
from collections.abc import Iterator
from typing import Final

from penstock.kernel.maps import Map

_BUSY: Final = 1 << 31  # being written
_DISCARDED: Final = 1 << 30
_HEADER: Final = struct.Struct("=II")  # length and flags; the second word is the kernel's


class RingBuffer(Map):
    """A ring that programs write records to, in memory shared with them; one reader at a time.

    Its descriptor is readable when a program that wrote a record asked for that.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._size = self.info.max_entries
        try:
            self._mine = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED)
            # The producer's page, and the data twice, so that no record is cut in two.
            self._theirs = mmap.mmap(
                fd,
                mmap.PAGESIZE + 2 * self._size,
                mmap.MAP_SHARED,
                mmap.PROT_READ,
                offset=mmap.PAGESIZE,
            )
        except OSError as error:
            self.close()
            raise self._refusal("map into memory the", error.errno or errno.EINVAL) from error
        for mapping in (self._mine, self._theirs):
            mapping.madvise(mmap.MADV_DONTFORK)  # as with the tables: see ``maps``
        self._consumed = memoryview(self._mine)[:8].cast("Q")
        self._produced = memoryview(self._theirs)[:8].cast("Q")
        self._data = memoryview(self._theirs)[mmap.PAGESIZE :]

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self._size

    def waiting(self) -> int:
        """Bytes that have not been read yet, headers included."""
        return self._produced[0] - self._consumed[0]

    def read(self, most: int) -> Iterator[bytes]:
        """Up to *most* records, oldest first; a record's room is free once the next is asked for.

        Stops before one that a program is still writing.
        """
        at, end = self._consumed[0], self._produced[0]
        while at < end and most > 0:
            start = at % self._size
            length, _ = _HEADER.unpack_from(self._data, start)
            if length & _BUSY:
                return
            size = length & ~_DISCARDED
            record = bytes(self._data[start + 8 : start + 8 + size])
            at += (8 + size + 7) & ~7
            self._consumed[0] = at
            if not length & _DISCARDED:
                most -= 1
                yield record

    def skip(self) -> None:
        """Let go of everything that was written so far."""
        self._consumed[0] = self._produced[0]

    def close(self) -> None:
        if hasattr(self, "_data"):
            for view in (self._consumed, self._produced, self._data):
                view.release()
            del self._data
        for mapping in ("_mine", "_theirs"):
            if hasattr(self, mapping):
                getattr(self, mapping).close()
        super().close()
