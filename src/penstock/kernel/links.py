# SPDX-License-Identifier: Apache-2.0
"""Attaching programs to interfaces, replacing them without a gap, and seeing who is attached.

XDP and tcx attachments are BPF links: pinned, they outlive us. Kernels before 6.6 have no tcx;
there a cls_bpf filter on clsact stands in, which lives until it is deleted.
"""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from penstock.kernel.libbpf import Handle, LibbpfError, call
from penstock.kernel.programs import Program

_ATTACH_XDP: Final = 37  # enum bpf_attach_type
_ATTACH_TCX_INGRESS: Final = 46
_ATTACH_TCX_EGRESS: Final = 47
_TC_INGRESS: Final = 1  # enum bpf_tc_attach_point
_TC_EGRESS: Final = 2
_TC_REPLACE: Final = 1
# Where our filter sits in the clsact chain: how a later process finds it again.
_FILTER_HANDLE: Final = 0x70656E73
_FILTER_PRIORITY: Final = 0x7065


class XdpMode(IntEnum):
    """XDP_FLAGS_SKB_MODE and XDP_FLAGS_DRV_MODE of include/uapi/linux/if_link.h."""

    GENERIC = 1 << 1
    NATIVE = 1 << 2


class _LinkCreateOptions(ctypes.Structure):
    # The part of struct bpf_link_create_opts (libbpf's bpf.h) that is used here.
    _fields_ = (("sz", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("pad", ctypes.c_uint32))


class _XdpQueryOptions(ctypes.Structure):
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("prog_id", ctypes.c_uint32),
        ("drv_prog_id", ctypes.c_uint32),
        ("hw_prog_id", ctypes.c_uint32),
        ("skb_prog_id", ctypes.c_uint32),
        ("attach_mode", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 7),
    )


class _QueryOptions(ctypes.Structure):
    # struct bpf_prog_query_opts up to prog_cnt
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("query_flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_void_p),
        ("prog_cnt", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("prog_attach_flags", ctypes.c_void_p),
    )


class _TcHook(ctypes.Structure):
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("ifindex", ctypes.c_int),
        ("attach_point", ctypes.c_int),
        ("parent", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


class _TcOptions(ctypes.Structure):
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("prog_fd", ctypes.c_int),
        ("flags", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("handle", ctypes.c_uint32),
        ("priority", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


class _LinkInfo(ctypes.Structure):
    # struct bpf_link_info, its union read as that of XDP and tcx links
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("rest", ctypes.c_uint64 * 8),
    )


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel knows of a link; ifindex 0: its interface is gone, or it is detached."""

    type: int  # enum bpf_link_type
    id: int
    program_id: int
    ifindex: int


class Link(Handle):
    """A program attached to an interface for as long as the link is held or pinned."""

    kind = "link"

    def info(self) -> LinkInfo:
        raw = _LinkInfo()
        self.read_info(raw)
        return LinkInfo(raw.type, raw.id, raw.prog_id, raw.ifindex)

    def replace(self, program: Program) -> None:
        """Put *program* in the place of the one attached; no packet goes by unseen.

        Raises LibbpfError (errno ENOLINK: its interface is gone).
        """
        call("replace the attached program", "bpf_link_update", self.fd, program.fd, None)

    def detach(self) -> None:
        """Take the program off, even where the link is pinned. A second time does nothing."""
        try:
            call("detach a program", "bpf_link_detach", self.fd)
        except LibbpfError as error:
            if error.errno not in (errno.ENOLINK, errno.ENODEV):
                raise


def attach_xdp(program: Program, ifindex: int, mode: XdpMode) -> Link:
    """Attach to an interface's XDP hook.

    Raises LibbpfError (EBUSY: another XDP program is there; EOPNOTSUPP, EINVAL: the driver or
    its settings do not allow *mode*).
    """
    options = _LinkCreateOptions(sz=ctypes.sizeof(_LinkCreateOptions), flags=mode)
    name = mode.name.lower()
    return Link(
        call(
            f"attach the {name} XDP program to interface {ifindex}",
            "bpf_link_create",
            program.fd,
            ifindex,
            _ATTACH_XDP,
            ctypes.byref(options),
        )
    )


def attach_tcx(program: Program, ifindex: int, *, egress: bool = False) -> Link:
    """Attach to an interface's tcx hook, behind those already there (Linux 6.6 and later)."""
    return Link(
        call(
            f"attach the tc program to interface {ifindex}",
            "bpf_link_create",
            program.fd,
            ifindex,
            _ATTACH_TCX_EGRESS if egress else _ATTACH_TCX_INGRESS,
            None,
        )
    )


class ClsactFilter:
    """Our filter on an interface's clsact ingress (or egress), where tcx is missing.

    It is found by its handle and priority, so there is nothing to pin: construct one for an
    interface to adopt what a former process left.
    """

    def __init__(self, ifindex: int, *, egress: bool = False) -> None:
        self.ifindex = ifindex
        self._point = _TC_EGRESS if egress else _TC_INGRESS

    def _hook(self) -> _TcHook:
        return _TcHook(sz=ctypes.sizeof(_TcHook), ifindex=self.ifindex, attach_point=self._point)

    def _options(self) -> _TcOptions:
        return _TcOptions(
            sz=ctypes.sizeof(_TcOptions), handle=_FILTER_HANDLE, priority=_FILTER_PRIORITY
        )

    def program_id(self) -> int | None:
        """The id of the program in it, or None when there is no such filter."""
        hook, options = self._hook(), self._options()
        try:
            call("look for a filter", "bpf_tc_query", ctypes.byref(hook), ctypes.byref(options))
        except LibbpfError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
                return None  # EINVAL: the interface has no clsact
            raise
        number: int = options.prog_id
        return number

    def replace(self, program: Program) -> None:
        """Attach *program*, or put it in the place of the one attached."""
        hook, options = self._hook(), self._options()
        what = f"attach the tc program to interface {self.ifindex}"
        try:
            call(what, "bpf_tc_hook_create", ctypes.byref(hook))
        except LibbpfError as error:
            if error.errno != errno.EEXIST:
                raise
        options.prog_fd, options.flags = program.fd, _TC_REPLACE
        call(what, "bpf_tc_attach", ctypes.byref(hook), ctypes.byref(options))

    def detach(self) -> None:
        """Delete the filter; clsact stays, for others may use it. A second time does nothing."""
        hook, options = self._hook(), self._options()
        try:
            call(
                "detach the tc program", "bpf_tc_detach", ctypes.byref(hook), ctypes.byref(options)
            )
        except LibbpfError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
                raise


@dataclass(frozen=True, slots=True)
class AttachedXdp:
    """Ids of the programs on an interface's XDP hook; 0: none."""

    native: int
    generic: int
    offloaded: int

    @property
    def any(self) -> int:
        return self.native or self.generic or self.offloaded


def query_xdp(ifindex: int) -> AttachedXdp:
    """Which XDP programs an interface has, whoever attached them."""
    options = _XdpQueryOptions(sz=ctypes.sizeof(_XdpQueryOptions))
    what = f"see what is attached to interface {ifindex}"
    call(what, "bpf_xdp_query", ifindex, 0, ctypes.byref(options))
    single = options.prog_id if not options.drv_prog_id | options.skb_prog_id else 0
    mode = options.attach_mode  # enum: none 0, driver 1, generic 2, hardware 3, several 4
    return AttachedXdp(
        native=options.drv_prog_id or (single if mode == 1 else 0),
        generic=options.skb_prog_id or (single if mode == 2 else 0),
        offloaded=options.hw_prog_id or (single if mode == 3 else 0),
    )


def query_tcx(ifindex: int) -> tuple[int, ...]:
    """Ids of the programs on an interface's tcx ingress, in the order in which they run.

    Raises LibbpfError (EINVAL) on a kernel without tcx.
    """
    ids = (ctypes.c_uint32 * 64)()
    options = _QueryOptions(
        sz=ctypes.sizeof(_QueryOptions), prog_ids=ctypes.addressof(ids), prog_cnt=len(ids)
    )
    what = f"see what is attached to interface {ifindex}"
    call(what, "bpf_prog_query_opts", ifindex, _ATTACH_TCX_INGRESS, ctypes.byref(options))
    return tuple(ids[: options.prog_cnt])
