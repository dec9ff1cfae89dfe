# SPDX-License-Identifier: Apache-2.0
"""Frontends of mode http that penstock itself answers on: what they count, and their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from penstock.sections import Section
from penstock.statistics.shapes import PROCESS, Kind, Row, Shape, Value

_FORBIDDEN: Final = 403


@dataclass(slots=True)
class Rate:
    """Events of the last second, as HAProxy's counters slide; *most* is the highest so far."""

    most: int = 0
    _second: int = 0
    _now: int = 0
    _before: int = 0

    def add(self, now: float) -> None:
        self._turn(now)
        self._now += 1
        self.most = max(self.most, self._now)

    def read(self, now: float) -> int:
        self._turn(now)
        return self._now + int(self._before * (1.0 - now % 1.0))

    def _turn(self, now: float) -> None:
        second = int(now)
        if second != self._second:
            self._before = self._now if second == self._second + 1 else 0
            self._second, self._now = second, 0


@dataclass(slots=True)
class Tally:
    """Of one section since it was first there, reloads included."""

    live: int = 0  # connections now
    most_live: int = 0
    connections: int = 0
    denied_connections: int = 0  # by tcp-request rules
    bytes_in: int = 0
    bytes_out: int = 0
    requests: int = 0
    denied: int = 0  # by http-request rules
    invalid: int = 0  # requests that are none, or were not sent in time
    intercepted: int = 0  # answered with statistics, metrics or to a monitor
    responses: list[int] = field(default_factory=lambda: [0] * 6)  # 1xx to 5xx, and others
    connection_rate: Rate = field(default_factory=Rate)
    request_rate: Rate = field(default_factory=Rate)

    def opened(self, now: float) -> None:
        self.connections += 1
        self.connection_rate.add(now)
        self.live += 1
        self.most_live = max(self.most_live, self.live)

    def asked(self, now: float) -> None:
        self.requests += 1
        self.request_rate.add(now)

    def answered(self, status: int) -> None:
        """A request had this *status* for an answer."""
        place = status // 100
        self.responses[place - 1 if 1 <= place <= 5 else 5] += 1
        self.denied += status == _FORBIDDEN


_VARIABLE: Final = (
    "pxname scur smax slim stot bin bout dreq ereq status iid rate rate_lim rate_max mode"
    " hrsp_1xx hrsp_2xx hrsp_3xx hrsp_4xx hrsp_5xx hrsp_other req_rate req_rate_max req_tot"
    " conn_rate conn_rate_max conn_tot intercepted dcon"
)
_ZEROS: Final = (
    *("dresp", "dses", "wrew", "eint", "comp_in", "comp_out", "comp_byp", "comp_rsp"),
    *("cache_lookups", "cache_hits", "ssl_sess", "ssl_reused_sess", "ssl_failed_handshake"),
    *("h2_headers_rcvd", "h2_data_rcvd", "h2_settings_rcvd", "h2_rst_stream_rcvd"),
    *("h2_goaway_rcvd", "h2_detected_conn_protocol_errors"),
    *("h2_detected_strm_protocol_errors", "h2_rst_stream_resp", "h2_goaway_resp"),
    *("h2_open_connections", "h2_backend_open_streams", "h2_total_connections"),
    *("h2_backend_total_streams", "h1_open_connections", "h1_open_streams"),
    *("h1_total_connections", "h1_total_streams", "h1_bytes_in", "h1_bytes_out"),
    *("h1_spliced_bytes_in", "h1_spliced_bytes_out"),
)
SERVED: Final = Shape(
    Kind.FRONTEND,
    _VARIABLE,
    {
        **{"svname": "FRONTEND", "pid": PROCESS, "sid": 0, "type": int(Kind.FRONTEND)},
        **dict.fromkeys(_ZEROS, 0),
    },
)


def served_row(section: Section, tally: Tally, *, limit: int, status: str, now: float) -> Row:
    """The row of *section*'s frontend."""
    values: tuple[Value, ...] = (
        section.name,
        tally.live,
        tally.most_live,
        limit,
        tally.connections,
        tally.bytes_in,
        tally.bytes_out,
        tally.denied,
        tally.invalid,
        status,
        section.id,
        tally.connection_rate.read(now),
        section.rate_limit,
        tally.connection_rate.most,
        section.mode,
        *tally.responses,
        tally.request_rate.read(now),
        tally.request_rate.most,
        tally.requests,
        tally.connection_rate.read(now),
        tally.connection_rate.most,
        tally.connections,
        tally.intercepted,
        tally.denied_connections,
    )
    return Row(SERVED, section.id, 0, values)
