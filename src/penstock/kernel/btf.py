# SPDX-License-Identifier: Apache-2.0
"""Struct layouts and enums that Python and the BPF programs share, read from BTF.

BTF is the type information in the compiled object (Documentation/bpf/btf.rst in the kernel's
tree). Nothing here calls the kernel or libbpf.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, Literal

from penstock.errors import DatapathError

FieldValue = int | bytes | Sequence[int] | Mapping[str, "FieldValue"]

_MAGIC: Final = 0xEB9F
_POINTER_SIZE: Final = 8
_WIRE_TYPES: Final = frozenset(
    {"be16", "be32", "be64", "__be16", "__be32", "__be64"}
)  # numbers in network byte order, told by their typedef


class _Kind(IntEnum):
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_ALIASES: Final = frozenset(
    {_Kind.TYPEDEF, _Kind.VOLATILE, _Kind.CONST, _Kind.RESTRICT, _Kind.TYPE_TAG}
)


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    type: int
    offset: int  # bits for a struct's member, bytes for a section's variable
    bits: int = 0  # width of a bit field


@dataclass(frozen=True, slots=True)
class _Type:
    kind: _Kind
    name: str
    size: int = 0  # bytes; an array's number of elements
    refers_to: int = 0
    signed: bool = False
    members: tuple[_Member, ...] = ()
    values: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a layout; offset and size in bytes, ``count`` elements if an array, else 0."""

    name: str
    offset: int
    size: int  # of the whole field
    count: int = 0
    signed: bool = False
    wire: bool = False  # network byte order
    nested: Layout | None = None  # of each element

    def encode(self, value: FieldValue) -> bytes:
        """*value* as this field's bytes; a short bytes value is padded with zeros.

        Raises ValueError (OverflowError for a number) for what does not fit.
        """
        if isinstance(value, bytes | bytearray | memoryview):
            if len(value) > self.size:
                raise ValueError(f"{self.name} has {self.size} bytes, not {len(value)}")
            return bytes(value).ljust(self.size, b"\0")
        if isinstance(value, int):
            if self.count or self.nested:
                raise ValueError(f"{self.name} is not a number")
            return value.to_bytes(self.size, self._order, signed=self.signed)
        if isinstance(value, Mapping):
            if self.nested is None or self.count:
                raise ValueError(f"{self.name} is not a struct")
            return self.nested.pack(**value)
        if len(value) > self.count or self.nested is not None:
            raise ValueError(f"{self.name} has {self.count} elements, not {len(value)}")
        each = self.size // self.count
        return b"".join(
            item.to_bytes(each, self._order, signed=self.signed) for item in value
        ).ljust(self.size, b"\0")

    def integers(self, data: bytes) -> tuple[int, ...]:
        """The numbers in *data*, this field's bytes."""
        each = self.size // (self.count or 1)
        return tuple(
            int.from_bytes(data[start : start + each], self._order, signed=self.signed)
            for start in range(0, self.size, each)
        )

    @property
    def _order(self) -> Literal["big", "little"]:
        return "big" if self.wire else sys.byteorder


@dataclass(frozen=True, slots=True)
class Record:
    """A struct's bytes, read by field name."""

    layout: Layout
    data: bytes

    def raw(self, name: str) -> bytes:
        field = self.layout.field(name)
        return self.data[field.offset : field.offset + field.size]

    def integer(self, name: str) -> int:
        return self.integers(name)[0]

    def integers(self, name: str) -> tuple[int, ...]:
        return self.layout.field(name).integers(self.raw(name))

    def text(self, name: str) -> str:
        """A char or u8 array up to its first zero byte."""
        return self.raw(name).partition(b"\0")[0].decode(errors="replace")

    def nested(self, name: str, index: int = 0) -> Record:
        field = self.layout.field(name)
        if field.nested is None:
            raise ValueError(f"{self.layout.name}.{name} is not a struct")
        start = field.offset + index * field.nested.size
        return Record(field.nested, self.data[start : start + field.nested.size])


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a struct's fields are; ``size`` in bytes."""

    name: str
    size: int
    fields: Mapping[str, Field]

    def field(self, name: str) -> Field:
        """The field called *name*. Raises DatapathError: the object was built otherwise."""
        try:
            return self.fields[name]
        except KeyError:
            raise DatapathError(f"{self.name} has no field {name} in the BPF object") from None

    def offset(self, name: str) -> int:
        return self.field(name).offset

    def pack(self, **values: FieldValue) -> bytes:
        """A struct with *values* and zeros elsewhere."""
        data = bytearray(self.size)
        for name, value in values.items():
            self.store(data, name, value)
        return bytes(data)

    def store(self, data: bytearray, name: str, value: FieldValue) -> None:
        """Write one field into *data*, a whole struct."""
        field = self.field(name)
        data[field.offset : field.offset + field.size] = field.encode(value)

    def unpack(self, data: bytes) -> Record:
        if len(data) != self.size:
            raise ValueError(f"{self.name} has {self.size} bytes, not {len(data)}")
        return Record(self, data)


class Btf:
    """The types of one BPF object, from the contents of its .BTF section."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 24 or struct.unpack_from("=H", data)[0] != _MAGIC:
            raise DatapathError("the BPF object's type information (BTF) is not readable")
        # struct btf_header: magic, version, flags, hdr_len, type_off/len, str_off/len
        header, types_at, types_size, names_at, names_size = struct.unpack_from("=IIIII", data, 4)
        names = data[header + names_at : header + names_at + names_size]
        types = data[header + types_at : header + types_at + types_size]
        self._types = [_Type(_Kind.INT, "void"), *_read_types(types, names)]
        self._ids: dict[tuple[_Kind, str], int] = {}
        for number, item in enumerate(self._types):
            self._ids.setdefault((item.kind, item.name), number)
        self._layouts: dict[str, Layout] = {}

    @classmethod
    def from_object(cls, path: str | os.PathLike[str]) -> Btf:
        """Read the .BTF section of the ELF file at *path*; variables have no offsets there."""
        return cls(_elf_section(Path(path).read_bytes(), b".BTF", path))

    def layout(self, name: str) -> Layout:
        """The layout of ``struct name``. Raises DatapathError: the object has none."""
        number = self._ids.get((_Kind.STRUCT, name))
        if number is None:
            raise DatapathError(f"the BPF object has no struct {name}")
        if name not in self._layouts:
            self._layouts[name] = self._layout(number)
        return self._layouts[name]

    def enum(self, name: str) -> dict[str, int]:
        """The members of ``enum name``. Raises DatapathError: the object has none."""
        number = self._ids.get((_Kind.ENUM, name), self._ids.get((_Kind.ENUM64, name)))
        if number is None:
            raise DatapathError(f"the BPF object has no enum {name}")
        return dict(self._types[number].values)

    def section(self, name: str) -> Layout | None:
        """The variables of a section such as .rodata; None when it has none."""
        number = self._ids.get((_Kind.DATASEC, name))
        if number is None:
            return None
        section = self._types[number]
        fields = {}
        for member in section.members:
            variable = self._types[member.type]
            fields[variable.name] = self._field(variable.name, variable.refers_to, member.offset)
        return Layout(name, section.size, fields)

    def _layout(self, number: int) -> Layout:
        item = self._types[number]
        fields: dict[str, Field] = {}
        for member in item.members:
            offset = member.offset // 8
            if not member.name:  # an anonymous struct or union: its members are ours
                inner = self._layout(self._plain(member.type)[0])
                for field in inner.fields.values():
                    fields[field.name] = Field(
                        field.name,
                        field.offset + offset,
                        field.size,
                        field.count,
                        field.signed,
                        field.wire,
                        field.nested,
                    )
            elif not member.bits:  # bit fields are not shared with Python
                fields[member.name] = self._field(member.name, member.type, offset)
        return Layout(item.name, item.size, fields)

    def _field(self, name: str, number: int, offset: int) -> Field:
        count = 0
        plain, wire = self._plain(number)
        while self._types[plain].kind is _Kind.ARRAY:
            count = (count or 1) * self._types[plain].size
            plain, wire = self._plain(self._types[plain].refers_to)
        item = self._types[plain]
        size = _POINTER_SIZE if item.kind is _Kind.PTR else item.size
        nested = self._layout(plain) if item.kind in (_Kind.STRUCT, _Kind.UNION) else None
        return Field(name, offset, size * (count or 1), count, item.signed, wire, nested)

    def _plain(self, number: int) -> tuple[int, bool]:
        """The type behind typedefs and qualifiers, and whether one says network byte order."""
        wire = False
        while self._types[number].kind in _ALIASES:
            wire = wire or self._types[number].name in _WIRE_TYPES
            number = self._types[number].refers_to
        return number, wire


def _read_types(types: bytes, names: bytes) -> Iterator[_Type]:
    """Decode the type section; see struct btf_type in include/uapi/linux/btf.h."""

    def name_at(offset: int) -> str:
        return names[offset : names.index(b"\0", offset)].decode()

    at = 0
    while at < len(types):
        name_offset, info, word = struct.unpack_from("=III", types, at)
        at += 12
        count, flag = info & 0xFFFF, bool(info >> 31)
        kind, name = _Kind((info >> 24) & 0x1F), name_at(name_offset)
        match kind:
            case _Kind.INT:
                (encoding,) = struct.unpack_from("=I", types, at)
                at += 4
                yield _Type(kind, name, size=word, signed=bool((encoding >> 24) & 1))
            case _Kind.ARRAY:
                element, _, elements = struct.unpack_from("=III", types, at)
                at += 12
                yield _Type(kind, name, size=elements, refers_to=element)
            case _Kind.STRUCT | _Kind.UNION:
                members = []
                for _ in range(count):
                    member, target, offset = struct.unpack_from("=III", types, at)
                    at += 12
                    bits = offset >> 24 if flag else 0
                    place = offset & 0xFFFFFF if flag else offset
                    members.append(_Member(name_at(member), target, place, bits))
                yield _Type(kind, name, size=word, members=tuple(members))
            case _Kind.ENUM | _Kind.ENUM64:
                form = "=II" if kind is _Kind.ENUM else "=III"
                values = []
                for _ in range(count):
                    member, low, *high = struct.unpack_from(form, types, at)
                    at += struct.calcsize(form)
                    number, width = (low | high[0] << 32, 64) if high else (low, 32)
                    # Compilers before LLVM 16 do not say that a 32-bit enum is signed.
                    if (flag or not high) and number >> (width - 1):
                        number -= 1 << width
                    values.append((name_at(member), number))
                yield _Type(kind, name, size=word, signed=flag, values=tuple(values))
            case _Kind.DATASEC:
                variables = []
                for _ in range(count):
                    target, offset, _size = struct.unpack_from("=III", types, at)
                    at += 12
                    variables.append(_Member("", target, offset))
                yield _Type(kind, name, size=word, members=tuple(variables))
            case _:
                at += {_Kind.FUNC_PROTO: 8 * count, _Kind.VAR: 4, _Kind.DECL_TAG: 4}.get(kind, 0)
                yield _Type(kind, name, size=word, refers_to=word)


def _elf_section(data: bytes, wanted: bytes, path: str | os.PathLike[str]) -> bytes:
    """The contents of a section of a 64-bit ELF file in this machine's byte order."""
    if data[:4] != b"\x7fELF" or data[4] != 2:
        raise DatapathError(f"{path} is not a BPF object")
    (table,) = struct.unpack_from("=Q", data, 40)
    entry_size, count, names_index = struct.unpack_from("=HHH", data, 58)
    sections = [struct.unpack_from("=IIQQQQ", data, table + entry_size * i) for i in range(count)]
    names = sections[names_index][4]
    for name, _kind, _flags, _address, offset, size in sections:
        start = names + name
        if data[start : data.index(b"\0", start)] == wanted:
            return data[offset : offset + size]
    raise DatapathError(f"{path} has no {wanted.decode()} section; compile it with -g")
