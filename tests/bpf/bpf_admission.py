# SPDX-License-Identifier: Apache-2.0
"""Rules put on the lab's services, and what is counted for sources read back and aged."""

from __future__ import annotations

import sys
from collections import Counter
from ipaddress import ip_address
from pathlib import Path

from bpf_cases import PORT, PROTOCOL, REAL_PORT
from bpf_lab import CLIENTS, COUNTED, REALS, VIP, Lab, Result
from bpf_packets import tcp, udp

from penstock.admission import Admission, AdmissionRule, SourceTable
from penstock.engine.kernel.admission import KernelAdmission
from penstock.kernel.btf import Record
from penstock.kernel.maps import HashMap

sys.path.append(str(Path(__file__).parents[1] / "unit"))  # unit_admission, which all tests share

SERVICE_RULES = 16
MEMORY_KIB = 4 << 20


class Rules:
    """One daemon's hand on the rules of a lab's services."""

    def __init__(self, lab: Lab, found: dict[int, tuple[int, int]] | None = None) -> None:
        self.lab = lab
        self.kernel = KernelAdmission(lab.datapath, found or {}, MEMORY_KIB)
        self._on: set[int] = set()

    def put(self, service: int, admission: Admission | None) -> None:
        """Switch *service* over, as the engine does."""
        key = service.to_bytes(4, "little")
        layout = self.lab.codec.service
        raw = bytearray(self.lab.maps.services.get(key) or b"")
        with self.kernel.prepared(service, admission) as program:
            layout.store(raw, "flags", SERVICE_RULES if program.length else 0)
            layout.store(raw, "rules", program.base)
            layout.store(raw, "rules_len", program.length)
            self.lab.maps.services.put(key, bytes(raw))
        self._on.add(service)

    def remove(self, service: int) -> None:
        self.lab.maps.services.delete(service.to_bytes(4, "little"))
        self.kernel.remove(service)
        self._on.discard(service)

    def close(self) -> None:
        for service in list(self._on):
            self.remove(service)
        self.kernel.settle()

    def _map(self, table: SourceTable) -> HashMap:
        number = self.kernel.table_number(table)
        assert number is not None
        found = self.lab.maps.sources.open(number, HashMap)
        assert found is not None
        return found

    def sources(self, table: SourceTable) -> dict[str, Record]:
        layout = self.lab.codec.source
        with self._map(table) as found:
            return {_address(key): layout.unpack(value) for key, value in found.items()}

    def count(self, table: SourceTable, who: str, name: str = "conns") -> int:
        found = self.sources(table).get(who)
        return found.integer(name) if found else 0

    def pass_time(self, table: SourceTable, milliseconds: int) -> None:
        """As if all that was counted had been counted so much earlier."""
        layout = self.lab.codec.source
        with self._map(table) as found:
            for key, value in list(found.items()):
                raw = bytearray(value)
                for name in ("since", "seen"):
                    then = layout.unpack(value).integer(name) - milliseconds
                    layout.store(raw, name, then & 0xFFFFFFFF)
                found.put(key, bytes(raw))

    def check_live(self, table: SourceTable) -> None:
        """Every source has as many connections as there are flows counted for it."""
        number = self.kernel.table_number(table)
        flows = Counter(
            str(flow.address("saddr"))
            for flow in self.lab.live()
            if flow.common.integer("table") == number and flow.ctl & COUNTED
        )
        found = {who: one.integer("conns") for who, one in self.sources(table).items()}
        assert {who: count for who, count in found.items() if count} == dict(flows)


def _address(raw: bytes) -> str:
    mapped = ip_address(raw)
    return str(mapped.ipv4_mapped or mapped)


def only(*rules: AdmissionRule) -> Admission:
    return Admission((rules,))


def serve(lab: Lab, family: int, proto: str = "tcp", **limits: int) -> int:
    """A service with one real server; its id."""
    real = lab.real(REALS[family][0], REAL_PORT, protocol=PROTOCOL[proto])
    pool = lab.pool([real])
    return lab.service(VIP[family], PORT, pool, protocol=PROTOCOL[proto], **limits)


def knock(
    lab: Lab,
    family: int,
    proto: str = "tcp",
    *,
    client: int | str = 0,
    port: int = 40000,
) -> Result:
    """The packet that would open a flow."""
    source = (CLIENTS[family][client] if isinstance(client, int) else client, port)
    target = (VIP[family], PORT)
    return lab.send(udp(source, target) if proto == "udp" else tcp(source, target, "S"))
