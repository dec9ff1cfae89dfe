# SPDX-License-Identifier: Apache-2.0
"""Which backend, server or frontend a command means, and HAProxy's words where there is none."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.model import Configuration, Pool, RealServer, Service
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import CommandFailed

REQUIRED = "Require 'backend/server'."


def names_in(word: str, *, bare: bool = False) -> tuple[str, str]:
    """The two names of ``backend/server``; *bare*: as some commands end that sentence."""
    pool, slash, server = word.partition("/")
    if not slash or not server:
        raise CommandFailed(REQUIRED, bare=bare)
    return pool, server


def pool_called(configuration: Configuration, name: str) -> Pool | None:
    """By name, or by number as ``#3``."""
    number = _number(name)
    for pool in configuration.pools:
        if pool.name == name or (number is not None and pool.back.id == number):
            return pool
    return None


def server_called(pool: Pool, name: str) -> RealServer | None:
    """By name, or by number as ``#3``."""
    number = _number(name)
    for real in pool.reals:
        if real.name == name if number is None else real.link.id == number:
            return real
    return None


def _number(name: str) -> int | None:
    return int(name[1:]) if name.startswith("#") and name[1:].isdecimal() else None


def find_server(context: Context, word: str, *, bare: bool = False) -> tuple[Pool, RealServer]:
    """The server that *word* means. Raises CommandFailed."""
    pool_name, name = names_in(word, bare=bare)
    pool = pool_called(context.controller.configuration, pool_name)
    if pool is None:
        raise CommandFailed("No such backend.", bare=bare)
    real = server_called(pool, name)
    if real is None:
        raise CommandFailed("No such server.", bare=bare)
    return pool, real


def find_enabled(context: Context, word: str) -> tuple[Pool, RealServer]:
    """As ``find_server()``, of a backend that is not disabled."""
    pool, real = find_server(context, word)
    if pool.disabled:
        raise CommandFailed("Proxy is disabled.")
    return pool, real


def find_frontend(context: Context, name: str) -> tuple[Service, ...]:
    """The services that a frontend is, in the files' order. Raises CommandFailed."""
    if not name:
        raise CommandFailed("A frontend name is expected.")
    found = _services(context.controller.configuration.services, name)
    if not found:
        raise CommandFailed("No such frontend.")
    return found


def _services(services: Iterable[Service], name: str) -> tuple[Service, ...]:
    number = _number(name)
    return tuple(
        one
        for one in services
        if one.proxy == name or (number is not None and one.front.id == number)
    )
