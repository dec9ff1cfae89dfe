# SPDX-License-Identifier: Apache-2.0
"""libbpf.so.1 through ctypes: prototypes, errors as sentences, what libbpf prints, descriptors.

The rest of this package calls the kernel's BPF side through ``library()`` and ``call()`` only.
libbpf 1.1 (Debian 12) is enough; options structs are filled no further than it knows them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_void_p
from types import TracebackType
from typing import Any, Final, Self

from penstock.errors import CapabilityError, DatapathError

_MISSING: Final = (
    "libbpf.so.1 is not installed; it comes with iproute2 (Debian, Ubuntu: apt-get install libbpf1)"
)
_LOG_INFO: Final = 1  # enum libbpf_print_level: warnings 0, information 1, debugging 2
# va_list is an array on x86-64 (24 bytes) and a structure on arm64 (32 bytes): both arrive as an
# address, and the larger size may be read at either.
_VA_LIST_SIZE: Final = 32

_POINTER = c_void_p
_U32_POINTER = ctypes.POINTER(c_uint32)
_SIZE_POINTER = ctypes.POINTER(c_size_t)

# name: (result, arguments). A pointer result is NULL on failure, with errno; an int is -errno.
_PROTOTYPES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "bpf_object__open_file": (_POINTER, (c_char_p, _POINTER)),
    "bpf_object__load": (c_int, (_POINTER,)),
    "bpf_object__close": (None, (_POINTER,)),
    "bpf_object__btf": (_POINTER, (_POINTER,)),
    "bpf_object__next_map": (_POINTER, (_POINTER, _POINTER)),
    "bpf_object__next_program": (_POINTER, (_POINTER, _POINTER)),
    "btf__raw_data": (_POINTER, (_POINTER, _U32_POINTER)),
    "bpf_map__name": (c_char_p, (_POINTER,)),
    "bpf_map__fd": (c_int, (_POINTER,)),
    "bpf_map__max_entries": (c_uint32, (_POINTER,)),
    "bpf_map__set_max_entries": (c_int, (_POINTER, c_uint32)),
    "bpf_map__set_pin_path": (c_int, (_POINTER, c_char_p)),
    "bpf_map__reuse_fd": (c_int, (_POINTER, c_int)),
    "bpf_map__initial_value": (_POINTER, (_POINTER, _SIZE_POINTER)),
    "bpf_map__set_initial_value": (c_int, (_POINTER, _POINTER, c_size_t)),
    "bpf_program__name": (c_char_p, (_POINTER,)),
    "bpf_program__fd": (c_int, (_POINTER,)),
    "bpf_program__set_autoload": (c_int, (_POINTER, ctypes.c_bool)),
    "bpf_prog_test_run_opts": (c_int, (c_int, _POINTER)),
    "bpf_prog_query_opts": (c_int, (c_int, c_int, _POINTER)),
    "bpf_obj_pin": (c_int, (c_int, c_char_p)),
    "bpf_obj_get": (c_int, (c_char_p,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, _POINTER, _U32_POINTER)),
    "bpf_link_create": (c_int, (c_int, c_int, c_int, _POINTER)),
    "bpf_link_update": (c_int, (c_int, c_int, _POINTER)),
    "bpf_link_detach": (c_int, (c_int,)),
    "bpf_xdp_query": (c_int, (c_int, c_int, _POINTER)),
    "bpf_tc_hook_create": (c_int, (_POINTER,)),
    "bpf_tc_attach": (c_int, (_POINTER, _POINTER)),
    "bpf_tc_detach": (c_int, (_POINTER, _POINTER)),
    "bpf_tc_query": (c_int, (_POINTER, _POINTER)),
    "bpf_map_create": (
        c_int,
        (c_int, c_char_p, c_uint32, c_uint32, c_uint32, _POINTER),
    ),
    "bpf_map_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_map_lookup_elem": (c_int, (c_int, _POINTER, _POINTER)),
    "bpf_map_update_elem": (c_int, (c_int, _POINTER, _POINTER, ctypes.c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, _POINTER)),
    "bpf_map_lookup_batch": (
        c_int,
        (c_int, _POINTER, _POINTER, _POINTER, _POINTER, _U32_POINTER, _POINTER),
    ),
    "bpf_map_update_batch": (c_int, (c_int, _POINTER, _POINTER, _U32_POINTER, _POINTER)),
    "bpf_map_delete_batch": (c_int, (c_int, _POINTER, _U32_POINTER, _POINTER)),
}

_ADVICE: Final = {
    errno.EPERM: "; root, or CAP_BPF with CAP_NET_ADMIN, is needed",
    errno.EACCES: "; root, or CAP_BPF with CAP_NET_ADMIN, is needed",
    errno.ENOMEM: "; the machine has too little free memory for the table sizes asked for",
    errno.E2BIG: "; a table or a program is larger than this kernel takes",
    errno.EBUSY: "; somebody else's program is attached there",
}


class LibbpfError(DatapathError):
    """The kernel or libbpf refused a BPF operation.

    ``errno`` is the positive error number, ``log`` what libbpf printed about it (the verifier's
    log after a failed load), empty where it had nothing to say.
    """

    def __init__(self, sentence: str, number: int, log: str = "") -> None:
        super().__init__(sentence)
        self.errno = number
        self.log = log


def refusal(what: str, number: int, log: str = "") -> LibbpfError:
    """The error that says *what* could not be done, and why, in one sentence."""
    reason = os.strerror(number)
    return LibbpfError(f"cannot {what}: {reason}{_ADVICE.get(number, '')}", number, log)


_print_type = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_printed = threading.local()  # libbpf prints on the thread that called it


@functools.cache
def library() -> ctypes.CDLL:
    """libbpf with its prototypes set. Raises CapabilityError where it is not installed."""
    try:
        loaded = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise CapabilityError(_MISSING) from error
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(loaded, name)
        function.restype = result
        function.argtypes = arguments
    loaded.libbpf_set_print.argtypes = (_print_type,)
    loaded.libbpf_set_print.restype = _POINTER
    loaded.libbpf_set_print(_print_callback)
    return loaded


@functools.cache
def _vsnprintf() -> Callable[..., int]:
    function = ctypes.CDLL(None).vsnprintf
    function.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)
    function.restype = c_int
    return function


def _keep_print(level: int, template: bytes, arguments: int) -> int:
    lines: list[str] | None = getattr(_printed, "lines", None)
    if lines is None or level > _LOG_INFO:
        return 0
    # A va_list is used up by one pass: measure with a copy, then print with the original.
    copied = ctypes.create_string_buffer(ctypes.string_at(arguments, _VA_LIST_SIZE))
    length = _vsnprintf()(None, 0, template, ctypes.addressof(copied))
    text = ctypes.create_string_buffer(length + 1)
    _vsnprintf()(text, length + 1, template, arguments)
    lines.append(text.value.decode(errors="replace"))
    return length


_print_callback = _print_type(_keep_print)  # libbpf calls it for as long as the process lives


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """Collect what libbpf prints on this thread meanwhile; outside of it nothing is printed."""
    outer: list[str] | None = getattr(_printed, "lines", None)
    lines: list[str] = []
    _printed.lines = lines
    try:
        yield lines
    finally:
        _printed.lines = outer


def call(what: str, name: str, *arguments: object) -> int:
    """Call libbpf's *name*; its non-negative result. Raises LibbpfError: "cannot *what*: ..."."""
    with captured_log() as lines:
        result: int = getattr(library(), name)(*arguments)
    if result < 0:
        raise refusal(what, -result, "".join(lines))
    return result


def encode_path(path: str | os.PathLike[str]) -> bytes:
    return os.fsencode(path)


class Handle:
    """An owned file descriptor of a BPF program, map or link; closing it drops our reference.

    What is pinned or attached by a link stays in the kernel.
    """

    kind = "object"

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def from_pin(cls, path: str | os.PathLike[str]) -> Self:
        """Open what is pinned at *path*. Raises LibbpfError (errno ENOENT: nothing is)."""
        return cls(call(f"open the pinned {cls.kind} {path}", "bpf_obj_get", encode_path(path)))

    @classmethod
    def duplicate(cls, fd: int) -> Self:
        """A handle on a descriptor of its own for what *fd* refers to."""
        return cls(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0))

    @property
    def fd(self) -> int:
        if self._fd < 0:
            raise ValueError(f"the {self.kind} is closed")
        return self._fd

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give it a name under bpffs that keeps it alive. Raises LibbpfError (EEXIST: taken)."""
        call(f"pin the {self.kind} at {path}", "bpf_obj_pin", self.fd, encode_path(path))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read_info(self, info: ctypes.Structure) -> None:
        """Have the kernel fill *info*, a bpf_*_info of include/uapi/linux/bpf.h."""
        size = c_uint32(ctypes.sizeof(info))
        call(
            f"read what the kernel knows of a {self.kind}",
            "bpf_obj_get_info_by_fd",
            self.fd,
            ctypes.byref(info),
            ctypes.byref(size),
        )
