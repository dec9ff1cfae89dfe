# SPDX-License-Identifier: Apache-2.0
"""What a log format's samples ask of a connection that was carried by packets.

Nothing else is asked: a format with other samples is the proxy engine's (``beyond_packets()``).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import ip_address
from typing import NoReturn

from penstock.facts import ProcessFacts
from penstock.logs.record import Record
from penstock.model import Service
from penstock.rules.samples import Sample
from penstock.rules.subject import Act, Process, Tables, Traffic
from penstock.terms import Address, Origin

_BEYOND = "services whose lines ask for this are placed on the proxy engine"


class FlowSubject:
    """A ``penstock.rules.subject.Subject`` of one record."""

    final = True
    method: str | None = None
    request = b""
    response = b""
    listener = (0, "")
    process: Process = ProcessFacts(0, 1)

    def __init__(self, record: Record, service: Service, clock: Callable[[], int]) -> None:
        self._record = record
        self._service = service
        self._clock = clock

    @property
    def source(self) -> Address | None:
        return _address(self._record.client)

    @property
    def source_port(self) -> int:
        return self._record.client_port

    @property
    def destination(self) -> Address | None:
        return _address(self._record.wanted)

    @property
    def destination_port(self) -> int:
        return self._record.wanted_port

    @property
    def socket_ends(self) -> tuple[Address | None, int, Address | None, int]:
        return self.source, self.source_port, self.destination, self.destination_port

    @property
    def server_ends(self) -> tuple[Address | None, int, Address | None, int] | None:
        record = self._record
        if record.connected < 0:
            return None
        return (
            _address(record.source),
            record.source_port,
            _address(record.target),
            record.target_port,
        )

    @property
    def frontend(self) -> tuple[int, str]:
        return self._service.front.id, self._record.frontend

    @property
    def default_pool(self) -> str:
        pool = self._service.pool
        return "" if pool in (None, self._record.frontend) else pool or ""

    @property
    def pool(self) -> tuple[int, str] | None:
        return 0, self._record.backend

    @property
    def server(self) -> tuple[int, str] | None:
        name = self._record.server
        return None if name is None else (0, name)

    @property
    def traffic(self) -> Traffic:
        raise AssertionError(_BEYOND)

    @property
    def tables(self) -> Tables:
        raise AssertionError(_BEYOND)

    def tracked(self, counter: int) -> tuple[str, Sample] | None:
        return None

    def variable(self, name: str) -> Sample | None:
        return None

    def set_variable(self, name: str, value: Sample | None) -> NoReturn:
        raise AssertionError(_BEYOND)

    def microseconds(self) -> int:
        return self._clock() // 1000

    def random(self) -> int:
        return random.getrandbits(32)

    def tls(self, fetch: str, arguments: tuple[str, ...]) -> Sample | None:
        return False if fetch == "ssl_fc" else None

    def captured(self, at: int) -> None:
        return None

    def unique_id(self) -> None:
        return None

    def decided_by(self) -> Origin | None:
        return None

    def header(self, fetch: str) -> Sample | None:
        return False if fetch == "fc_rcvd_proxy" else None

    def tcp_info(self, fetch: str) -> int | None:
        return None

    def timeout(self, fetch: str) -> int | None:
        return None

    def act(self, act: Act) -> NoReturn:
        raise AssertionError(_BEYOND)


def _address(text: str | None) -> Address | None:
    return None if text is None else ip_address(text)
