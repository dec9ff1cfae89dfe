# SPDX-License-Identifier: Apache-2.0
"""Users of userlist sections, as conditions ask for them (manual 3.4, 7.3.6 "http_auth")."""

from __future__ import annotations

import ctypes
import functools
import hmac
from collections.abc import Callable, Iterable, Mapping

from penstock.http_service import Account, UserList
from penstock.web.credentials import credentials
from penstock.wire.http_request import Head

Groups = tuple[str, ...]


def accounts(lists: Iterable[UserList]) -> Mapping[str, Callable[[Head], Groups | None]]:
    """By name of the list: the groups of whom a head names with the right password, or None."""
    return {one.name: functools.partial(_groups, one) for one in lists}


def _groups(users: UserList, head: Head) -> Groups | None:
    given = credentials(head)
    if given is None:
        return None
    name, password = given
    for account in users.accounts:
        if account.name == name:
            return account.groups if _is_right(account, password) else None
    return None


def _is_right(account: Account, password: str) -> bool:
    given: str | None = password
    if account.hashed:
        given = hashed(password, account.password)
    if given is None:
        return False
    return hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"),
        account.password.encode("utf-8", "surrogateescape"),
    )


def hashed(password: str, settings: str) -> str | None:
    """crypt(3); None where it does not know such *settings*, or there is no libcrypt."""
    library = _library()
    if library is None or "\0" in password:
        return None
    found = library(password.encode(), settings.encode("utf-8", "surrogateescape"))
    # "*0" and "*1" are libxcrypt's words for a failure.
    if not isinstance(found, bytes) or found.startswith(b"*"):
        return None
    return found.decode("utf-8", "surrogateescape")


@functools.cache
def _library() -> Callable[[bytes, bytes], bytes | None] | None:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            crypt = ctypes.CDLL(name).crypt
        except OSError:
            continue
        crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        crypt.restype = ctypes.c_char_p
        return crypt
    return None
