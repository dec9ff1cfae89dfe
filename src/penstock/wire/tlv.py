# SPDX-License-Identifier: Apache-2.0
"""What a PROXY protocol header of version 2 carries behind the addresses (its section 2.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class TlvType(IntEnum):
    """Types of TLVs, and below SSL those of its own."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    SSL_VERSION = 0x21
    SSL_CN = 0x22
    SSL_CIPHER = 0x23
    SSL_SIG_ALG = 0x24
    SSL_KEY_ALG = 0x25
    NETNS = 0x30


CLIENT_SSL: Final = 0x01  # the client connected over TLS
CLIENT_CERT_CONN: Final = 0x02  # and presented a certificate on this connection
CLIENT_CERT_SESS: Final = 0x04  # or at least once in the TLS session that it resumes


class TlvError(ValueError):
    """TLVs that do not fill their room exactly."""


@dataclass(frozen=True, slots=True)
class Tlv:
    type: int
    value: bytes

    def encode(self) -> bytes:
        return struct.pack("!BH", self.type, len(self.value)) + self.value


@dataclass(frozen=True, slots=True)
class SslTlv:
    """The SSL TLV: *client* is a set of CLIENT_ bits, *verify* 0 for a certificate that holds."""

    client: int
    verify: int = 0
    version: str | None = None
    common_name: str | None = None
    cipher: str | None = None
    signature_algorithm: str | None = None
    key_algorithm: str | None = None

    def encode(self) -> Tlv:
        """As HAProxy writes it, in its order."""
        said = (
            (TlvType.SSL_VERSION, self.version),
            (TlvType.SSL_CN, self.common_name),
            (TlvType.SSL_KEY_ALG, self.key_algorithm),
            (TlvType.SSL_SIG_ALG, self.signature_algorithm),
            (TlvType.SSL_CIPHER, self.cipher),
        )
        inner = b"".join(
            Tlv(kind, text.encode("utf-8", "surrogateescape")).encode()
            for kind, text in said
            if text is not None
        )
        return Tlv(TlvType.SSL, struct.pack("!BI", self.client, self.verify) + inner)


@dataclass(frozen=True, slots=True)
class Tlvs:
    """All of a header, in order; the first of a type counts."""

    items: tuple[Tlv, ...] = ()

    def first(self, kind: int) -> bytes | None:
        return next((item.value for item in self.items if item.type == kind), None)

    def text(self, kind: int) -> str | None:
        value = self.first(kind)
        return None if value is None else value.decode("utf-8", "surrogateescape")

    @property
    def alpn(self) -> str | None:
        return self.text(TlvType.ALPN)

    @property
    def authority(self) -> str | None:
        return self.text(TlvType.AUTHORITY)

    @property
    def unique_id(self) -> bytes | None:
        return self.first(TlvType.UNIQUE_ID)

    @property
    def netns(self) -> str | None:
        return self.text(TlvType.NETNS)

    @property
    def ssl(self) -> SslTlv | None:
        """The SSL TLV; None without one, or if it is malformed: HAProxy, too, lets those pass."""
        value = self.first(TlvType.SSL)
        if value is None or len(value) < 5:
            return None
        client, verify = struct.unpack_from("!BI", value)
        try:
            inner = Tlvs(tuple(decode(value[5:])))
        except TlvError:
            return None
        return SslTlv(
            client,
            verify,
            version=inner.text(TlvType.SSL_VERSION),
            common_name=inner.text(TlvType.SSL_CN),
            cipher=inner.text(TlvType.SSL_CIPHER),
            signature_algorithm=inner.text(TlvType.SSL_SIG_ALG),
            key_algorithm=inner.text(TlvType.SSL_KEY_ALG),
        )


NO_TLVS: Final = Tlvs()


def decode(data: bytes) -> Iterator[Tlv]:
    """The TLVs that fill *data*. Raises TlvError."""
    at = 0
    while at < len(data):
        if at + 3 > len(data):
            raise TlvError("a TLV is cut off in its head")
        kind, length = struct.unpack_from("!BH", data, at)
        at += 3
        if at + length > len(data):
            raise TlvError(f"a TLV of type 0x{kind:02x} is longer than the header")
        yield Tlv(kind, data[at : at + length])
        at += length


def as_haproxy(
    options: Iterable[str],
    *,
    alpn: str | None = None,
    authority: str | None = None,
    unique_id: str | None = None,
    ssl: SslTlv | None = None,
    netns: str | None = None,
) -> tuple[Tlv, ...]:
    """What HAProxy sends with these ``proxy-v2-options``, but for the checksum, which comes first.

    *alpn* and *netns* are sent without being asked for; *ssl* is what is known of the client's
    connection, of which *options* choose (None: it is not TLS). Any option about TLS sends the SSL
    TLV (HAProxy manual 5.2, "proxy-v2-options").
    """
    chosen = frozenset(options)
    items: list[Tlv] = []
    if alpn is not None:
        items.append(Tlv(TlvType.ALPN, alpn.encode()))
    if "authority" in chosen and authority is not None:
        items.append(Tlv(TlvType.AUTHORITY, authority.encode("utf-8", "surrogateescape")))
    if "unique-id" in chosen and unique_id is not None:
        items.append(Tlv(TlvType.UNIQUE_ID, unique_id.encode("utf-8", "surrogateescape")))
    if chosen & {"ssl", "cert-cn", "ssl-cipher", "cert-sig", "cert-key"}:
        known = ssl or SslTlv(0)
        items.append(
            SslTlv(
                known.client,
                known.verify,
                version=known.version,
                common_name=known.common_name if "cert-cn" in chosen else None,
                cipher=known.cipher if "ssl-cipher" in chosen else None,
                signature_algorithm=known.signature_algorithm if "cert-sig" in chosen else None,
                key_algorithm=known.key_algorithm if "cert-key" in chosen else None,
            ).encode()
        )
    if netns is not None:
        items.append(Tlv(TlvType.NETNS, netns.encode()))
    return tuple(items)
