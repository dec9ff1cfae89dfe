# SPDX-License-Identifier: Apache-2.0
"""What conditions ask of a request that penstock itself answers (``penstock.rules.subject``)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.engine.proxy.tls import TlsInfo
from penstock.facts import ProcessFacts
from penstock.rules.samples import Sample
from penstock.rules.subject import Act, Process, Tables, Traffic
from penstock.stick import tables as stick_tables
from penstock.terms import Address, Origin
from penstock.web.http1 import Request

_FACTS = ProcessFacts(0, 1)
# Conditions that look at stick tables are refused when they are read.
_NO_TABLES = stick_tables.Tables((), lambda: 0)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and where. *source* is None on a UNIX socket."""

    source: Address | None = None
    source_port: int = 0
    destination: Address | None = None
    destination_port: int = 0
    listener: tuple[int, str] = (0, "")  # its number and name
    tls: TlsInfo | None = None
    proxied: bool = False  # its addresses are those of a PROXY header
    ends: tuple[Address | None, int, Address | None, int] = (None, 0, None, 0)  # the socket's own


@dataclass(slots=True)
class Asked:
    """Of one request; before there is one, of the connection."""

    caller: Caller
    frontend: tuple[int, str]
    look: Callable[[], Traffic]  # at the counters, which most conditions do not ask for
    whole: Request | None = None
    final: bool = True
    method: str | None = None
    pool: tuple[int, str] | None = None
    server: tuple[int, str] | None = None
    default_pool: str = ""
    _variables: dict[str, Sample] = field(default_factory=dict)

    @property
    def source(self) -> Address | None:
        return self.caller.source

    @property
    def source_port(self) -> int:
        return self.caller.source_port

    @property
    def destination(self) -> Address | None:
        return self.caller.destination

    @property
    def destination_port(self) -> int:
        return self.caller.destination_port

    @property
    def socket_ends(self) -> tuple[Address | None, int, Address | None, int]:
        return self.caller.ends

    @property
    def server_ends(self) -> None:
        return None

    @property
    def listener(self) -> tuple[int, str]:
        return self.caller.listener

    @property
    def request(self) -> bytes:
        return self.whole.raw if self.whole is not None else b""

    @property
    def response(self) -> bytes:
        return b""

    @property
    def traffic(self) -> Traffic:
        return self.look()

    @property
    def tables(self) -> Tables:
        return _NO_TABLES

    @property
    def process(self) -> Process:
        return _FACTS

    def tracked(self, counter: int) -> None:
        return None

    def variable(self, name: str) -> Sample | None:
        return self._variables.get(name)

    def set_variable(self, name: str, value: Sample | None) -> None:
        if value is None:
            self._variables.pop(name, None)
        else:
            self._variables[name] = value

    def microseconds(self) -> int:
        return time.time_ns() // 1000

    def random(self) -> int:
        return random.getrandbits(32)  # to spread, as HAProxy's rand()

    def tls(self, fetch: str, arguments: tuple[str, ...]) -> Sample | None:
        info = self.caller.tls
        match fetch:
            case "ssl_fc":
                return info is not None
            case "ssl_c_used" | "ssl_fc_has_crt":
                return info is not None and info.certificate is not None
            case "ssl_fc_sni":
                return None if info is None else info.sni
            case "ssl_fc_protocol":
                return None if info is None else info.version
            case "ssl_c_verify":
                return None if info is None else 0  # others did not get this far
            case "ssl_c_s_dn" if arguments in ((), ("CN",)):
                return None if info is None else info.common_name
        return None

    def captured(self, at: int) -> None:
        return None

    def unique_id(self) -> None:
        return None

    def decided_by(self) -> Origin | None:
        return None

    def header(self, fetch: str) -> Sample | None:
        return self.caller.proxied if fetch == "fc_rcvd_proxy" else None

    def tcp_info(self, fetch: str) -> int | None:
        return None

    def timeout(self, fetch: str) -> int | None:
        return None

    def act(self, act: Act) -> None:
        """Marks and logs are nothing to requests that are answered here."""
