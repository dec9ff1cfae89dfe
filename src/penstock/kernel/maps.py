# SPDX-License-Identifier: Apache-2.0
"""Typed access to BPF maps: arrays in shared memory, hashes of bytes, per-CPU counters.

Keys and values are bytes; ``btf.Layout`` makes and reads them.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from penstock.errors import DatapathError
from penstock.kernel.libbpf import Handle, library, refusal

_BATCH: Final = 4096  # elements a system call; bounds the buffers
_F_MMAPABLE: Final = 1 << 10
_PER_CPU_BUFFER: Final = 1 << 22  # bytes


class Update(IntEnum):
    """What an update may do to an existing element (BPF_ANY, BPF_NOEXIST, BPF_EXIST)."""

    ANY = 0
    CREATE = 1
    REPLACE = 2


class _MapInfo(ctypes.Structure):
    # struct bpf_map_info, include/uapi/linux/bpf.h
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
        ("ifindex", ctypes.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel knows of a map; sizes in bytes, the name cut to 15 characters."""

    type: int  # enum bpf_map_type
    id: int
    name: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@functools.cache
def possible_cpus() -> int:
    """How many values a per-CPU element has: CPUs that may ever come online."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return 1 + int(text.strip().replace("-", ",").rsplit(",", 1)[-1])


class Map(Handle):
    """A map of any type: its identity and its pins."""

    kind = "map"

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.info = self._info()
        self._library = library()

    def _info(self) -> MapInfo:
        raw = _MapInfo()
        self.read_info(raw)
        return MapInfo(
            type=raw.type,
            id=raw.id,
            name=raw.name.decode(errors="replace"),
            key_size=raw.key_size,
            value_size=raw.value_size,
            max_entries=raw.max_entries,
            flags=raw.map_flags,
        )

    def _check_size(self, what: str, data: bytes | bytearray, size: int) -> None:
        if len(data) != size:
            raise ValueError(f"a {what} of map {self.info.name} has {size} bytes, not {len(data)}")

    def _refusal(self, what: str, number: int) -> DatapathError:
        return refusal(f"{what} map {self.info.name}", number)


class ArrayMap(Map):
    """An array made with BPF_F_MMAPABLE, as memory shared with the programs.

    ``memory``, ``words`` (32 bits) and ``quads`` (64 bits) are views of all of it; an assignment
    to one item of ``words`` or ``quads`` is a single aligned store, so a program on another CPU
    sees the old or the new number and never half of each. Longer writes are not atomic.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        if not self.info.flags & _F_MMAPABLE:
            self.close()
            raise DatapathError(f"map {self.info.name} was not made to be mapped into memory")
        self.stride = -(-self.info.value_size // 8) * 8  # kernel/bpf/arraymap.c rounds up
        length = -(-self.stride * self.info.max_entries // mmap.PAGESIZE) * mmap.PAGESIZE
        try:
            self._mapping = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as error:
            self.close()
            raise self._refusal("map into memory the", error.errno or errno.EINVAL) from error
        # A forked child, which reads what strangers send, is not to write the datapath's tables.
        self._mapping.madvise(mmap.MADV_DONTFORK)
        whole = memoryview(self._mapping)
        self.memory = whole[: self.stride * self.info.max_entries]
        self.words = self.memory.cast("I")
        self.quads = self.memory.cast("Q")
        whole.release()

    def __len__(self) -> int:
        return self.info.max_entries

    def close(self) -> None:
        """Unmap and close; views handed out before must have been released."""
        if hasattr(self, "quads"):
            self.words.release()
            self.quads.release()
            self.memory.release()
            self._mapping.close()
            del self.quads
        super().close()

    def _offset(self, index: int) -> int:
        if not 0 <= index < self.info.max_entries:
            raise IndexError(
                f"map {self.info.name} has {self.info.max_entries} elements, not one at {index}"
            )
        return index * self.stride

    def read(self, index: int) -> bytes:
        start = self._offset(index)
        return bytes(self.memory[start : start + self.info.value_size])

    def write(self, index: int, value: bytes) -> None:
        """Store a whole value; not atomic beyond what a caller arranges."""
        self._check_size("value", value, self.info.value_size)
        start = self._offset(index)
        self.memory[start : start + len(value)] = value

    def load32(self, index: int, offset: int = 0) -> int:
        """The 32-bit word at byte *offset* (a multiple of 4) of an element."""
        return self.words[(self._offset(index) + offset) >> 2]

    def store32(self, index: int, offset: int, value: int) -> None:
        """Store a 32-bit word at byte *offset* (a multiple of 4) of an element, at once."""
        self.words[(self._offset(index) + offset) >> 2] = value

    def load64(self, index: int, offset: int = 0) -> int:
        """The 64-bit word at byte *offset* (a multiple of 8) of an element."""
        return self.quads[(self._offset(index) + offset) >> 3]

    def store64(self, index: int, offset: int, value: int) -> None:
        """Store a 64-bit word at byte *offset* (a multiple of 8) of an element, at once."""
        self.quads[(self._offset(index) + offset) >> 3] = value

    def write_words(self, index: int, words: Iterable[int]) -> None:
        """Store consecutive 32-bit elements from *index*, each of them at once."""
        if self.info.value_size != 4:
            raise ValueError(f"the elements of map {self.info.name} are not 32-bit words")
        # The upper half of an element's 8 bytes is padding, so whole elements are stored.
        elements = array("Q", words)
        if elements:
            self._offset(index)
            self._offset(index + len(elements) - 1)
            self.quads[index : index + len(elements)] = memoryview(elements)


class HashMap(Map):
    """A hash (or LRU hash) map of fixed-size keys and values; an update replaces atomically."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._value = ctypes.create_string_buffer(self.info.value_size)

    def get(self, key: bytes) -> bytes | None:
        """The value under *key*, or None."""
        self._check_size("key", key, self.info.key_size)
        result = self._library.bpf_map_lookup_elem(self.fd, key, self._value)
        if result == -errno.ENOENT:
            return None
        if result < 0:
            raise self._refusal("read", -result)
        return self._value.raw

    def put(self, key: bytes, value: bytes, how: Update = Update.ANY) -> None:
        """Store *value* under *key*. Raises LibbpfError (E2BIG: full; EEXIST, ENOENT: *how*)."""
        self._check_size("key", key, self.info.key_size)
        self._check_size("value", value, self.info.value_size)
        result = self._library.bpf_map_update_elem(self.fd, key, value, how)
        if result < 0:
            raise self._full() if result == -errno.E2BIG else self._refusal("write to", -result)

    def _full(self) -> DatapathError:
        return refusal(
            f"add to map {self.info.name}, which has room for {self.info.max_entries} elements",
            errno.E2BIG,
        )

    def delete(self, key: bytes) -> bool:
        """Remove *key*; False when it was not there."""
        self._check_size("key", key, self.info.key_size)
        result = self._library.bpf_map_delete_elem(self.fd, key)
        if result == -errno.ENOENT:
            return False
        if result < 0:
            raise self._refusal("delete from", -result)
        return True

    def put_many(self, elements: Mapping[bytes, bytes]) -> None:
        """Store all of *elements*; each one atomically, together not."""
        for some in _chunks(elements.items()):
            for key, value in some:
                self._check_size("key", key, self.info.key_size)
                self._check_size("value", value, self.info.value_size)
            keys = b"".join(key for key, _ in some)
            values = b"".join(value for _, value in some)
            count = ctypes.c_uint32(len(some))
            result = self._library.bpf_map_update_batch(self.fd, keys, values, count, None)
            if result < 0:
                full = result == -errno.E2BIG
                raise self._full() if full else self._refusal("write to", -result)

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Remove all of *keys*; those that are not there are none of its business."""
        for key in keys:
            self.delete(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All elements in no order; those that come or go meanwhile may be missed."""
        key_size, value_size = self.info.key_size, self.info.value_size
        room = min(_BATCH, self.info.max_entries)
        token = ctypes.create_string_buffer(max(key_size, 4))
        start: ctypes.Array[ctypes.c_char] | None = None
        while True:
            keys = ctypes.create_string_buffer(room * key_size)
            values = ctypes.create_string_buffer(room * value_size)
            count = ctypes.c_uint32(room)
            result = self._library.bpf_map_lookup_batch(
                self.fd, start, token, keys, values, count, None
            )
            if result == -errno.ENOSPC:  # one bucket holds more than the buffers
                room *= 2
                continue
            if result < 0 and result != -errno.ENOENT:
                raise self._refusal("list", -result)
            for i in range(count.value):
                yield (
                    ctypes.string_at(ctypes.addressof(keys) + i * key_size, key_size),
                    ctypes.string_at(ctypes.addressof(values) + i * value_size, value_size),
                )
            if result == -errno.ENOENT:
                return
            start = ctypes.create_string_buffer(token.raw, len(token))

    def clear(self) -> None:
        for key, _ in list(self.items()):
            self.delete(key)


def _chunks(items: Iterable[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    chunk: list[tuple[bytes, bytes]] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == _BATCH:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class PerCpuArray(Map):
    """A per-CPU array whose values are 64-bit counters; reading sums over the CPUs."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        if self.info.value_size % 8:
            self.close()
            raise DatapathError(f"the values of map {self.info.name} are not 64-bit counters")
        self.width = self.info.value_size // 8  # counters in an element

    def __len__(self) -> int:
        return self.info.max_entries

    def sum(self, index: int) -> tuple[int, ...]:
        """The counters of one element."""
        values = (ctypes.c_uint64 * (possible_cpus() * self.width))()
        result = self._library.bpf_map_lookup_elem(
            self.fd, ctypes.byref(ctypes.c_uint32(index)), values
        )
        if result < 0:
            raise self._refusal("read", -result)
        return tuple(sum(values[word :: self.width]) for word in range(self.width))

    def clear(self, index: int) -> None:
        """Zero an element on every CPU."""
        zeros = (ctypes.c_uint64 * (possible_cpus() * self.width))()
        result = self._library.bpf_map_update_elem(
            self.fd, ctypes.byref(ctypes.c_uint32(index)), zeros, 0
        )
        if result < 0:
            raise self._refusal("write", -result)

    def columns(self, count: int | None = None) -> tuple[array[int], ...]:
        """The first *count* elements, as one array a counter: ``columns()[counter][index]``."""
        end = self.info.max_entries if count is None else min(count, self.info.max_entries)
        columns = tuple(array("Q") for _ in range(self.width))
        room = max(1, min(end, _PER_CPU_BUFFER // (8 * self.width * possible_cpus())))
        values = (ctypes.c_uint64 * (room * self.width * possible_cpus()))()
        keys = ctypes.create_string_buffer(4 * room)
        token = ctypes.c_uint32()
        start: ctypes.c_uint32 | None = None
        done = 0
        while done < end:
            got = ctypes.c_uint32(min(room, end - done))
            result = self._library.bpf_map_lookup_batch(
                self.fd,
                None if start is None else ctypes.byref(start),
                ctypes.byref(token),
                keys,
                values,
                got,
                None,
            )
            if result < 0 and (result != -errno.ENOENT or not got.value):
                raise self._refusal("read", -result)
            self._add_up(values, got.value, columns)
            done += got.value
            start = ctypes.c_uint32(token.value)
        return columns

    def _add_up(
        self, values: ctypes.Array[ctypes.c_uint64], count: int, columns: tuple[array[int], ...]
    ) -> None:
        """Append the sums over all CPUs of *count* elements to *columns*."""
        cpus = possible_cpus()
        flat = array("Q")
        flat.frombytes(memoryview(values).cast("B")[: count * cpus * self.width * 8])
        for word, column in enumerate(columns):
            # All elements of one CPU are one long integer with a 64-bit digit each, so that a
            # column is added up without a loop over elements (128 CPUs x 10,000 elements: 0.1 s).
            total = sum(
                int.from_bytes(
                    flat[cpu * self.width + word :: cpus * self.width].tobytes(), sys.byteorder
                )
                for cpu in range(cpus)
            )
            column.frombytes((total & ((1 << 64 * count) - 1)).to_bytes(8 * count, sys.byteorder))
