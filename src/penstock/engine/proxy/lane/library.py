# SPDX-License-Identifier: Apache-2.0
"""The lane's C as ctypes sees it. Structures are those of lane.h and model.h, in their order."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from enum import IntEnum
from functools import cache
from pathlib import Path

from penstock.engine.figures import Figure

_FILE = Path(__file__).with_name("lane.so")
MOST_EVENTS = 512
MOST_NEWS = 2048


class Kind(IntEnum):
    """What Python has to deal with."""

    NO_SERVER = 0
    NOT_THERE = 1
    OVER = 2


class Ending(IntEnum):
    """How one of Python's sessions ended."""

    FINISHED = 0
    RESET_BY_CLIENT = 1
    RESET_BY_SERVER = 2
    TIMED_OUT = 3


class Event(ctypes.Structure):
    _fields_ = (("fd", c_int32), ("events", c_uint32))


class News(ctypes.Structure):
    _fields_ = (
        ("name", c_uint64),
        ("server", c_uint64),
        ("kind", c_int32),
        ("fd", c_int32),
        ("error", c_int32),
        ("ended", c_int32),
    )


class Head(ctypes.Structure):
    """The beginning of struct lane: what both sides read and write."""

    _fields_ = (
        ("limit", c_int64),
        ("elsewhere", c_int32),
        ("live", c_int32),
        ("news_count", c_int32),
        ("events", Event * MOST_EVENTS),
        ("news", News * MOST_NEWS),
    )


class Columns(ctypes.Structure):
    """Which cell of a row of the board is what; the first is how many there are."""

    _fields_ = (
        ("count", c_int32),
        *(
            (figure.name.lower(), c_int32)
            for figure in (
                *(Figure.LIVE, Figure.LIVE_MAX, Figure.TOTAL, Figure.SESSIONS, Figure.CHOSEN),
                *(Figure.CONNECTED, Figure.LAST, Figure.BYTES_IN, Figure.BYTES_OUT),
                *(Figure.CLIENT_ABORTS, Figure.SERVER_ABORTS, Figure.RESPONSE_ERRORS),
                *(Figure.ERRORS_IN_A_ROW,),
                *(Figure.CONNECT_TIME, Figure.CONNECT_TIME_MAX),
                *(Figure.TOTAL_TIME, Figure.TOTAL_TIME_MAX),
            )
        ),
    )

    @classmethod
    def of_board(cls) -> Columns:
        figures = (int(Figure[field[0].upper()]) for field in cls._fields_[1:])
        return cls(len(Figure), *figures)


class Terms(ctypes.Structure):
    """Milliseconds of patience, 0: for ever; the most sessions, 0: any number; the pool's row."""

    _fields_ = tuple(
        (name, c_int64)
        for name in ("connect", "idle", "half", "limit", "pool", "server_is_less_patient")
    )


class Listed(ctypes.Structure):
    _fields_ = (
        ("service", c_uint64),
        ("server", c_uint64),
        ("began", c_int64),
        ("seen", c_int64),
        ("counts", c_uint64 * 2),
        ("fds", c_int32 * 2),
        ("connecting", c_int32),
        ("reserved", c_int32),
    )


_SHARED = (Head, News, Columns, Terms, Listed)  # as lane_sizes() has them

Choose = ctypes.CFUNCTYPE(c_void_p, c_uint64, c_int)

_FUNCTIONS: dict[str, tuple[object, tuple[object, ...]]] = {
    "lane_open": (c_void_p, (c_int, c_void_p, POINTER(Columns), Choose)),
    "lane_server": (c_void_p, (c_void_p, ctypes.c_char_p, c_uint32, c_uint32)),
    "lane_unused": (c_int, (c_void_p,)),
    "lane_forget_server": (None, (c_void_p,)),
    "lane_service": (c_void_p, (c_void_p, c_uint64, c_uint32)),
    "lane_forget_service": (None, (c_void_p,)),
    "lane_set_service": (
        c_int,
        (c_void_p, c_void_p, POINTER(Terms), POINTER(c_void_p), c_uint32, c_void_p),
    ),
    "lane_listen": (c_int, (c_void_p, c_int, c_void_p)),
    "lane_silence": (None, (c_void_p, c_int)),
    "lane_carry": (
        c_void_p,
        (c_void_p, c_uint64, POINTER(c_int), c_int64, c_int64, POINTER(c_int64)),
    ),
    "lane_give_back": (None, (c_void_p, c_void_p, POINTER(c_uint64))),
    "lane_kill": (c_int, (c_void_p, c_void_p)),
    "lane_lent": (None, (c_void_p, c_void_p, c_int)),
    "lane_live": (c_int, (c_void_p,)),
    "lane_resume": (None, (c_void_p,)),
    "lane_list": (c_int, (c_void_p, POINTER(Listed), c_int)),
}


class Library:
    """Its functions. ``turn`` waits and lets other threads run; the others return at once."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where it was not built for this machine, or from other sources."""
        waiting = ctypes.CDLL(str(path))
        waiting.lane_turn.restype = c_int
        waiting.lane_turn.argtypes = (c_void_p, c_int)
        self.turn = waiting.lane_turn
        quick = ctypes.PyDLL(str(path))
        sizes = (c_uint32 * len(_SHARED))()
        if tell := getattr(quick, "lane_sizes", None):
            tell(sizes)
        if tuple(sizes) != tuple(ctypes.sizeof(one) for one in _SHARED):
            raise OSError(f"{path} was built from other sources: run make setup")
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(quick, name)
            function.restype, function.argtypes = result, arguments
        self._quick = quick

    def __getattr__(self, name: str) -> ctypes._NamedFuncPointer:
        return getattr(self._quick, f"lane_{name}")  # type: ignore[no-any-return]


@cache
def library() -> Library | None:
    """None: there is none for this machine, and every session is Python's."""
    try:
        return Library(_FILE)
    except OSError:
        return None
