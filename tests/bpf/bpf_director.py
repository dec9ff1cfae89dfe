# SPDX-License-Identifier: Apache-2.0
"""IPVS rules in the laboratory's datapath, put there by the engine's own KernelRules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import msgspec
from bpf_ipvs_model import tables
from bpf_lab import LOCAL, REALS, SNAT, VIP, Lab

from penstock.engine.api import DestCounters, ServiceImage
from penstock.engine.kernel.director_map import DirectorMap
from penstock.engine.kernel.ids import Ids, Regions
from penstock.engine.kernel.rules import KernelRules
from penstock.ipvs.model import Destination, Method, Proto, ServiceKey, VirtualService
from penstock.model import Address

PROTOS = {"tcp": Proto.TCP, "udp": Proto.UDP, "sctp": Proto.SCTP}
PORT = 80
REAL_PORT = 8080
_TABLES_OF_OTHERS = (0, 65536)  # what Lab.pool() takes from


class _Numbers(Ids):
    """Numbers from the laboratory's own row, so that it knows which of them to look at."""

    def __init__(self, lab: Lab) -> None:
        super().__init__("things", 1 << 15)
        self._lab = lab

    def take(self) -> int:
        return self._lab.next_id()


class _Host:
    """Of the network, what rules ask for."""

    def source_for(self, address: Address) -> Address:
        """The source that packets to *address* have."""
        return ip_address(SNAT[address.version])

    def is_local(self, address: Address) -> bool:
        return str(address) in LOCAL.values()

    def watch_replies(self) -> None:
        """The laboratory attaches nothing: it feeds the programs itself."""


def virtual(
    family: int = 4, proto: str = "tcp", port: int = PORT, scheduler: str = "rr", **more: object
) -> VirtualService:
    """A virtual service at the family's VIP."""
    key = ServiceKey(PROTOS[proto], VIP[family], port, family=family)
    if family == 6:
        more.setdefault("netmask", 128)
    return VirtualService(key, scheduler, **more)  # type: ignore[arg-type]


def marked(mark: int, family: int = 4, scheduler: str = "rr", **more: object) -> VirtualService:
    """A virtual service of a firewall mark."""
    if family == 6:
        more.setdefault("netmask", 128)
    key = ServiceKey(fwmark=mark, family=family)
    return VirtualService(key, scheduler, **more)  # type: ignore[arg-type]


def masq(number: int, family: int = 4, *, port: int = REAL_PORT, **more: int) -> Destination:
    """The family's real server *number*, by masquerading."""
    return Destination(REALS[family][number], port, Method.MASQ, **more)


def route(number: int, family: int = 4, *, port: int = PORT, **more: int) -> Destination:
    """The same by direct routing."""
    return Destination(REALS[family][number], port, Method.ROUTE, **more)


def tunnel(number: int, family: int = 4, *, port: int = PORT, **more: int) -> Destination:
    """The same through a tunnel; *family* is the outer header's."""
    return Destination(REALS[family][number], port, Method.TUNNEL, **more)


@dataclass
class Director:
    """The rules of a test, as the control plane would put and change them."""

    lab: Lab
    images: dict[ServiceKey, ServiceImage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = DirectorMap(self.lab.datapath)
        self.settings.set_defaults()
        self.restart()

    def restart(self) -> None:
        """As a new daemon: everything is read back from the maps."""
        taken = [_TABLES_OF_OTHERS]
        for _, raw in self.lab.maps.pools.items():
            pool = self.lab.codec.pool.unpack(raw)
            taken.append((pool.integer("base"), pool.integer("len")))
            taken.append((pool.integer("hash_base"), pool.integer("hash_len")))
        numbers = _Numbers(self.lab)
        self.engine = KernelRules(
            replace(self.lab.datapath, adopted=True),
            _Host(),  # type: ignore[arg-type]
            reals=numbers,
            pools=numbers,
            services=numbers,
            regions=Regions(len(self.lab.maps.tables), taken),
        )

    def put(
        self,
        service: VirtualService,
        dests: Iterable[Destination] = (),
        table: tuple[int, ...] | None = None,
    ) -> ServiceKey:
        """Add or change a service; *dests* in the kernel's order, the last one added first."""
        listed = tuple(dests)
        before = self.images.get(service.key)
        image = ServiceImage(
            service,
            listed,
            table=tables(service, listed) if table is None else table,
            fresh=before is None or before.service.scheduler != service.scheduler,
            changed=before is None or before.dests != listed,
        )
        self.engine.put_rules([image])
        self.images[service.key] = image
        return service.key

    def dests(self, key: ServiceKey, *dests: Destination) -> None:
        """Give a service other destinations."""
        self.put(self.images[key].service, dests)

    def edit(self, key: ServiceKey, address: str, **changes: int) -> None:
        """``-e``: another weight, other thresholds of one destination."""
        self.dests(
            key,
            *(
                msgspec.structs.replace(dest, **changes) if dest.address == address else dest
                for dest in self.images[key].dests
            ),
        )

    def remove(self, key: ServiceKey) -> None:
        self.engine.remove_rules([key])
        del self.images[key]

    def set(self, **sysctls: int) -> None:
        for name, value in sysctls.items():
            self.engine.set_sysctl(name, value)

    def counters(self, key: ServiceKey) -> dict[str, DestCounters]:
        """By address of the destination; the service's own under ""."""
        (found,) = self.engine.rule_counters([key])
        return {"": found.service} | {dest[0]: one for dest, one in found.dests.items()}

    def loads(self, key: ServiceKey) -> dict[str, tuple[int, int]]:
        """Active and inactive connections by address of the destination."""
        return {
            address: (one.active, one.inactive)
            for address, one in self.counters(key).items()
            if address
        }

    def setting(self, name: str) -> int:
        """What the datapath itself reads."""
        fields = self.lab.codec.director.unpack(self.lab.maps.directors.read(0))
        return fields.integer(name)
