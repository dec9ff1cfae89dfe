# SPDX-License-Identifier: Apache-2.0
"""Health checks of virtual services' destinations: who is checked, and who is down. Pure.

Down means quiesced, as ``ipvsadm -e -w 0`` would: connections go on, no new ones come.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import msgspec

from penstock.engine.api import RealKey
from penstock.ipvs.model import Destination, DestKey, Proto, ServiceKey, VirtualService
from penstock.ipvs.names import place, service_name
from penstock.ipvs.table import Rule
from penstock.model import CheckKind, HealthCheck, PortMode, Protocol, RealPort


class Checked(msgspec.Struct, frozen=True, gc=False):
    """One destination that is checked."""

    real: RealKey
    service: ServiceKey
    dest: DestKey
    protocol: Protocol
    check: HealthCheck
    timeout: int | None  # ms; None: as the interval


def health_check(service: VirtualService) -> HealthCheck | None:
    """The check that *service* asks for. Raises InvalidModel for one that cannot be."""
    spec = service.check
    if spec is None:
        return None
    return HealthCheck(
        kind=CheckKind(spec.kind),
        inter=spec.inter,
        rise=spec.rise,
        fall=spec.fall,
        port=spec.port or None,
    )


class Checks:
    """All checked destinations of a director and their state."""

    def __init__(self) -> None:
        self._of: dict[ServiceKey, dict[DestKey, Checked]] = {}
        self._by_real: dict[RealKey, Checked] = {}
        self._down: dict[ServiceKey, set[DestKey]] = {}
        self._stale = False

    def follow(self, removed: Iterable[ServiceKey], put: Iterable[Rule]) -> None:
        """Services have gone, come or changed; state stays with a destination that stays."""
        for key in removed:
            if key in self._of:
                self._replace(key, {})
        for rule in put:
            key = rule.service.key
            if rule.service.check is not None or key in self._of:
                self._replace(key, _checked(rule))

    def _replace(self, key: ServiceKey, now: dict[DestKey, Checked]) -> None:
        before = self._of.pop(key, {})
        for one in before.values():
            del self._by_real[one.real]
        for one in now.values():
            self._by_real[one.real] = one
        if now:
            self._of[key] = now
        down = self._down.pop(key, set()) & now.keys()
        if down:
            self._down[key] = down
        self._stale |= before != now

    def take_stale(self) -> bool:
        """True once after other destinations are to be checked, or in another way."""
        stale, self._stale = self._stale, False
        return stale

    def all(self) -> Iterable[Checked]:
        return self._by_real.values()

    def find(self, real: RealKey) -> Checked | None:
        return self._by_real.get(real)

    def real(self, key: ServiceKey, dest: DestKey) -> RealKey | None:
        """What the runner knows a destination as; None for one that is not checked."""
        one = self._of.get(key, {}).get(dest)
        return None if one is None else one.real

    def mark(self, one: Checked, *, up: bool) -> bool:
        """Remember what a check saw; False when that is no news."""
        if self.up(one.service, one.dest) == up:
            return False
        down = self._down.setdefault(one.service, set())
        down ^= {one.dest}
        if not down:
            del self._down[one.service]
        return True

    def up(self, key: ServiceKey, dest: DestKey) -> bool:
        return dest not in self._down.get(key, ())

    def some_down(self, key: ServiceKey) -> bool:
        return key in self._down

    def effective(self, rule: Rule) -> tuple[Destination, ...]:
        """The destinations in the kernel's order, with a weight of 0 where they are down."""
        dests = rule.listed()
        down = self._down.get(rule.service.key)
        if not down or rule.service.check is None:
            return tuple(dests)
        return tuple(
            msgspec.structs.replace(dest, weight=0)
            if dest.weight and (dest.address, dest.port) in down
            else dest
            for dest in dests
        )


def _checked(rule: Rule) -> dict[DestKey, Checked]:
    check = health_check(rule.service)
    if check is None or rule.service.check is None:
        return {}
    key = rule.service.key
    timeout = rule.service.check.timeout or None
    protocol = Protocol.UDP if key.proto == Proto.UDP else Protocol.TCP
    pool = service_name(key)
    return {
        dest: Checked(
            RealKey(
                pool,
                place(*dest),
                ip_address(dest[0]),
                RealPort(PortMode.FIXED, dest[1]) if dest[1] else RealPort(PortMode.SAME),
            ),
            key,
            dest,
            protocol,
            check,
            timeout,
        )
        for dest in rule.dests
        # Where the client chooses the port there is none to check, unless one is given.
        if dest[1] or check.port
    }
