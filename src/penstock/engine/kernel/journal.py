# SPDX-License-Identifier: Apache-2.0
"""What the datapath tells of flows whose services are logged."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from penstock.engine.api import RealKey
from penstock.engine.kernel.loader import Datapath
from penstock.logs.flows import Server, Told, made_told

_FIN_CLIENT, _FIN_REAL = 0x40, 0x80  # flow_words.h
_FORMATS: Final = {1: "B", 2: "H", 4: "I", 8: "Q", 5: "5x", 16: "16s"}
_ORDER: Final = (  # of types.h, struct log_record
    *("client", "vip", "source", "target"),
    *("client_port", "vip_port", "source_port", "target_port"),
    *("begun", "answered", "ended", "bytes_in", "bytes_out", "packets_in", "packets_out"),
    *("service", "real", "ctl", "one_in", "how", "af", "cause", "pad"),
)
_PORTS: Final = struct.Struct(">4H")


class KernelJournal:
    """One per engine; implements ``logs.flows.Numbers``."""

    def __init__(
        self,
        datapath: Datapath,
        service_name: Callable[[int], str | None],
        real_key: Callable[[int], RealKey | None],
        pool_numbers: Callable[[str], list[int]],
    ) -> None:
        """*pool_numbers*: of a pool's real servers."""
        codec, maps = datapath.codec, datapath.maps
        self._ring, self._controls = maps.log_ring, maps.controls
        self._services, self._reals = maps.service_lives, maps.real_lives
        self._service_conns = codec.service_live.offset("conns")
        self._real_conns = codec.real_live.offset("conns")
        self._conns = codec.control.offset("conns")
        self._one_in = codec.control.offset("log_one_in")
        self._record, self._ports_at = _record_format(datapath)
        self._real_key, self._pool_numbers = real_key, pool_numbers
        self.service_name = service_name

    def fileno(self) -> int:
        """Readable when ``told()`` should be called before its time."""
        return self._ring.fd

    def thin_out(self, one_in: int) -> None:
        """From now on the datapath tells of one flow in so many; 1: of all."""
        self._controls.store32(0, self._one_in, one_in)

    @property
    def full(self) -> float:
        """The share of the ring that holds what has not been read."""
        return self._ring.waiting() / self._ring.size

    def told(self, most: int) -> Iterator[Told]:
        """Up to *most* of what the datapath had to tell, oldest first."""
        unpack, ports, at = self._record.unpack, _PORTS.unpack_from, self._ports_at
        for raw in self._ring.read(most):
            fields = unpack(raw)
            client, vip, source, target = fields[:4]
            begun, answered, ended, bytes_in, bytes_out = fields[8:13]
            service, real, ctl, _, how, af, cause = fields[15:]
            client_port, vip_port, source_port, target_port = ports(raw, at)
            if af == 4:
                client, vip, source, target = client[:4], vip[:4], source[:4], target[:4]
            yield made_told(
                (
                    *(client, vip, source, target),
                    *(client_port, vip_port, source_port, target_port),
                    *(begun, answered, ended, bytes_in, bytes_out, service, real, how),
                    chr(cause) if cause else "K",
                    bool(ctl & _FIN_CLIENT),
                    bool(ctl & _FIN_REAL),
                )
            )

    # -- numbers -----------------------------------------------------------------------------

    def server(self, number: int) -> Server | None:
        key = self._real_key(number)
        if key is None:
            return None
        return Server(key.pool, key.name)

    def live(self) -> int:
        return self._controls.load32(0, self._conns)

    def service_live(self, number: int) -> int:
        return self._services.load32(number, self._service_conns)

    def server_live(self, number: int) -> int:
        return self._reals.load32(number, self._real_conns)

    def pool_live(self, pool: str) -> int:
        return sum(map(self.server_live, self._pool_numbers(pool)))


def _record_format(datapath: Datapath) -> tuple[struct.Struct, int]:
    """All of a record at once, by the sizes that the object says, and where its ports are."""
    layout = datapath.codec.log_record
    fields = sorted(layout.fields.values(), key=lambda field: field.offset)
    made = struct.Struct("=" + "".join(_FORMATS[field.size] for field in fields))
    if tuple(field.name for field in fields) != _ORDER or made.size != layout.size:
        raise ValueError("struct log_record is not as it is read here")
    return made, layout.offset("client_port")
