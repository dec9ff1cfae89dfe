# SPDX-License-Identifier: Apache-2.0
"""Host names -> addresses: the system's resolver at start, ``resolvers`` sections at run time.

``query`` is for a daemon that follows changes of DNS as a resolvers section asks; what ``load``
takes as *resolve* has a module of its own, for those who need no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from penstock.config.haproxy.address import AddressFamilyPreference
from penstock.config.haproxy.loading import Resolvers
from penstock.errors import PenstockError
from penstock.model import Address

__all__ = ["FailureKind", "ResolutionError", "query"]

_RESOLV_CONF = "/etc/resolv.conf"


class FailureKind(StrEnum):
    """Why a query gave nothing; each has its own ``hold`` time (HAProxy manual 5.3.2)."""

    NX = "nx"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    OTHER = "other"


class ResolutionError(PenstockError):
    """A name server did not give an address."""

    def __init__(self, name: str, kind: FailureKind, detail: str) -> None:
        super().__init__(f"cannot resolve {name}: {detail}")
        self.name = name
        self.kind = kind


def query(
    section: Resolvers, name: str, preference: AddressFamilyPreference
) -> tuple[Address, ...]:
    """All addresses of *name*, the preferred family first, from the section's name servers.

    A family that is preferred but absent is made up for by the other. Blocks for up to
    ``timeout retry`` times ``resolve_retries``. Raises ResolutionError.
    """
    resolver = _resolver(section)
    types = _record_types(preference)
    failure: ResolutionError | None = None
    for record_type in types:
        try:
            answer = resolver.resolve(name, record_type, search=False)
        except dns.exception.DNSException as error:
            failure = ResolutionError(name, _kind(error), str(error) or type(error).__name__)
            continue
        return tuple(ip_address(str(record)) for record in answer)
    raise failure or ResolutionError(name, FailureKind.OTHER, "no name server")


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """A host that serves a name; the weight on HAProxy's scale, 1-256."""

    target: str
    port: int
    weight: int


def query_srv(section: Resolvers, name: str) -> tuple[SrvRecord, ...]:
    """The hosts that SRV records of *name* tell, in order of priority. Raises ResolutionError.

    Weights of 0-65535 become 1-256 as HAProxy has it (its src/resolvers.c): none is without work.
    """
    try:
        answer = _resolver(section).resolve(name, dns.rdatatype.SRV, search=False)
    except dns.exception.DNSException as error:
        detail = str(error) or type(error).__name__
        raise ResolutionError(name, _kind(error), detail) from error
    records = sorted(answer, key=lambda record: (record.priority, record.target, record.port))
    return tuple(
        SrvRecord(record.target.to_text(omit_final_dot=True), record.port, record.weight // 256 + 1)
        for record in records
        if record.port
    )


def _record_types(preference: AddressFamilyPreference) -> list[dns.rdatatype.RdataType]:
    v4, v6 = dns.rdatatype.A, dns.rdatatype.AAAA
    match preference:
        case AddressFamilyPreference.IPV4:
            return [v4]
        case AddressFamilyPreference.IPV6:
            return [v6]
        case AddressFamilyPreference.PREFER_IPV4:
            return [v4, v6]
    return [v6, v4]  # HAProxy's default


def _resolver(section: Resolvers) -> dns.resolver.Resolver:
    resolver = dns.resolver.Resolver(configure=False)
    servers: list[str | dns.nameserver.Nameserver] = [
        dns.nameserver.Do53Nameserver(str(address), port) for address, port in section.nameservers
    ]
    if section.parse_resolv_conf:
        servers += dns.resolver.Resolver(_RESOLV_CONF).nameservers
    resolver.nameservers = servers
    resolver.timeout = section.timeout_retry / 1000
    resolver.lifetime = max(section.timeout_retry, 1) * max(section.resolve_retries, 1) / 1000
    resolver.use_edns(0, 0, section.accepted_payload_size)
    return resolver


def _kind(error: dns.exception.DNSException) -> FailureKind:
    match error:
        case dns.resolver.NXDOMAIN():
            return FailureKind.NX
        case dns.exception.Timeout():
            return FailureKind.TIMEOUT
        case dns.resolver.NoNameservers() if "REFUSED" in str(error):
            return FailureKind.REFUSED
    return FailureKind.OTHER
