# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from penstock.errors import DatapathError
from penstock.kernel.btf import Btf, Layout

SOURCE = Path(__file__).parents[2] / "bpf" / "kernel_layer.bpf.c"


@pytest.fixture(scope="module")
def compiled(compile_bpf: Callable[[Path], Path]) -> Path:
    return compile_bpf(SOURCE)


@pytest.fixture(scope="module")
def btf(compiled: Path) -> Btf:
    return Btf.from_object(compiled)


@pytest.fixture(scope="module")
def sample(btf: Btf) -> Layout:
    return btf.layout("sample")


def test_numbers_go_in_and_come_out(sample: Layout) -> None:
    record = sample.unpack(sample.pack(number=0xFFFFFFFF, negative=-3, proto=255))
    assert record.integer("number") == 0xFFFFFFFF
    assert record.integer("negative") == -3
    assert record.integer("proto") == 255
    assert record.integer("b") == 0


def test_network_order_follows_the_typedef(sample: Layout) -> None:
    data = sample.pack(port=443)
    assert data[sample.offset("port") :][:2] == b"\x01\xbb"
    assert sample.unpack(data).integer("port") == 443


def test_a_short_address_is_padded(sample: Layout) -> None:
    record = sample.unpack(sample.pack(addr=IPv4Address("10.1.2.3").packed))
    assert record.raw("addr") == b"\x0a\x01\x02\x03" + bytes(12)
    assert record.integers("addr") == (0x0A010203, 0, 0, 0)


def test_arrays_structs_and_unions(sample: Layout) -> None:
    data = sample.pack(one={"x": 7, "mac": b"\1\2\3\4\5\6"}, addr=(1, 2), b=1 << 40, name=b"edge")
    record = sample.unpack(data)
    assert record.nested("one").integer("x") == 7
    assert record.nested("one").raw("mac") == b"\1\2\3\4\5\6"
    assert record.nested("two", 1).integer("x") == 0
    assert record.integers("addr") == (1, 2, 0, 0)
    assert record.integer("a") == 0
    assert record.integer("b") == 1 << 40
    assert record.text("name") == "edge"


def test_enums(btf: Btf) -> None:
    assert btf.enum("verdicts") == {"NEXT": -1, "FINE": 0, "SHOT": 2}


@pytest.mark.parametrize(
    "values",
    [
        {"number": 1 << 32},
        {"number": -1},
        {"port": 65536},
        {"name": b"x" * 13},
        {"addr": (1, 2, 3, 4, 5)},
        {"addr": 1},
        {"number": {"x": 1}},
    ],
)
def test_what_does_not_fit_is_refused(sample: Layout, values: dict[str, int]) -> None:
    with pytest.raises((ValueError, OverflowError)):
        sample.pack(**values)


def test_unknown_names_are_told(btf: Btf, sample: Layout) -> None:
    with pytest.raises(DatapathError, match="no field color"):
        sample.pack(color=1)
    with pytest.raises(DatapathError, match="no struct nothing"):
        btf.layout("nothing")
    with pytest.raises(DatapathError, match="no enum nothing"):
        btf.enum("nothing")


def test_variables_of_a_section(btf: Btf) -> None:
    section = btf.section(".rodata")
    assert section is not None
    assert {"answer", "constant"} <= set(section.fields)
    assert btf.section(".nothing") is None


def test_other_files_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.o"
    other.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(DatapathError, match="is not a BPF object"):
        Btf.from_object(other)
    with pytest.raises(DatapathError, match="not readable"):
        Btf(b"\0" * 40)


@pytest.mark.needs("bpftool")
def test_layouts_agree_with_bpftool(compiled: Path, btf: Btf) -> None:
    bpftool = shutil.which("bpftool")
    dump = subprocess.run(
        [str(bpftool), "-j", "btf", "dump", "file", str(compiled)],
        check=True,
        capture_output=True,
    )
    seen = 0
    for item in json.loads(dump.stdout)["types"]:
        if item["kind"] == "STRUCT" and item["name"] != "(anon)":
            layout = btf.layout(item["name"])
            assert layout.size == item["size"]
            for member in item["members"]:
                if member["name"] in layout.fields:
                    assert layout.offset(member["name"]) == member["bits_offset"] // 8
                    seen += 1
        if item["kind"] == "ENUM" and item["name"] != "(anon)":
            theirs = {value["name"]: value["val"] & 0xFFFFFFFF for value in item["values"]}
            ours = {name: value & 0xFFFFFFFF for name, value in btf.enum(item["name"]).items()}
            assert ours == theirs
    assert seen >= 20
