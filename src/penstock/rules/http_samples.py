# SPDX-License-Identifier: Apache-2.0
"""Samples of an HTTP answer: ``res.hdr``, ``status`` and their kin (manual 7.3.6)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from penstock.rules.samples import Sample, to_integer
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


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def _occurrence(values: list[bytes], arguments: tuple[str, ...]) -> bytes | None:
    at = int(arguments[1]) if len(arguments) > 1 and arguments[1] else -1
    if not at:
        at = -1
    if abs(at) > len(values):
        return None
    return values[at - 1 if at > 0 else at]


def _header(*, whole: bool) -> _Builder:
    def build(arguments: tuple[str, ...]) -> HttpFetch:
        name = arguments[0] if arguments else ""

        def fetch(answer: Answer) -> Sample | None:
            values = list(answer.whole_values(name) if whole else answer.values(name))
            value = _occurrence(values, arguments)
            return None if value is None else _text(value)

        return fetch

    return build


def _count(*, whole: bool) -> _Builder:
    def build(arguments: tuple[str, ...]) -> HttpFetch:
        def fetch(answer: Answer) -> Sample:
            if not arguments or not arguments[0]:
                return len(answer.headers)
            name = arguments[0]
            return len(list(answer.whole_values(name) if whole else answer.values(name)))

        return fetch

    return build


def _number(arguments: tuple[str, ...]) -> HttpFetch:
    text = _header(whole=False)(arguments)

    def fetch(answer: Answer) -> Sample | None:
        value = text(answer)
        return None if value is None else to_integer(value)

    return fetch


def _address(arguments: tuple[str, ...]) -> HttpFetch:
    text = _header(whole=False)(arguments)

    def fetch(answer: Answer) -> Sample | None:
        try:
            return ip_address(str(text(answer)))
        except ValueError:
            return None

    return fetch


def _names(arguments: tuple[str, ...]) -> HttpFetch:
    delimiter = arguments[0] if arguments and arguments[0] else ","
    return lambda answer: delimiter.join(name for name, _ in answer.headers)


def _cookie(arguments: tuple[str, ...]) -> HttpFetch:
    wanted = arguments[0] if arguments else ""

    def fetch(answer: Answer) -> Sample | None:
        for value in answer.whole_values("set-cookie"):
            name, _, rest = _text(value).partition("=")
            if name.strip() == wanted or not wanted:
                return rest.partition(";")[0].strip()
        return None

    return fetch


def _always(fetch: HttpFetch) -> _Builder:
    return lambda arguments: fetch


def _block(answer: Answer) -> Sample:
    return b"".join(f"{name}: ".encode() + value + b"\r\n" for name, value in answer.headers) + (
        b"\r\n"
    )


_BUILDERS: Final[dict[str, _Builder]] = {
    "status": _always(lambda answer: answer.status),
    "res.ver": _always(lambda answer: answer.version),
    "resp_ver": _always(lambda answer: answer.version),
    "res.body": _always(lambda answer: answer.body or None),
    "res.body_len": _always(lambda answer: len(answer.body)),
    "res.body_size": _always(lambda answer: len(answer.body)),
    "res.hdrs": _always(_block),
    "res.hdr": _header(whole=False),
    "shdr": _header(whole=False),
    "res.fhdr": _header(whole=True),
    "res.hdr_cnt": _count(whole=False),
    "shdr_cnt": _count(whole=False),
    "res.fhdr_cnt": _count(whole=True),
    "res.hdr_val": _number,
    "shdr_val": _number,
    "res.hdr_ip": _address,
    "shdr_ip": _address,
    "res.hdr_names": _names,
    "res.cook": _cookie,
    "scook": _cookie,
}
