# SPDX-License-Identifier: Apache-2.0
"""Fetches of HTTP requests (manual 7.3.6), where a whole head is what the subject has received."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address
from typing import Final
from urllib.parse import unquote

from penstock.rules.samples import Found, to_integer
from penstock.rules.subject import Subject
from penstock.wire.http_request import Head, parse

Fetch = Callable[[Subject], Found]
ManyFetch = Callable[[Subject], list[str]]
Users = Callable[[Head], tuple[str, ...] | None]
"""The groups of whom a head names with the right password; None: there is nobody."""
_Arguments = tuple[str, ...]


# Many rules look at the same head, one after the other.
@lru_cache(maxsize=8)
def _head(raw: bytes) -> Head:
    return parse(raw)


def _of(read: Callable[[Head], Found]) -> Callable[[_Arguments], Fetch]:
    return lambda arguments: lambda subject: read(_head(subject.request))


def _path(head: Head) -> str:
    return head.path.partition("?")[0]


def _query(head: Head) -> str:
    return head.target.partition("?")[2]


def _base(head: Head) -> str:
    return (head.values("host") or [""])[-1] + _path(head)


def _split(arguments: _Arguments, *, whole: bool) -> ManyFetch:
    """Values of a field: each part between commas, or with *whole* each line."""
    name = arguments[0].lower() if arguments else ""

    def fetch(subject: Subject) -> list[str]:
        head = _head(subject.request)
        return head.values(name) if whole else head.items(name)

    return fetch


def _chosen(*, whole: bool) -> Callable[[_Arguments], Fetch]:
    """One value: the last, or the one that is counted from the front, or with "-" the back."""

    def build(arguments: _Arguments) -> Fetch:
        values = _split(arguments, whole=whole)
        wanted = int(arguments[1]) if len(arguments) > 1 and arguments[1] else -1
        at = wanted - 1 if wanted > 0 else wanted

        def fetch(subject: Subject) -> Found:
            found = values(subject)
            return found[at] if -len(found) <= at < len(found) else None

        return fetch

    return build


def _count(*, whole: bool) -> Callable[[_Arguments], Fetch]:
    def build(arguments: _Arguments) -> Fetch:
        values = _split(arguments, whole=whole)
        return lambda subject: len(values(subject))

    return build


def _value(arguments: _Arguments) -> Fetch:
    chosen = _chosen(whole=False)(arguments)

    def fetch(subject: Subject) -> Found:
        text = chosen(subject)
        return to_integer(text) if isinstance(text, str) else None

    return fetch


def _address(arguments: _Arguments) -> Fetch:
    chosen = _chosen(whole=False)(arguments)

    def fetch(subject: Subject) -> Found:
        text = chosen(subject)
        try:
            return IPv4Address(text) if isinstance(text, str) else None
        except AddressValueError:
            return None

    return fetch


def _parameter(arguments: _Arguments) -> Fetch:
    name = arguments[0] if arguments else ""
    delimiter = (arguments[1] if len(arguments) > 1 else "") or "?"

    def fetch(subject: Subject) -> Found:
        query = _head(subject.request).target.partition(delimiter)[2]
        for part in query.replace(";", "&").split("&"):
            key, _, value = part.partition("=")
            if key == name:
                return unquote(value)
        return None

    return fetch


HTTP: Final[dict[str, Callable[[_Arguments], Fetch]]] = {
    "method": _of(lambda head: head.method),
    "path": _of(_path),
    "pathq": _of(lambda head: head.path),
    "url": _of(lambda head: head.target),
    "query": _of(lambda head: _query(head) or None),
    "base": _of(_base),
    "req.ver": _of(lambda head: f"1.{head.minor}"),
    "req_ver": _of(lambda head: f"1.{head.minor}"),
    "req.proto_http": _of(lambda head: True),
    "req_proto_http": _of(lambda head: True),
    "hdr": _chosen(whole=False),
    "req.hdr": _chosen(whole=False),
    "req.fhdr": _chosen(whole=True),
    "hdr_cnt": _count(whole=False),
    "req.hdr_cnt": _count(whole=False),
    "req.fhdr_cnt": _count(whole=True),
    "hdr_val": _value,
    "req.hdr_val": _value,
    "hdr_ip": _address,
    "req.hdr_ip": _address,
    "urlp": _parameter,
    "url_param": _parameter,
}


def groups(users: Users | None) -> ManyFetch:
    """Of whom the request names with the right password; none for nobody."""
    return lambda subject: list((users(_head(subject.request)) if users else None) or ())


def _known(users: Users | None) -> Fetch:
    return lambda subject: users is not None and users(_head(subject.request)) is not None


def _groups(users: Users | None) -> Fetch:
    named = groups(users)
    return lambda subject: ",".join(named(subject)) or None


# Their argument is a list of users.
AUTH: Final[dict[str, Callable[[Users | None], Fetch]]] = {
    "http_auth": _known,
    "http_auth_group": _groups,
}

# Of these a pattern may match any value, not the last one alone (manual 7.1).
ANY: Final[dict[str, Callable[[_Arguments], ManyFetch]]] = {
    "hdr": lambda arguments: _split(arguments, whole=False),
    "req.hdr": lambda arguments: _split(arguments, whole=False),
    "req.fhdr": lambda arguments: _split(arguments, whole=True),
}
