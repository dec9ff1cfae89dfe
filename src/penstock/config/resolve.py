# SPDX-License-Identifier: Apache-2.0
"""Host names -> addresses: the system's resolver at start, ``resolvers`` sections at run time.

``query`` is for a daemon that follows changes of DNS as a resolvers section asks; what ``load``
takes as *resolve* has a module of its own, for those who need no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

import dns.exception
import dns.message
import dns.nameserver
import dns.rcode
import dns.rdatatype
import dns.resolver

from penstock.config.haproxy.address import AddressFamilyPreference
from penstock.config.haproxy.loading import Resolvers
from penstock.errors import PenstockError
from penstock.model import Address

__all__ = ["FailureKind", "ResolutionError", "query"]

_RESOLV_CONF = "/etc/resolv.conf"
_PORT = 53

Count = Callable[[str, str], None]
"""Told of a name server, by what it is called, and of what has become of a question to it."""


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


def _nobody(label: str, what: str) -> None:
    """Counts nothing."""


class _CountedNameserver(dns.nameserver.Do53Nameserver):
    """Tells what becomes of each question, in the words of HAProxy's ``show resolvers``."""

    def __init__(self, address: str, port: int, label: str, count: Count) -> None:
        super().__init__(address, port)
        self._label = label
        self._count = count

    def query(  # noqa: PLR0917  # as it is called
        self,
        request: dns.message.QueryMessage,
        timeout: float,
        source: str | None,
        source_port: int,
        max_size: bool,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        self._count(self._label, "sent")
        try:
            response = super().query(
                request,
                timeout,
                source,
                source_port,
                max_size,
                one_rr_per_rrset,
                ignore_trailing,
            )
        except dns.exception.Timeout:
            self._count(self._label, "timeout")
            raise
        except dns.message.Truncated:
            self._count(self._label, "truncated")
            raise
        except OSError:
            self._count(self._label, "snd_error")
            raise
        except dns.exception.DNSException:
            self._count(self._label, "invalid")
            raise
        self._count(self._label, _VERDICTS.get(response.rcode(), "other"))
        return response


_VERDICTS = {
    dns.rcode.NOERROR: "valid",
    dns.rcode.NXDOMAIN: "nx",
    dns.rcode.REFUSED: "refused",
}


def labels(section: Resolvers) -> tuple[str, ...]:
    """What its name servers are called; those of resolv.conf by their addresses."""
    return tuple(label for _, _, label in _servers(section))


def _servers(section: Resolvers) -> list[tuple[str, int, str]]:
    """Address, port and name of each."""
    names = section.labels or tuple(str(address) for address, _ in section.nameservers)
    found = [
        (str(address), port, name)
        for (address, port), name in zip(section.nameservers, names, strict=True)
    ]
    if section.parse_resolv_conf:
        found += [(one, _PORT, one) for one in system_nameservers()]
    return found


def system_nameservers() -> tuple[str, ...]:
    """The addresses in resolv.conf; none where there is no such file, or none in it."""
    try:
        system = dns.resolver.Resolver(_RESOLV_CONF)
    except dns.resolver.NoResolverConfiguration:
        return ()
    return tuple(map(str, system.nameservers))


def query(
    section: Resolvers, name: str, preference: AddressFamilyPreference, count: Count = _nobody
) -> tuple[Address, ...]:
    """All addresses of *name*, the preferred family first, from the section's name servers.

    A family that is preferred but absent is made up for by the other. Blocks for up to
    ``timeout retry`` times ``resolve_retries``. Raises ResolutionError.
    """
    resolver = _resolver(section, count)
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


def query_srv(section: Resolvers, name: str, count: Count = _nobody) -> tuple[SrvRecord, ...]:
    """The hosts that SRV records of *name* tell, in order of priority. Raises ResolutionError.

    Weights of 0-65535 become 1-256 as HAProxy has it (its src/resolvers.c): none is without work.
    """
    try:
        answer = _resolver(section, count).resolve(name, dns.rdatatype.SRV, search=False)
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


def _resolver(section: Resolvers, count: Count) -> dns.resolver.Resolver:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [
        _CountedNameserver(address, port, label, count)
        for address, port, label in _servers(section)
    ]
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
