# SPDX-License-Identifier: Apache-2.0
"""Samples of an HTTP answer: ``res.hdr``, ``status`` and their kin (manual 7.3.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock.rules.http_fields import FIELDS, text
from penstock.rules.samples import Sample
from penstock.wire.http_answer import Answer

HttpFetch = Callable[[Answer], Sample | None]
_Builder = Callable[[tuple[str, ...]], HttpFetch]


def http_fetch(name: str, arguments: tuple[str, ...]) -> HttpFetch | None:
    """None: it is no sample of an answer."""
    builder = _BUILDERS.get(name)
    return None if builder is None else builder(arguments)


def is_of_answer(name: str) -> bool:
    """Whether a fetch looks at an HTTP answer."""
    return name in _BUILDERS


def _field(name: str) -> _Builder:
    return lambda arguments: FIELDS[name](arguments).one


def _cookie(arguments: tuple[str, ...]) -> HttpFetch:
    wanted = arguments[0] if arguments else ""

    def fetch(answer: Answer) -> Sample | None:
        for value in answer.lines(b"set-cookie"):
            name, _, rest = text(value).partition("=")
            if name.strip() == wanted or not wanted:
                return rest.partition(";")[0].strip()
        return None

    return fetch


def _always(fetch: HttpFetch) -> _Builder:
    return lambda arguments: fetch


def _block(answer: Answer) -> Sample:
    return b"".join(name + b": " + value + b"\r\n" for name, value in answer.fields) + b"\r\n"


_BUILDERS: Final[dict[str, _Builder]] = {
    "status": _always(lambda answer: answer.status),
    "res.ver": _always(lambda answer: answer.version),
    "resp_ver": _always(lambda answer: answer.version),
    "res.body": _always(lambda answer: answer.body or None),
    "res.body_len": _always(lambda answer: len(answer.body)),
    "res.body_size": _always(lambda answer: len(answer.body)),
    "res.hdrs": _always(_block),
    **{f"res.{name}": _field(name) for name in FIELDS},
    **{f"s{name}": _field(name) for name in ("hdr", "hdr_cnt", "hdr_val", "hdr_ip")},
    "res.cook": _cookie,
    "scook": _cookie,
}
