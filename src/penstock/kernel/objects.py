# SPDX-License-Identifier: Apache-2.0
"""A compiled BPF object from file to kernel: sizes and constants set, maps reused, loaded."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from penstock.errors import DatapathError
from penstock.kernel.btf import Btf, FieldValue
from penstock.kernel.libbpf import LibbpfError, call, captured_log, encode_path, library, refusal
from penstock.kernel.maps import Map
from penstock.kernel.programs import Program

_MapType = TypeVar("_MapType", bound=Map)


class ObjectFile:
    """An object file opened for loading.

    Between construction and ``load()`` its maps can be sized and replaced and its constants set;
    afterwards ``program()`` and ``map()`` give handles that outlive it. Used as a context
    manager: what has no handle, pin or attachment by the end goes away. Raises DatapathError
    where the file is missing or is not a BPF object.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DatapathError(f"the BPF object {path} is missing; the build did not compile it")
        self._library = library()
        with captured_log() as lines:
            self._object = self._library.bpf_object__open_file(encode_path(path), None)
        if not self._object:
            raise refusal(f"open the BPF object {path}", ctypes.get_errno(), "".join(lines))
        self._maps = self._by_name("map")
        self._programs = self._by_name("program")
        self.btf = self._read_btf()

    def _by_name(self, what: str) -> dict[str, int]:
        step = getattr(self._library, f"bpf_object__next_{what}")
        name_of = getattr(self._library, f"bpf_{what}__name")
        found: dict[str, int] = {}
        item = step(self._object, None)
        while item:
            found[name_of(item).decode()] = item
            item = step(self._object, item)
        return found

    def _read_btf(self) -> Btf:
        size = ctypes.c_uint32()
        btf = self._library.bpf_object__btf(self._object)
        data = self._library.btf__raw_data(btf, size) if btf else None
        if not data:
            raise DatapathError(f"the BPF object {self.path} has no BTF; compile it with -g")
        # libbpf has filled in the variables' offsets, which the compiler leaves to the linker.
        return Btf(ctypes.string_at(data, size.value))

    @property
    def map_names(self) -> frozenset[str]:
        """The maps it declares, without those that hold its variables."""
        return frozenset(name for name in self._maps if "." not in name)

    @property
    def program_names(self) -> frozenset[str]:
        return frozenset(self._programs)

    def _map(self, name: str) -> int:
        try:
            return self._maps[name]
        except KeyError:
            raise DatapathError(f"{self.path.name} has no map {name}") from None

    def _program(self, name: str) -> int:
        try:
            return self._programs[name]
        except KeyError:
            raise DatapathError(f"{self.path.name} has no program {name}") from None

    def max_entries(self, name: str) -> int:
        entries: int = self._library.bpf_map__max_entries(self._map(name))
        return entries

    def set_max_entries(self, name: str, entries: int) -> None:
        """Size a map before it is made; 1 and up."""
        call(f"size map {name}", "bpf_map__set_max_entries", self._map(name), entries)

    def reuse_map(self, name: str, existing: Map) -> None:
        """Let the programs use *existing* (adopted from a pin) instead of a new map."""
        call(f"reuse map {name}", "bpf_map__reuse_fd", self._map(name), existing.fd)

    def set_map_pin(self, name: str, path: str | os.PathLike[str]) -> None:
        """Have ``load()`` pin the map at *path*, or take over what is pinned there already."""
        call(f"pin map {name}", "bpf_map__set_pin_path", self._map(name), encode_path(path))

    def set_constants(self, values: Mapping[str, FieldValue]) -> None:
        """Give global variables (``const volatile`` ones and others) their initial values.

        Constants are known to the verifier: branches on them cost nothing. Raises DatapathError
        for a variable that the object has not.
        """
        sections = {
            handle: layout
            for name, handle in self._maps.items()
            if "." in name and (layout := self.btf.section(name[name.find(".") :])) is not None
        }
        known = {variable for layout in sections.values() for variable in layout.fields}
        if unknown := sorted(values.keys() - known):
            raise DatapathError(f"{self.path.name} has no variable {', '.join(unknown)}")
        for handle, layout in sections.items():
            size = ctypes.c_size_t()
            start = self._library.bpf_map__initial_value(handle, size)
            data = bytearray(ctypes.string_at(start, size.value))
            for name in layout.fields.keys() & values.keys():
                layout.store(data, name, values[name])
            raw = (ctypes.c_char * len(data)).from_buffer(data)
            call("set constants", "bpf_map__set_initial_value", handle, raw, len(data))

    def skip_program(self, name: str) -> None:
        """Leave a program out of the load, for a kernel that cannot take it."""
        call(f"skip {name}", "bpf_program__set_autoload", self._program(name), False)

    def load(self) -> None:
        """Make the maps and have the kernel verify the programs. Raises LibbpfError with a log."""
        with captured_log() as lines:
            result: int = self._library.bpf_object__load(self._object)
        if result < 0:
            raise self._load_error(-result, "".join(lines))

    def _load_error(self, number: int, log: str) -> LibbpfError:
        for line in log.splitlines():
            # libbpf: prog 'NAME': BPF program load failed: Permission denied
            if line.startswith("libbpf: prog '") and "load failed" in line:
                name = line.split("'")[1]
                reason = _verdict(log)
                if reason:
                    return LibbpfError(
                        f"the kernel's verifier refused program {name}: {reason}", number, log
                    )
        return refusal(f"load {self.path.name} into the kernel", number, log)

    def program(self, name: str) -> Program:
        """A handle of its own on a loaded program."""
        fd: int = self._library.bpf_program__fd(self._program(name))
        if fd < 0:
            raise DatapathError(f"program {name} is not loaded")
        return Program.duplicate(fd)

    def map(self, name: str, kind: type[_MapType]) -> _MapType:
        """A handle of its own on a loaded map, as an ArrayMap, HashMap or PerCpuArray."""
        fd: int = self._library.bpf_map__fd(self._map(name))
        if fd < 0:
            raise DatapathError(f"map {name} is not loaded")
        return kind.duplicate(fd)

    def close(self) -> None:
        if self._object:
            self._library.bpf_object__close(self._object)
            self._object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _verdict(log: str) -> str:
    """The verifier's reason: the last line of its log before the statistics."""
    body = log.partition("-- BEGIN PROG LOAD LOG --")[2].partition("-- END PROG LOAD LOG --")[0]
    lines = [line.strip() for line in body.splitlines()]
    kept = [
        line
        for line in lines
        if line and not line.startswith(("processed ", "verification ", "stack depth", "libbpf:"))
    ]
    return kept[-1] if kept else ""
