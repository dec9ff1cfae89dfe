# SPDX-License-Identifier: Apache-2.0
"""Loaded BPF programs: what the kernel knows of them, and running them on given packets."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

from penstock.kernel.libbpf import Handle, call

_HEADROOM: Final = 256  # bytes a program may add to a packet in a test run
XDP_LIVE_FRAMES: Final = 1 << 1  # BPF_F_TEST_XDP_LIVE_FRAMES: act on the verdict


class _ProgramInfo(ctypes.Structure):
    # struct bpf_prog_info, include/uapi/linux/bpf.h
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
        ("ifindex", ctypes.c_uint32),
        ("gpl_compatible", ctypes.c_uint32),
        ("netns_dev", ctypes.c_uint64),
        ("netns_ino", ctypes.c_uint64),
        ("nr_jited_ksyms", ctypes.c_uint32),
        ("nr_jited_func_lens", ctypes.c_uint32),
        ("jited_ksyms", ctypes.c_uint64),
        ("jited_func_lens", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_uint64),
        ("nr_func_info", ctypes.c_uint32),
        ("nr_line_info", ctypes.c_uint32),
        ("line_info", ctypes.c_uint64),
        ("jited_line_info", ctypes.c_uint64),
        ("nr_jited_line_info", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("jited_line_info_rec_size", ctypes.c_uint32),
        ("nr_prog_tags", ctypes.c_uint32),
        ("prog_tags", ctypes.c_uint64),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
        ("recursion_misses", ctypes.c_uint64),
        ("verified_insns", ctypes.c_uint32),
        ("attach_btf_obj_id", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel knows of a program; sizes in bytes, the name cut to 15 characters."""

    type: int  # enum bpf_prog_type
    id: int
    name: str
    tag: bytes  # digest of its instructions: equal programs have equal tags
    xlated_size: int
    jited_size: int  # 0: interpreted
    verified_instructions: int  # 0 before Linux 5.16


class XdpContext(ctypes.Structure):
    """struct xdp_md: where an XDP packet came from, for a test run."""

    _fields_ = (
        ("data", ctypes.c_uint32),
        ("data_end", ctypes.c_uint32),
        ("data_meta", ctypes.c_uint32),
        ("ingress_ifindex", ctypes.c_uint32),
        ("rx_queue_index", ctypes.c_uint32),
        ("egress_ifindex", ctypes.c_uint32),
    )


class SkbContext(ctypes.Structure):
    """struct __sk_buff, for a test run.

    The kernel takes mark, priority, ingress_ifindex, ifindex, cb, tstamp, wire_len, gso_segs,
    gso_size and refuses anything else that is not zero.
    """

    _fields_ = (
        ("len", ctypes.c_uint32),
        ("pkt_type", ctypes.c_uint32),
        ("mark", ctypes.c_uint32),
        ("queue_mapping", ctypes.c_uint32),
        ("protocol", ctypes.c_uint32),
        ("vlan_present", ctypes.c_uint32),
        ("vlan_tci", ctypes.c_uint32),
        ("vlan_proto", ctypes.c_uint32),
        ("priority", ctypes.c_uint32),
        ("ingress_ifindex", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
        ("tc_index", ctypes.c_uint32),
        ("cb", ctypes.c_uint32 * 5),
        ("hash", ctypes.c_uint32),
        ("tc_classid", ctypes.c_uint32),
        ("data", ctypes.c_uint32),
        ("data_end", ctypes.c_uint32),
        ("napi_id", ctypes.c_uint32),
        ("family", ctypes.c_uint32),
        ("remote_ip4", ctypes.c_uint32),
        ("local_ip4", ctypes.c_uint32),
        ("remote_ip6", ctypes.c_uint32 * 4),
        ("local_ip6", ctypes.c_uint32 * 4),
        ("remote_port", ctypes.c_uint32),
        ("local_port", ctypes.c_uint32),
        ("data_meta", ctypes.c_uint32),
        ("flow_keys", ctypes.c_uint64),
        ("tstamp", ctypes.c_uint64),
        ("wire_len", ctypes.c_uint32),
        ("gso_segs", ctypes.c_uint32),
        ("sk", ctypes.c_uint64),
        ("gso_size", ctypes.c_uint32),
        ("tstamp_type", ctypes.c_uint32),
        ("hwtstamp", ctypes.c_uint64),
    )


class _TestRunOptions(ctypes.Structure):
    # struct bpf_test_run_opts of libbpf's bpf.h
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a packet in a test run."""

    verdict: int  # the program's return value, signed (TCX_NEXT is -1)
    packet: bytes  # as the program left it
    nanoseconds: int  # mean of one run


class Program(Handle):
    """A loaded program."""

    kind = "program"

    def info(self) -> ProgramInfo:
        raw = _ProgramInfo()
        self.read_info(raw)
        return ProgramInfo(
            type=raw.type,
            id=raw.id,
            name=raw.name.decode(errors="replace"),
            tag=bytes(raw.tag),
            xlated_size=raw.xlated_prog_len,
            jited_size=raw.jited_prog_len,
            verified_instructions=raw.verified_insns,
        )

    def test_run(
        self,
        packet: bytes,
        context: SkbContext | XdpContext | None = None,
        *,
        repeat: int = 1,
        flags: int = 0,
    ) -> Outcome:
        """Run it *repeat* times on *packet* (from the Ethernet header on).

        *context* is updated to what the program left in it. The kernel feeds a repeated run what
        the run before made of the packet.
        """
        room = ctypes.create_string_buffer(len(packet) + _HEADROOM)
        options = _TestRunOptions(sz=ctypes.sizeof(_TestRunOptions), repeat=repeat, flags=flags)
        source = ctypes.create_string_buffer(packet, len(packet))
        options.data_in = ctypes.addressof(source)
        options.data_size_in = len(packet)
        if not flags & XDP_LIVE_FRAMES:  # those frames are gone afterwards
            options.data_out = ctypes.addressof(room)
            options.data_size_out = len(room)
        if context is not None:
            if isinstance(context, XdpContext):
                context.data, context.data_meta, context.data_end = 0, 0, len(packet)
            options.ctx_in = options.ctx_out = ctypes.addressof(context)
            options.ctx_size_in = options.ctx_size_out = ctypes.sizeof(context)
            if flags & XDP_LIVE_FRAMES:
                options.ctx_out, options.ctx_size_out = None, 0
        self._run(options)
        return Outcome(
            verdict=ctypes.c_int32(options.retval).value,
            packet=room.raw[: options.data_size_out],
            nanoseconds=options.duration,
        )

    def run_syscall(self, context: bytes = b"") -> tuple[int, bytes]:
        """Run a program of section "syscall" once: its return value, and *context* after it."""
        options = _TestRunOptions(sz=ctypes.sizeof(_TestRunOptions))
        buffer = ctypes.create_string_buffer(context, len(context)) if context else None
        if buffer is not None:
            options.ctx_in = ctypes.addressof(buffer)
            options.ctx_size_in = len(context)
        self._run(options)
        return ctypes.c_int32(options.retval).value, b"" if buffer is None else buffer.raw

    def _run(self, options: _TestRunOptions) -> None:
        call("run a program", "bpf_prog_test_run_opts", self.fd, ctypes.byref(options))
