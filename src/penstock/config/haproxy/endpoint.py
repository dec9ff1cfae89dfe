# SPDX-License-Identifier: Apache-2.0
"""Addresses of lines whose names are resolved while they are read."""

from __future__ import annotations

from dataclasses import replace

from penstock.config.haproxy.address import (
    AddressError,
    AddressFamilyPreference,
    Allow,
    Target,
    parse_address,
)
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError


def read_endpoint(
    context: Context, text: str, allow: Allow, head: str, *, unix_prefix: str = ""
) -> Target:
    """What *text* stands for, which may be a name; *head* says whose address it is.

    Raises LineError, also for a name without an address.
    """
    try:
        target = parse_address(text, allow | Allow.NAME, context.environ, unix_prefix=unix_prefix)
    except AddressError as bad:
        raise LineError(f"{head} : {bad}") from None
    if target.hostname is None:
        return target
    address = context.resolve(target.hostname, target.family)
    if address is None:
        raise LineError(f"{head} : invalid address: '{target.hostname}' in '{text}'")
    return replace(target, address=address, hostname=None, family=AddressFamilyPreference.ANY)
