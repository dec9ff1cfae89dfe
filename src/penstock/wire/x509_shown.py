# SPDX-License-Identifier: Apache-2.0
"""A certificate as operators are shown it: in the words of OpenSSL, by way of HAProxy 2.6.

RFC 5280, 4.1; HAProxy's src/ssl_ckch.c, show_cert_detail().
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from penstock.wire.x509 import (
    DNS_NAME,
    EXTENSIONS,
    VERSION,
    NotACertificate,
    alternatives,
    attributes,
    inside,
    parse,
    values,
)

_UTC_TIME: Final = 0x17
# OpenSSL's short names of what distinguished names are made of; others are shown as numbers.
_SHORT: Final = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.15": "businessCategory",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "name",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL",
    "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
    "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
}

_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)


@dataclass(frozen=True, slots=True)
class _Parts:
    serial: bytes
    issuer: str
    not_before: str
    not_after: str
    subject: str
    alternatives: str


def shown(der: bytes, chain: Sequence[bytes]) -> str:
    """The lines about a certificate and what comes behind it. Raises NotACertificate."""
    try:
        return _shown(der, chain)
    except (IndexError, StopIteration, ValueError) as bad:
        raise NotACertificate("the bytes are no X.509 certificate") from bad


def _shown(der: bytes, chain: Sequence[bytes]) -> str:
    parts, certificate = _parts(der), parse(der)
    lines = [
        f"Serial: {parts.serial.hex().upper()}",
        f"notBefore: {parts.not_before}",
        f"notAfter: {parts.not_after}",
        f"Subject Alternative Name: {parts.alternatives}",
    ]
    if certificate.key is None:  # of which HAProxy shows no more
        return "".join(f"{line}\n" for line in lines) + "Algorithm: "
    lines += [
        f"Algorithm: {certificate.key}",
        f"SHA1 FingerPrint: {hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()}",
        f"Subject: {parts.subject}",
        f"Issuer: {parts.issuer}",
    ]
    for one in map(_parts, chain):
        lines += [f"Chain Subject: {one.subject}", f"Chain Issuer: {one.issuer}"]
    return "".join(f"{line}\n" for line in lines)


def _parts(der: bytes) -> _Parts:
    tbs = next(values(inside(der)))[1]
    found = [part for part in values(tbs) if part[0] != VERSION]
    (_, serial), _, (_, issuer), (_, validity), (_, subject) = found[:5]
    begin, end = values(validity)
    return _Parts(
        serial=serial.lstrip(b"\0") or b"\0",
        issuer=_name(issuer),
        not_before=_date(*begin),
        not_after=_date(*end),
        subject=_name(subject),
        alternatives=", ".join(
            # Of names that are not DNS's HAProxy shows the comma alone.
            f"DNS:{name.decode('utf-8')}" if kind == DNS_NAME else ""
            for tag, content in found
            if tag == EXTENSIONS
            for kind, name in alternatives(content)
        ),
    )


def _name(name: bytes) -> str:
    return "".join(f"/{_SHORT.get(kind, kind)}={text}" for kind, text in attributes(name))


def _date(tag: int, text: bytes) -> str:
    """UTCTime has two digits of the year, of 1950 to 2049 (RFC 5280, 4.1.2.5.1)."""
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    year, (month, day, *clock) = digits[:4], (digits[at : at + 2] for at in range(4, 14, 2))
    return f"{_MONTHS[int(month) - 1]} {int(day):2} {':'.join(clock)} {int(year)} GMT"
