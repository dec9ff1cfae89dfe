# SPDX-License-Identifier: Apache-2.0
"""Fetches and converters of stick tables: ``src_conn_rate``, ``sc0_get_gpc0``, ``table_cnt``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from penstock.rules.samples import Found, Sample
from penstock.rules.subject import Change, Subject

_Key = Callable[[Subject], tuple[str, Sample] | None]
_Read = Callable[[Subject, str, Sample, int], int | bool | None]

_TRACKED: Final = re.compile(r"sc(?P<counter>[0-2]?)_(?P<what>[a-z0-9_]+)")
# The word of a fetch that reads what is stored, and under which name it is stored.
_STORED: Final = {
    **{
        name: name
        for name in (
            *("conn_cnt", "conn_cur", "conn_rate", "sess_cnt", "sess_rate", "bytes_in_rate"),
            *("bytes_out_rate", "gpc0_rate", "gpc1_rate", "http_req_cnt", "http_req_rate"),
            *("http_err_cnt", "http_err_rate", "http_fail_cnt", "http_fail_rate", "gpc_rate"),
        )
    },
    **{f"get_{name}": name for name in ("gpc", "gpc0", "gpc1", "gpt", "gpt0")},
}
_KILOBYTES: Final = {"kbytes_in": "bytes_in_cnt", "kbytes_out": "bytes_out_cnt"}
_GENERAL: Final = frozenset({"gpc", "gpc0", "gpc1"})
_INDEXED: Final = frozenset({"gpc", "gpt", "gpc_rate"})


def _reading(what: str) -> tuple[_Read, bool] | None:
    """How *what* is read of an entry, and whether it takes an index first; None: no such word."""
    word = what.removeprefix("get_").removeprefix("inc_").removeprefix("clr_")
    indexed = word in _INDEXED
    if what in _STORED:
        stored = _STORED[what]
        return lambda subject, table, key, index: subject.tables.value(
            table, key, stored, index
        ), indexed
    if what in _KILOBYTES:
        bytes_of = _KILOBYTES[what]
        return lambda subject, table, key, index: _shifted(
            subject.tables.value(table, key, bytes_of)
        ), False
    if what.startswith("inc_") and word in _GENERAL:
        return lambda subject, table, key, index: _increment(
            subject, table, key, word, index
        ), indexed
    if what.startswith("clr_") and word in _GENERAL:
        return lambda subject, table, key, index: _clear(subject, table, key, word, index), indexed
    match what:
        case "trackers":
            return lambda subject, table, key, index: subject.tables.trackers(table, key), False
        case "updt_conn_cnt":
            return lambda subject, table, key, index: subject.tables.change(
                table, key, "conn_cnt", Change.ADD, 1
            ), False
    return None


def _shifted(number: int | None) -> int | None:
    return None if number is None else number >> 10


def _absent(subject: Subject, table: str, key: Sample) -> int | None:
    """What is read where nothing is stored: 0 of a key that is not there, else no sample."""
    return None if subject.tables.holds(table, key) else 0


def _converter(read: _Read, table: str, index: int) -> Callable[[Sample, Subject], Sample | None]:
    def convert(sample: Sample, subject: Subject) -> Sample | None:
        value = read(subject, table, sample, index)
        return _absent(subject, table, sample) if value is None else value

    return convert


def _increment(subject: Subject, table: str, key: Sample, data: str, index: int) -> int:
    """The value afterwards, 0 where it cannot be stored."""
    value = subject.tables.change(table, key, data, Change.ADD, 1, index)
    return 0 if value is None else value


def _clear(subject: Subject, table: str, key: Sample, data: str, index: int) -> int | None:
    """The value before it is cleared."""
    before = subject.tables.value(table, key, data, index)
    if before is not None:
        subject.tables.change(table, key, data, Change.SET, 0, index)
    return before


def counter_fetch(
    name: str, arguments: tuple[str, ...], section: str
) -> Callable[[Subject], Found] | None:
    """The fetch *name*; None: it is none of stick tables."""
    rest = list(arguments)
    if name in ("table_cnt", "table_avl"):
        table = (rest[0] if rest else "") or section
        if name == "table_cnt":
            return lambda subject: subject.tables.used(table)
        return lambda subject: subject.tables.free(table)
    if name.startswith("src_"):
        return _of_source(name[4:], rest, section)
    found = _TRACKED.fullmatch(name)
    if found is None:
        return None
    return _of_tracked(found["what"], found["counter"], rest)


def _of_source(what: str, rest: list[str], section: str) -> Callable[[Subject], Found] | None:
    reading = _reading(what)
    if reading is None:
        return None
    read, indexed = reading
    index = int(rest.pop(0)) if indexed else 0
    table = (rest[0] if rest else "") or section

    def fetch(subject: Subject) -> Found:
        address = subject.source
        if address is None:
            return None
        value = read(subject, table, address, index)
        return _absent(subject, table, address) if value is None else value

    return fetch


def _of_tracked(what: str, counter: str, rest: list[str]) -> Callable[[Subject], Found] | None:
    if what == "tracked":
        number = int(counter or rest.pop(0))
        return lambda subject: subject.tracked(number) is not None
    reading = _reading(what)
    if reading is None:
        return None
    read, indexed = reading
    # sc_get_gpc(idx,ctr), sc0_get_gpc0; sc1_clr_gpc(idx)
    index = int(rest.pop(0)) if indexed else 0
    number = int(counter or rest.pop(0))
    other = rest[0] if rest else ""

    def fetch(subject: Subject) -> Found:
        tracked = subject.tracked(number)
        if tracked is None:
            return None
        table, key = other or tracked[0], tracked[1]
        value = read(subject, table, key, index)
        return _absent(subject, table, key) if value is None else value

    return fetch


def table_converter(
    name: str, arguments: tuple[str, ...], section: str
) -> Callable[[Sample, Subject], Sample | None] | None:
    """``in_table``, ``table_…``; None: *name* is none of them."""
    if name == "in_table":
        table = (arguments[0] if arguments else "") or section
        return lambda sample, subject: subject.tables.holds(table, sample)
    if not name.startswith("table_"):
        return None
    what = name.removeprefix("table_")
    indexed = what in _INDEXED
    index = int(arguments[0]) if indexed else 0
    at = 1 if indexed else 0
    table = (arguments[at] if len(arguments) > at else "") or section
    if what in ("expire", "idle"):
        default = int(arguments[1]) if len(arguments) > 1 else None

        def lasting(sample: Sample, subject: Subject) -> Sample | None:
            tables = subject.tables
            found = (
                tables.expires(table, sample) if what == "expire" else tables.idle(table, sample)
            )
            return default if found is None else found

        return lasting
    if what == "server_id":
        return _converter(
            lambda subject, name, key, number: subject.tables.value(name, key, what), table, index
        )
    reading = _reading(what) or _reading(f"get_{what}")
    if reading is None:
        return None
    return _converter(reading[0], table, index)
