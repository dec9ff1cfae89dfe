# SPDX-License-Identifier: Apache-2.0
"""Maps made while running, and arrays of them that programs look into.

A map in such an array lives as long as a slot, a pin or a handle refers to it; a program that has
just looked it up may go on with it.
"""

from __future__ import annotations

import ctypes
import errno
from typing import Final, TypeVar

from penstock.kernel.libbpf import call, refusal
from penstock.kernel.maps import HashMap, Map

_LRU_HASH: Final = 9  # enum bpf_map_type, include/uapi/linux/bpf.h
_LPM_TRIE: Final = 11
_NO_PREALLOC: Final = 1 << 0
_BATCH: Final = 65536  # elements a system call; the kernel may be asked to wait between them

_MapType = TypeVar("_MapType", bound=Map)


class _CreateOptions(ctypes.Structure):
    # struct bpf_map_create_opts, libbpf 1.1
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
    )


def _create(kind: int, name: str, sizes: tuple[int, int], entries: int, flags: int) -> int:
    options = _CreateOptions(sz=ctypes.sizeof(_CreateOptions), map_flags=flags)
    return call(
        f"make a map {name} of {entries} elements",
        "bpf_map_create",
        kind,
        name.encode()[:15],
        *sizes,
        entries,
        ctypes.byref(options),
    )


def create_lru(name: str, key_size: int, value_size: int, entries: int) -> HashMap:
    """A hash map that, when full, forgets what was not used for longest; all memory is taken."""
    return HashMap(_create(_LRU_HASH, name, (key_size, value_size), entries, 0))


class TrieMap(Map):
    """A map of prefixes: a key is its length in bits (32 bits, host order), then its bytes."""

    @classmethod
    def create(cls, name: str, key_size: int, entries: int) -> TrieMap:
        """A trie for up to *entries* prefixes, whose values are one byte without a meaning."""
        return cls(_create(_LPM_TRIE, name, (key_size, 1), max(entries, 1), _NO_PREALLOC))

    def add(self, keys: bytes | bytearray) -> None:
        """Put in the prefixes that lie one after another in *keys*."""
        size = self.info.key_size
        if len(keys) % size:
            raise ValueError(f"the keys of map {self.info.name} have {size} bytes each")
        values = bytes(_BATCH)
        for start in range(0, len(keys), _BATCH * size):
            some = bytes(keys[start : start + _BATCH * size])
            count = ctypes.c_uint32(len(some) // size)
            result = self._library.bpf_map_update_batch(self.fd, some, values, count, None)
            if result < 0:
                raise self._refusal("add to", -result)


class MapArray(Map):
    """An array of maps; a slot is switched over or emptied at once.

    Both wait until no program run that could have seen the slot as it was is under way.
    """

    def __len__(self) -> int:
        return self.info.max_entries

    def put(self, index: int, inner: Map) -> None:
        """Refer to *inner*, made like the ones this array was declared with, in a slot."""
        self._check(index)
        key, value = ctypes.c_uint32(index), ctypes.c_uint32(inner.fd)
        result = self._library.bpf_map_update_elem(
            self.fd, ctypes.byref(key), ctypes.byref(value), 0
        )
        if result < 0:
            raise self._refusal("write to", -result)

    def open(self, index: int, kind: type[_MapType]) -> _MapType | None:
        """A handle on the map in a slot, or None."""
        self._check(index)
        key, number = ctypes.c_uint32(index), ctypes.c_uint32()
        result = self._library.bpf_map_lookup_elem(self.fd, ctypes.byref(key), ctypes.byref(number))
        if result == -errno.ENOENT:
            return None
        if result < 0:
            raise self._refusal("read", -result)
        return kind(call(f"open map {number.value}", "bpf_map_get_fd_by_id", number.value))

    def empty(self, index: int) -> bool:
        """Let go of what is in a slot; False when nothing was."""
        self._check(index)
        key = ctypes.c_uint32(index)
        result = self._library.bpf_map_delete_elem(self.fd, ctypes.byref(key))
        if result == -errno.ENOENT:
            return False
        if result < 0:
            raise self._refusal("delete from", -result)
        return True

    def _check(self, index: int) -> None:
        if not 0 <= index < self.info.max_entries:
            raise refusal(f"use slot {index} of map {self.info.name}", errno.E2BIG)
