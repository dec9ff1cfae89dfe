# SPDX-License-Identifier: Apache-2.0
"""Converters that look at their sample alone (manual 7.3.1), made once into functions of it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes

from penstock.rules import hashes
from penstock.rules.calendar import civil_time
from penstock.rules.maps import with_groups
from penstock.rules.patterns import read_regex
from penstock.rules.samples import (
    WAITING,
    Sample,
    Waiting,
    to_bytes,
    to_integer,
    to_text,
    wrap64,
)
from penstock.wire import crc32c, fix, mqtt

Builder = Callable[[tuple[str, ...]], Callable[[Sample], Sample | Waiting | None]]


def _simple(convert: Callable[[Sample], Sample | None]) -> Builder:
    return lambda arguments: convert


def _hash(function: Callable[[bytes], int]) -> Builder:
    def build(arguments: tuple[str, ...]) -> Callable[[Sample], Sample]:
        if arguments and int(arguments[0]):
            return lambda sample: hashes.avalanche(function(to_bytes(sample)))
        return lambda sample: function(to_bytes(sample))

    return build


def _xxh32(arguments: tuple[str, ...]) -> Callable[[Sample], Sample]:
    seed = int(arguments[0]) if arguments else 0
    return lambda sample: hashes.xxh32(to_bytes(sample), seed)


def _ipmask(arguments: tuple[str, ...]) -> Callable[[Sample], Sample | None]:
    four = int(_mask(arguments[0], 32))
    six = int(_mask(arguments[1], 128)) if len(arguments) > 1 else None

    def convert(sample: Sample) -> Sample | None:
        if isinstance(sample, IPv4Address):
            return IPv4Address(int(sample) & four)
        if isinstance(sample, IPv6Address) and six is not None:
            return IPv6Address(int(sample) & six)
        return None

    return convert


def _mask(text: str, bits: int) -> int:
    if text.isdigit():
        return ((1 << bits) - 1) ^ ((1 << (bits - int(text))) - 1)
    return int(IPv4Address(text) if bits == 32 else IPv6Address(text))


def _bytes(arguments: tuple[str, ...]) -> Callable[[Sample], Sample | None]:
    offset = int(arguments[0])
    length = int(arguments[1]) if len(arguments) > 1 else None

    def convert(sample: Sample) -> Sample | None:
        data = to_bytes(sample)
        if offset < 0 or len(data) <= offset:
            return None
        return data[offset:] if length is None else data[offset : offset + length]

    return convert


def _field(arguments: tuple[str, ...]) -> Callable[[Sample], Sample | None]:
    """Fields between single delimiters; a negative number counts from the end."""
    return _pick(arguments, skip_empty=False)


def _word(arguments: tuple[str, ...]) -> Callable[[Sample], Sample | None]:
    """Like ``field``, with empty ones left out."""
    return _pick(arguments, skip_empty=True)


def _pick(arguments: tuple[str, ...], *, skip_empty: bool) -> Callable[[Sample], Sample | None]:
    index, delimiters = int(arguments[0]), arguments[1]
    # Below 0 it counts as 0: to the end of the text.
    count = max(int(arguments[2]), 0) if len(arguments) > 2 and arguments[2] else 1

    def convert(sample: Sample) -> Sample | None:
        text = to_text(sample)
        spans = _spans(text, delimiters, skip_empty=skip_empty)
        wanted = len(spans) + index if index < 0 else index - 1
        if not 0 <= wanted < len(spans):
            return None
        if index < 0:
            first = max(wanted - count + 1, 0)
            return text[spans[first][0] if count else 0 : spans[wanted][1]]
        last = min(wanted + count, len(spans)) - 1
        return text[spans[wanted][0] : spans[last][1] if count else len(text)]

    return convert


def _spans(text: str, delimiters: str, *, skip_empty: bool) -> list[tuple[int, int]]:
    spans = []
    start = 0
    for at in range(len(text) + 1):
        if at == len(text) or text[at] in delimiters:
            if at > start or not skip_empty:
                spans.append((start, at))
            start = at + 1
    return spans


def _regsub(arguments: tuple[str, ...]) -> Callable[[Sample], Sample | None]:
    flags = arguments[2] if len(arguments) > 2 else ""
    expression = read_regex(arguments[0], ignore_case="i" in flags)
    template = to_bytes(arguments[1])
    count = 0 if "g" in flags else 1

    def convert(sample: Sample) -> Sample:
        made = expression.sub(
            lambda found: with_groups(template, found), to_bytes(sample), count=count
        )
        return to_text(made)

    return convert


def _b64dec(sample: Sample) -> Sample | None:
    if len(to_bytes(sample)) % 4:
        return None
    try:
        return base64.b64decode(to_bytes(sample), validate=True)
    except (binascii.Error, ValueError):
        return None


def _ub64dec(sample: Sample) -> Sample | None:
    data = to_bytes(sample)
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def _ub64enc(sample: Sample) -> Sample:
    return base64.urlsafe_b64encode(to_bytes(sample)).rstrip(b"=").decode()


def _sha2(arguments: tuple[str, ...]) -> Callable[[Sample], Sample]:
    name = f"sha{arguments[0] if arguments else 256}"
    return lambda sample: hashlib.new(name, to_bytes(sample)).digest()


def _digest(arguments: tuple[str, ...]) -> Callable[[Sample], Sample]:
    length = _LENGTHS.get(arguments[0].lower())

    def convert(sample: Sample) -> Sample:
        made = hashlib.new(arguments[0], to_bytes(sample), usedforsecurity=False)
        if length is not None:
            return made.digest(length)  # type: ignore[call-arg]  # as those of its kind take
        return made.digest()

    return convert


# Bytes that OpenSSL makes of digests of any length (EVP_MD_get_size()).
_LENGTHS: Final = {"shake128": 16, "shake_128": 16, "shake256": 32, "shake_256": 32}


def _utc_time(arguments: tuple[str, ...]) -> Callable[[Sample], Sample | None]:
    offset = int(arguments[1]) if len(arguments) > 1 else 0
    return lambda sample: civil_time(cast("int", sample) + offset, arguments[0])


def _json(arguments: tuple[str, ...]) -> Callable[[Sample], Sample]:
    return lambda sample: json.dumps(to_text(sample), ensure_ascii=True)[1:-1]


def _hex_to_int(sample: Sample) -> Sample | None:
    try:
        return wrap64(int(to_text(sample), 16))
    except ValueError:
        return None


def _host(sample: Sample) -> str:
    text = to_text(sample)
    return text if text.endswith("]") or ":" not in text else text.rpartition(":")[0]


def _port(sample: Sample) -> int:
    port = to_text(sample).rpartition(":")[2] if ":" in to_text(sample) else ""
    return int(port) if port.isascii() and port.isdigit() else 0


def _be2dec(arguments: tuple[str, ...], *, hexadecimal: bool) -> Callable[[Sample], Sample]:
    separator = arguments[0]
    # be2hex takes all of it at once when no chunk is said, be2dec two bytes.
    size = int(arguments[1]) if len(arguments) > 1 else 0 if hexadecimal else 2
    truncate = len(arguments) > 2 and int(arguments[2]) != 0

    def convert(sample: Sample) -> Sample:
        data = to_bytes(sample)
        step = size or len(data) or 1
        parts = [data[at : at + step] for at in range(0, len(data), step)]
        if truncate:
            parts = [part for part in parts if len(part) == step]
        if hexadecimal:
            return separator.join(part.hex().upper() for part in parts)
        return separator.join(str(int.from_bytes(part, "big")) for part in parts)

    return convert


def _judged(judge: Callable[[bytes], bool | None]) -> Builder:
    """Of a verdict that is None as long as more bytes are needed."""

    def convert(sample: Sample) -> Sample | Waiting:
        verdict = judge(to_bytes(sample))
        return WAITING if verdict is None else verdict

    return lambda arguments: convert


def _mqtt_value(arguments: tuple[str, ...]) -> Callable[[Sample], Sample | Waiting | None]:
    packet, field = arguments

    def convert(sample: Sample) -> Sample | Waiting | None:
        data = to_bytes(sample)
        if mqtt.is_valid(data) is None:
            return WAITING
        return mqtt.value(data, packet, field) or None

    return convert


def _fix_value(arguments: tuple[str, ...]) -> Callable[[Sample], Sample | Waiting | None]:
    tag = fix.tag_number(arguments[0]) or 0  # it has been checked

    def convert(sample: Sample) -> Sample | Waiting | None:
        found = fix.value(to_bytes(sample), tag)
        return WAITING if found == b"" else found

    return convert


def _lower(sample: Sample) -> Sample:
    return to_text(sample).lower()


def _upper(sample: Sample) -> Sample:
    return to_text(sample).upper()


BUILDERS: Final[dict[str, Builder]] = {
    "lower": _simple(_lower),
    "upper": _simple(_upper),
    "length": _simple(lambda sample: len(to_bytes(sample))),
    "hex": _simple(lambda sample: to_bytes(sample).hex().upper()),
    "hex2i": _simple(_hex_to_int),
    "bool": _simple(lambda sample: bool(to_integer(sample))),
    "not": _simple(lambda sample: not to_integer(sample)),
    "odd": _simple(lambda sample: bool((to_integer(sample) or 0) & 1)),
    "even": _simple(lambda sample: not (to_integer(sample) or 0) & 1),
    "neg": _simple(lambda sample: wrap64(-(to_integer(sample) or 0))),
    "cpl": _simple(lambda sample: ~(to_integer(sample) or 0)),
    "htonl": _simple(lambda sample: ((to_integer(sample) or 0) & 0xFFFFFFFF).to_bytes(4, "big")),
    "ipmask": _ipmask,
    "bytes": _bytes,
    "field": _field,
    "word": _word,
    "regsub": _regsub,
    "ltrim": lambda arguments: lambda sample: to_text(sample).lstrip(arguments[0]),
    "rtrim": lambda arguments: lambda sample: to_text(sample).rstrip(arguments[0]),
    "cut_crlf": _simple(lambda sample: re.split("[\r\n]", to_text(sample), maxsplit=1)[0]),
    "iif": lambda arguments: lambda sample: arguments[0] if sample else arguments[1],
    "json": _json,
    "crc32": _hash(hashes.crc32),
    "crc32c": _hash(crc32c.crc32c),
    "djb2": _hash(hashes.djb2),
    "sdbm": _hash(hashes.sdbm),
    "wt6": _hash(hashes.wt6),
    "xxh32": _xxh32,
    "base64": _simple(lambda sample: base64.b64encode(to_bytes(sample)).decode()),
    "b64dec": _simple(_b64dec),
    "ub64enc": _simple(_ub64enc),
    "ub64dec": _simple(_ub64dec),
    "sha1": _simple(lambda sample: hashlib.sha1(to_bytes(sample), usedforsecurity=False).digest()),
    "sha2": _sha2,
    "digest": _digest,
    "be2dec": lambda arguments: _be2dec(arguments, hexadecimal=False),
    "be2hex": lambda arguments: _be2dec(arguments, hexadecimal=True),
    "utime": _utc_time,
    "host_only": _simple(_host),
    "port_only": _simple(_port),
    "url_dec": _simple(lambda sample: to_text(unquote_to_bytes(to_bytes(sample)))),
    "url_enc": _simple(lambda sample: quote_from_bytes(to_bytes(sample), safe="")),
    "debug": _simple(lambda sample: sample),
    "fix_is_valid": _judged(fix.is_valid),
    "fix_tag_value": _fix_value,
    "mqtt_is_valid": _judged(mqtt.is_valid),
    "mqtt_field_value": _mqtt_value,
}
