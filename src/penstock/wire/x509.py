# SPDX-License-Identifier: Apache-2.0
"""What a certificate is named and made of, out of its DER (RFC 5280, 4.1).

Nothing is verified here: that is OpenSSL's work. This reads what Python's ssl does not tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from penstock.terms import Address

_INTEGER, _OID, _SEQUENCE = 0x02, 0x06, 0x30
VERSION, EXTENSIONS = 0xA0, 0xA3  # [0] and [3] of a TBSCertificate
DNS_NAME, IP_ADDRESS = 0x82, 0x87  # of a GeneralName
_BMP_STRING, _TELETEX_STRING = 0x1E, 0x14

_COMMON_NAME: Final = "2.5.4.3"
_ALTERNATIVE_NAMES: Final = "2.5.29.17"
_RSA: Final = "1.2.840.113549.1.1.1"
_EC: Final = "1.2.840.10045.2.1"
_CURVES: Final = {
    "1.2.840.10045.3.1.1": 192,
    "1.3.132.0.33": 224,
    "1.2.840.10045.3.1.7": 256,
    "1.3.132.0.10": 256,
    "1.3.132.0.34": 384,
    "1.3.132.0.35": 521,
}
# As OpenSSL calls them, whose names HAProxy sends.
_SIGNATURES: Final = {
    "1.2.840.113549.1.1.4": "md5WithRSAEncryption",
    "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
    "1.2.840.113549.1.1.10": "rsassaPss",
    "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
    "1.2.840.113549.1.1.12": "sha384WithRSAEncryption",
    "1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
    "1.2.840.113549.1.1.14": "sha224WithRSAEncryption",
    "1.2.840.10045.4.1": "ecdsa-with-SHA1",
    "1.2.840.10045.4.3.1": "ecdsa-with-SHA224",
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
    "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
    "1.3.101.112": "ED25519",
    "1.3.101.113": "ED448",
}


class NotACertificate(ValueError):
    """The bytes are no X.509 certificate in DER."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """*key* is the kind and size of the public key as HAProxy writes it: RSA2048, EC256."""

    common_name: str | None
    dns_names: tuple[str, ...]
    addresses: tuple[Address, ...]
    key: str | None
    signature: str | None  # the algorithm

    @property
    def names(self) -> tuple[str, ...]:
        """What it is for: alternative names and the common name, as HAProxy takes both."""
        common = () if self.common_name is None else (self.common_name,)
        return tuple(dict.fromkeys(name.lower() for name in (*self.dns_names, *common)))


def parse(der: bytes) -> Certificate:
    """The certificate in *der*. Raises NotACertificate."""
    try:
        return _certificate(der)
    except (IndexError, StopIteration, UnicodeDecodeError, ValueError) as bad:
        raise NotACertificate("the bytes are no X.509 certificate") from bad


def matches(pattern: str, name: str) -> bool:
    """Whether a certificate's name *pattern* holds for *name*: ``*`` is one label, the first."""
    pattern, name = pattern.lower(), name.lower()
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:] and not name.startswith(".")
    return pattern == name


def values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tags and contents of the values that fill *data*.

    Raises ValueError, or IndexError, where they do not.
    """
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4:
                raise ValueError
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise ValueError
        yield tag, data[at : at + length]
        at += length


def inside(data: bytes, tag: int = _SEQUENCE) -> bytes:
    """The content of the first value in *data*. Raises ValueError unless it has *tag*."""
    found, content = next(values(data))
    if found != tag:
        raise ValueError
    return content


def _certificate(der: bytes) -> Certificate:
    tbs, algorithm, _ = values(inside(der))
    parts = [part for part in values(tbs[1]) if part[0] != VERSION]
    subject, public = parts[4][1], parts[5][1]
    common = [text for kind, text in attributes(subject) if kind == _COMMON_NAME]
    names: list[str] = []
    addresses: list[Address] = []
    for tag, content in parts[6:]:
        if tag == EXTENSIONS:
            for kind, value in alternatives(content):
                if kind == DNS_NAME:
                    names.append(value.decode("ascii"))
                elif kind == IP_ADDRESS:
                    addresses.append(ip_address(value))
    return Certificate(
        common_name=common[0] if common else None,
        dns_names=tuple(names),
        addresses=tuple(addresses),
        key=key_of(public),
        signature=_SIGNATURES.get(oid(inside(algorithm[1], _OID))),
    )


def attributes(name: bytes) -> Iterator[tuple[str, str]]:
    """The kinds and texts of a distinguished name, in its order."""
    for _, relative in values(name):
        for _, pair in values(relative):
            kind, (tag, text) = values(pair)
            encoding = {_BMP_STRING: "utf-16-be", _TELETEX_STRING: "latin-1"}.get(tag, "utf-8")
            yield oid(kind[1]), text.decode(encoding)


def alternatives(extensions: bytes) -> Iterator[tuple[int, bytes]]:
    for _, extension in values(inside(extensions)):
        parts = list(values(extension))
        if oid(parts[0][1]) == _ALTERNATIVE_NAMES:
            yield from values(inside(parts[-1][1]))


def key_of(public: bytes) -> str | None:
    algorithm, bits = (content for _, content in values(public))
    parts = [content for _, content in values(algorithm)]
    kind = oid(parts[0])
    if kind == _RSA:
        modulus = int.from_bytes(inside(inside(bits[1:]), _INTEGER), "big")
        return f"RSA{modulus.bit_length()}"
    if kind == _EC and len(parts) > 1 and (size := _CURVES.get(oid(parts[1]))):
        return f"EC{size}"
    return None


def oid(data: bytes) -> str:
    """An object identifier as numbers with dots."""
    numbers: list[int] = []
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))
