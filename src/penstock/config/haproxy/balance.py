# SPDX-License-Identifier: Apache-2.0
"""``balance`` and ``hash-type``: words -> SchedulerSpec."""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.c_numbers import atol
from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.keywords import BALANCE, Keyword
from penstock.config.haproxy.report import LineError
from penstock.model import Algorithm, HashFunction, HashType, SchedulerSpec

_PLAIN = {
    "roundrobin": Algorithm.ROUNDROBIN,
    "static-rr": Algorithm.STATIC_RR,
    "leastconn": Algorithm.LEASTCONN,
    "first": Algorithm.FIRST,
    "source": Algorithm.SOURCE,
    "maglev": Algorithm.MAGLEV,
}
_MAX_DRAWS = 16


@dataclass(frozen=True, slots=True)
class Balance:
    """A parsed ``balance`` line; ``proxy`` is set when packets do not suffice for it."""

    spec: SchedulerSpec
    proxy: Keyword | None = None
    warning: str = ""
    layer7: bool = False  # round robin in mode tcp
    hashed: str = ""  # an expression; "": nothing but addresses is hashed


def parse_balance(  # noqa: PLR0912 one branch an algorithm
    line: Line, before: SchedulerSpec
) -> Balance:
    """The scheduler a ``balance`` line asks for. Raises LineError."""
    word = line[1]
    if not word or word in _PLAIN:
        return Balance(replace(before, algorithm=_PLAIN[word or "roundrobin"]))
    if word.startswith("random"):
        return _random(word, before)
    spec = replace(before, algorithm=Algorithm.ROUNDROBIN)
    if word == "uri":
        _uri(line)
        return Balance(spec, layer7=True)
    if word == "url_param":
        if not line[2]:
            raise LineError("balance url_param requires an URL parameter name.")
        return Balance(spec, layer7=True)
    if word == "hash":
        if not line[2]:
            raise LineError("balance hash requires a sample expression.")
        if line[3]:
            raise LineError(f"balance hash takes no other argument (got '{line[3]}').")
        hashing = replace(before, algorithm=Algorithm.SOURCE)
        if line[2] == "src":
            return Balance(hashing)
        return Balance(hashing, BALANCE["hash"], hashed=line[2])
    if word.startswith("hdr("):
        if word.find(")") <= len("hdr("):
            raise LineError("balance hdr requires an http header field name.")
        return Balance(spec, layer7=True)
    if word.startswith("rdp-cookie"):
        rest = word[len("rdp-cookie") :]
        if rest and not (rest.startswith("(") and rest.find(")") > 1):
            raise LineError("balance rdp-cookie : missing cookie name.")
        name = rest[1 : rest.find(")")] if rest else "mstshash"
        hashing = replace(before, algorithm=Algorithm.SOURCE)
        return Balance(hashing, BALANCE["rdp-cookie"], hashed=f"req.rdp_cookie({name})")
    raise LineError(
        "balance only supports 'roundrobin', 'static-rr', 'leastconn', 'source', 'uri',"
        " 'url_param', 'hdr(name)' and 'rdp-cookie(name)' options."
    )


def shown_as(word: str) -> str:
    """What statistics call the algorithm: HAProxy 2.6 has no name for random."""
    name = word.partition("(")[0]
    return "unknown" if name == "random" else name


def _random(word: str, before: SchedulerSpec) -> Balance:
    spec = replace(before, algorithm=Algorithm.RANDOM, draws=2)
    rest = word[len("random") :]
    if not rest:
        return Balance(spec)
    if not rest.startswith("("):
        raise LineError(
            "balance only supports 'roundrobin', 'static-rr', 'leastconn', 'source', 'uri',"
            " 'url_param', 'hdr(name)' and 'rdp-cookie(name)' options."
        )
    inner, closing, _ = rest[1:].partition(")")
    if not closing:
        raise LineError("balance random : missing closing parenthesis.")
    number = inner.lstrip("+-")
    tail = number.lstrip("0123456789")
    if tail:
        raise LineError(f"balance random : unexpected character '{tail[0]}' after argument.")
    draws = int(number[:9] or "0") * (-1 if inner.startswith("-") else 1)
    if draws < 1:
        raise LineError("balance random : number of draws must be at least 1.")
    if draws <= _MAX_DRAWS:
        return Balance(replace(spec, draws=draws))
    return Balance(
        replace(spec, draws=_MAX_DRAWS),
        warning=f"'balance random({draws})' draws {_MAX_DRAWS} times, which is the most here.",
    )


def _uri(line: Line) -> None:
    at = 2
    while line[at]:
        if line[at] in ("len", "depth"):
            if atol(line[at + 1]) <= 0:
                raise LineError(
                    f"balance uri : '{line[at]}' expects a positive integer (got '{line[at + 1]}')."
                )
            at += 2
        elif line[at] in ("whole", "path-only"):
            at += 1
        else:
            raise LineError(
                "balance uri only accepts parameters 'len', 'depth', 'path-only', and 'whole'"
                f" (got '{line[at]}')."
            )


def parse_hash_type(line: Line, before: SchedulerSpec) -> SchedulerSpec:
    """What a ``hash-type`` line makes of *before*. Raises LineError."""
    if line[1] == "avalanche":
        raise LineError(
            "experimental feature 'hash-type avalanche' is not supported anymore, please use"
            " 'hash-type map-based sdbm avalanche' instead."
        )
    if line[1] not in ("consistent", "map-based"):
        raise LineError("'hash-type' only supports 'consistent' and 'map-based'.")
    kind = HashType(line[1])
    if not line[2]:
        return replace(
            before,
            hash_type=kind,
            hash_function=HashFunction.SDBM,
            avalanche=kind is HashType.CONSISTENT,
        )
    if line[2] not in ("sdbm", "djb2", "wt6", "crc32"):
        raise LineError(
            "'hash-type' only supports 'sdbm', 'djb2', 'crc32', or 'wt6' hash functions."
        )
    if line[3] not in ("", "avalanche"):
        raise LineError("'hash-type' only supports 'avalanche' as a modifier for hash functions.")
    return replace(
        before, hash_type=kind, hash_function=HashFunction(line[2]), avalanche=bool(line[3])
    )
