# SPDX-License-Identifier: Apache-2.0
"""Brings the datapath into the kernel, or takes over the one that is pinned there.

Maps hold everything that must survive us; they are pinned and taken over as they are. Programs
hold nothing: a start loads its own and the links are switched over to them, so that an upgrade is
an ordinary restart. Where those that are pinned are the same, they do: verifying takes most of a
start's time.
"""

from __future__ import annotations

import importlib.resources
import platform
import secrets
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from penstock.engine.kernel.keys import Codec
from penstock.engine.kernel.program_pins import PROGRAMS, digest_of, pin_programs, pinned_programs
from penstock.errors import DatapathError
from penstock.kernel.libbpf import LibbpfError
from penstock.kernel.maps import ArrayMap, HashMap, Map, PerCpuArray, possible_cpus
from penstock.kernel.nested import MapArray
from penstock.kernel.objects import ObjectFile
from penstock.kernel.programs import Program
from penstock.kernel.ringbuf import RingBuffer

_WINDOW = 32  # flow.h, HOP_RANGE
# Two slots a flow, and one in five left free: an insert then finds room near its home slot.
_SLOTS_PER_FLOW = 2.5
_SHARE_OF_MEMORY = 8  # the flow tables take at most an eighth of the machine's memory
_FLOW_BYTES = int(_SLOTS_PER_FLOW * (64 + 128 + 2 * 8))  # both families' tables and beginnings


@dataclass(frozen=True, slots=True)
class Maps:
    """The maps, opened as what they are."""

    flows4: ArrayMap
    flows6: ArrayMap
    begun4: ArrayMap
    begun6: ArrayMap
    occupied4: ArrayMap
    occupied6: ArrayMap
    vips: HashMap
    local_addresses: HashMap
    services: HashMap
    pools: HashMap
    reals: HashMap
    tables: ArrayMap
    service_lives: ArrayMap
    real_lives: ArrayMap
    outcomes: ArrayMap
    service_turnings: ArrayMap
    pool_refusals: ArrayMap
    service_traffic: PerCpuArray
    real_traffic: PerCpuArray
    reasons: PerCpuArray
    ports: ArrayMap
    port_of_ifindex: HashMap
    controls: ArrayMap
    usable_ports: ArrayMap
    directors: ArrayMap
    cursors: ArrayMap
    templates: HashMap
    caches: HashMap
    sync_ring: RingBuffer
    sync_inbox: ArrayMap
    cut_outbox: ArrayMap
    flow_logs: HashMap
    log_ring: RingBuffer
    admission_steps: ArrayMap
    networks4: MapArray
    networks6: MapArray
    sources: MapArray
    network_labels: HashMap
    source_labels: HashMap


@dataclass(frozen=True, slots=True)
class Datapath:
    """What is loaded: maps, programs, layouts; ``adopted`` when the maps were there before us."""

    maps: Maps
    codec: Codec
    tc: Program
    reply: Program
    xdp: Program
    sweep: Program
    sync: Program
    cut: Program
    max_flows: int
    adopted: bool

    def close(self) -> None:
        """Let go of all descriptors and mappings; what is pinned stays."""
        for one in fields(self.maps):
            getattr(self.maps, one.name).close()
        for program in (self.tc, self.reply, self.xdp, self.sweep, self.sync, self.cut):
            program.close()


def object_path() -> Path:
    """The compiled datapath that this package ships."""
    return Path(str(importlib.resources.files("penstock") / "bpf" / "penstock.bpf.o"))


def flows_for(wanted: int, memory_kib: int) -> int:
    """How many flows the tables are made for: *wanted*, or what an eighth of memory holds."""
    return max(1024, min(wanted, memory_kib * 1024 // _SHARE_OF_MEMORY // _FLOW_BYTES))


def slots_for(flows: int) -> int:
    return int(flows * _SLOTS_PER_FLOW)


def beyond() -> int:
    """Slots behind those that are hashed to: the last home's window, and one of each CPU's own."""
    return _WINDOW + possible_cpus()


def open_datapath(max_flows: int, pins: Path) -> Datapath:
    """Load the programs on the maps pinned under *pins*, making and pinning those that are not.

    Raises DatapathError when the kernel refuses, or when what is pinned was made by a version
    whose maps differ.
    """
    (pins / "maps").mkdir(parents=True, exist_ok=True)
    with ObjectFile(object_path()) as obj:
        codec = Codec(obj.btf)
        pinned = _pinned(pins, obj.map_names)
        adopted = len(pinned) == len(obj.map_names)
        if pinned and not adopted:  # a start that was cut short left a part
            for name, old in pinned.items():
                old.close()
                (pins / "maps" / name).unlink()
            pinned = {}
        if adopted:
            slots4 = pinned["flows4"].info.max_entries - beyond()
            slots6 = pinned["flows6"].info.max_entries - beyond()
            seed = _pinned_seed(pins, codec)
            for name, existing in pinned.items():
                obj.reuse_map(name, existing)
        else:
            slots4 = slots6 = slots_for(max_flows)
            seed = secrets.randbits(64)
            for name, slots in (("4", slots4), ("6", slots6)):
                obj.set_max_entries(f"flows{name}", slots + beyond())
                obj.set_max_entries(f"begun{name}", slots + beyond())
                obj.set_max_entries(f"occupied{name}", (slots + beyond()) // 64 + 1)
        constants = {
            "flow4_slots": slots4,
            "flow6_slots": slots6,
            "hash_seed": seed,
            "csum_ipv6_flag": _csum_ipv6_flag(),
        }
        digest = digest_of(obj.path, constants)
        programs = pinned_programs(pins / "programs", digest) if adopted else {}
        if programs:
            maps = _open_maps(lambda name, kind: kind.duplicate(pinned[name].fd))
        else:
            obj.set_constants(constants)
            _load(obj, pins, adopted=adopted)
            maps = _open_maps(obj.map)
            if not adopted:
                maps.controls.store64(0, codec.control.offset("hash_seed"), seed)
                maps.controls.store64(0, codec.control.offset("format"), codec.format)
                _pin_maps(obj, pins / "maps")
            programs = {name: obj.program(f"penstock_{name}") for name in PROGRAMS}
            pin_programs(programs, pins / "programs", digest)
        for existing in pinned.values():
            existing.close()
        return Datapath(
            maps=maps,
            codec=codec,
            **programs,
            max_flows=int(slots4 / _SLOTS_PER_FLOW),
            adopted=adopted,
        )


def _load(obj: ObjectFile, pins: Path, *, adopted: bool) -> None:
    try:
        obj.load()
    except LibbpfError as error:
        if adopted and not error.log.count("prog '"):
            raise _other_version(pins) from error
        raise


def _pin_maps(obj: ObjectFile, directory: Path) -> None:
    for name in obj.map_names:
        with obj.map(name, Map) as fresh:
            fresh.pin(directory / name)


def _open_maps(opened: Callable[[str, type[Map]], Map]) -> Maps:
    kinds: dict[str, type[Map]] = {
        one.__name__: one for one in (ArrayMap, HashMap, PerCpuArray, RingBuffer, MapArray)
    }
    return Maps(
        **{  # type: ignore[arg-type]  # each kind is the one annotated
            name: opened(name, kinds[str(kind)]) for name, kind in Maps.__annotations__.items()
        }
    )


def _pinned(pins: Path, names: frozenset[str]) -> dict[str, Map]:
    found: dict[str, Map] = {}
    for name in names:
        path = pins / "maps" / name
        if path.exists():
            found[name] = Map.from_pin(path)
    return found


def _pinned_seed(pins: Path, codec: Codec) -> int:
    """The hash seed the pinned flow tables were filled with, if by maps like ours."""
    with ArrayMap.from_pin(pins / "maps" / "controls") as controls:
        if controls.info.value_size != codec.control.size:
            raise _other_version(pins)
        if controls.load64(0, codec.control.offset("format")) != codec.format:
            raise _other_version(pins)
        return controls.load64(0, codec.control.offset("hash_seed"))


def _other_version(pins: Path) -> DatapathError:
    return DatapathError(
        f"the datapath pinned at {pins} was made by another version of penstock; stop it with the "
        "version that made it, or remove that directory (its flows are lost) and start again"
    )


def _csum_ipv6_flag() -> int:
    """BPF_F_IPV6 keeps CHECKSUM_COMPLETE right across IPv6 rewrites, from Linux 6.16 on."""
    release = platform.release().split(".")
    version = int(release[0]), int("".join(c for c in release[1] if c.isdigit()) or 0)
    return 1 << 7 if version >= (6, 16) else 0
