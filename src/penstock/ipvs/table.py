# SPDX-License-Identifier: Apache-2.0
"""All virtual services with their destinations, changed by commands as the kernel changes them.

Sources: net/netfilter/ipvs/ip_vs_ctl.c of Linux 6.1. Commands are applied first and settled or
reverted afterwards, so that a datapath that refuses them leaves nothing behind here.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from penstock.ipvs.fold import folded
from penstock.ipvs.model import (
    SCHEDULERS,
    AddDest,
    AddService,
    DeleteDest,
    DeleteService,
    Destination,
    DestKey,
    EditDest,
    EditService,
    Flush,
    Method,
    ServiceKey,
    TunType,
    VirtualService,
)

TableCommand = AddService | EditService | DeleteService | Flush | AddDest | EditDest | DeleteDest

_KNOWN_SCHEDULERS = frozenset(SCHEDULERS)
_MULTICAST4 = frozenset(str(first) for first in range(224, 240))
_NAMESPACE = 0x80  # what the kernel takes of a struct netns_ipvs' address; aligned to 4096
_LINK_LOCAL6 = ("fe8", "fe9", "fea", "feb")


class Surroundings(NamedTuple):
    """What the kernel knows of this machine's addresses, in the text of ``inet_ntop``."""

    broadcast: frozenset[str] = frozenset()  # of its IPv4 networks
    local6: frozenset[str] = frozenset()  # its own IPv6 addresses


class Rule:
    """One virtual service; its destinations are kept in the order they were added."""

    __slots__ = ("_quiesced", "changed", "dests", "fresh", "left", "service")

    def __init__(self, service: VirtualService) -> None:
        self.service = service
        self.dests: dict[DestKey, Destination] = {}
        self._quiesced: dict[DestKey, int] = {}  # of weight 0: the last other weight
        self.fresh = True  # another scheduler than before, or none before
        self.changed = False  # destinations came, went or were edited
        self.left: set[DestKey] = set()  # destinations that went

    def last_weight(self, dest: Destination) -> int:
        """The latest weight that was not 0, which mh goes by; 0 if there never was one."""
        return dest.weight or self._quiesced.get((dest.address, dest.port), 0)

    def listed(self) -> list[Destination]:
        """In the kernel's order: most recently added first."""
        return list(reversed(self.dests.values()))

    def put(self, dest: Destination) -> None:
        key = (dest.address, dest.port)
        if dest.weight:
            self._quiesced.pop(key, None)
        elif (before := self.dests.get(key)) is not None and before.weight:
            self._quiesced[key] = before.weight
        self.dests[key] = dest
        self.left.discard(key)
        self.changed = True

    def remove(self, key: DestKey) -> None:
        del self.dests[key]
        self._quiesced.pop(key, None)
        self.left.add(key)
        self.changed = True

    def copy(self) -> Rule:
        other = Rule(self.service)
        other.dests = self.dests.copy()
        other._quiesced = self._quiesced.copy()
        other.fresh, other.changed = self.fresh, self.changed
        return other


@dataclass(frozen=True, slots=True)
class Changes:
    """What a datapath must do, removals first; a service in both has been made anew."""

    removed: Sequence[ServiceKey] = ()
    put: Sequence[Rule] = ()  # with ``fresh`` and ``changed`` as they are now
    shrunk: Sequence[Rule] = ()  # of these, those that were there and have lost destinations


class RuleTable:
    """The services of one director."""

    def __init__(self, surroundings: Callable[[], Surroundings] = Surroundings) -> None:
        self._ask = surroundings
        self._surroundings: Surroundings | None = None
        self._rules: dict[ServiceKey, Rule] = {}  # oldest first
        self._before: dict[ServiceKey, Rule | None] = {}  # of services touched since settle()
        self._replaced: set[ServiceKey] = set()
        self._order: list[ServiceKey] | None = None  # before the first removal since settle()
        self._mixed = self._mixed_before = 0
        self._dests = self._dests_before = 0
        self.synchronised = False  # a sync daemon runs, and cannot tell mixed families
        self._act: dict[type, Callable[..., int]] = {
            AddService: self._add_service,
            EditService: self._edit_service,
            DeleteService: self._delete_service,
            Flush: self._flush,
            AddDest: self._add_dest,
            EditDest: self._edit_dest,
            DeleteDest: self._delete_dest,
        }

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Iterator[Rule]:
        """In the order they were added."""
        return iter(self._rules.values())

    def listed(self) -> list[Rule]:
        """In the kernel's order: by hash bucket, those of firewall marks last.

        A kernel mixes part of a memory address into its buckets, so that it has sixteen orders;
        this is one of them.
        """
        newest_first = reversed(self._rules.values())
        return sorted(newest_first, key=lambda rule: _bucket(rule.service.key))

    def find(self, key: ServiceKey) -> Rule | None:
        return self._rules.get(key)

    @property
    def records(self) -> int:
        """How many services and destinations there are."""
        return len(self._rules) + self._dests

    @property
    def mixed(self) -> bool:
        """Whether a destination has another address family than its service."""
        return self._mixed > 0

    def apply(self, command: TableCommand) -> int:
        """Carry out one command; the kernel's errno, 0 for done."""
        return self._act[type(command)](command)

    def changes(self) -> Changes:
        """What has changed since ``settle()``."""
        before, rules = self._before, self._rules
        return Changes(
            [
                key
                for key, was in before.items()
                if was is not None and (key not in rules or key in self._replaced)
            ],
            [rules[key] for key in before if key in rules],
            [
                rules[key]
                for key, was in before.items()
                if was is not None
                and key in rules
                and rules[key].left
                and key not in self._replaced
            ],
        )

    def settle(self) -> None:
        """What was applied holds."""
        for key in self._before:
            rule = self._rules.get(key)
            if rule is not None:
                rule.fresh = rule.changed = False
                rule.left = set()
        self._forget()

    def revert(self) -> Changes:
        """Undo everything since ``settle()``; what brings a datapath back that had followed."""
        before, rules = self._before, self._rules
        order = self._order
        if order is None:
            order = [key for key in rules if before.get(key, rules[key]) is not None]
        changes = Changes(
            [key for key in before if key in rules and (before[key] is None)],
            [was for was in before.values() if was is not None],
        )
        self._rules = {key: before.get(key) or rules[key] for key in order}
        for rule in changes.put:
            now = rules.get(rule.service.key)
            anew = now is None or now.fresh or rule.service.key in self._replaced
            rule.fresh, rule.changed = anew, True
        self._mixed, self._dests = self._mixed_before, self._dests_before
        self._forget()
        return changes

    def _forget(self) -> None:
        self._before, self._replaced, self._order = {}, set(), None
        self._mixed_before, self._dests_before = self._mixed, self._dests
        self._surroundings = None

    # -- services ----------------------------------------------------------------------

    def _add_service(self, command: AddService) -> int:
        service = command.service
        key = service.key
        if key in self._rules:
            return errno.EEXIST
        if number := _refused(service):
            return number
        if key in self._before:
            self._replaced.add(key)
        else:
            self._before[key] = None
        self._rules[key] = Rule(service)
        return 0

    def _edit_service(self, command: EditService) -> int:
        service = command.service
        rule = self._rules.get(service.key)
        if rule is None:
            return errno.ESRCH
        if number := _refused(service):
            return number
        self._touch(rule)
        if service.scheduler != rule.service.scheduler:
            rule.fresh = True
        rule.service = service
        return 0

    def _delete_service(self, command: DeleteService) -> int:
        rule = self._rules.get(command.key)
        if rule is None:
            return errno.ESRCH
        self._remove(rule)
        return 0

    def _flush(self, _command: Flush) -> int:
        for rule in list(self._rules.values()):
            self._remove(rule)
        return 0

    def _remove(self, rule: Rule) -> None:
        key = rule.service.key
        if self._order is None:
            before = self._before
            self._order = [one for one in self._rules if before.get(one, rule) is not None]
        # Nobody changes it from here on, so it need not be copied.
        self._before.setdefault(key, rule)
        self._dests -= len(rule.dests)
        self._mixed -= sum(_foreign(key, dest) for dest in rule.dests.values())
        del self._rules[key]

    def _touch(self, rule: Rule) -> None:
        if rule.service.key not in self._before:
            self._before[rule.service.key] = rule.copy()

    # -- destinations ------------------------------------------------------------------

    def _add_dest(self, command: AddDest) -> int:
        rule = self._rules.get(command.key)
        if rule is None:
            return errno.ESRCH
        dest = command.dest
        mixed = _foreign(command.key, dest)
        if mixed and (self.synchronised or dest.method != Method.TUNNEL):
            return errno.EINVAL
        if number := _out_of_range(dest):
            return number
        if (dest.address, dest.port) in rule.dests:
            return errno.EEXIST
        if not self._unicast(dest.address):
            return errno.EINVAL
        self._touch(rule)
        rule.put(dest)
        self._dests += 1
        self._mixed += mixed
        return 0

    def _edit_dest(self, command: EditDest) -> int:
        rule = self._rules.get(command.key)
        if rule is None:
            return errno.ESRCH
        dest = command.dest
        if _foreign(command.key, dest) and (self.synchronised or dest.method != Method.TUNNEL):
            return errno.EINVAL
        if number := _out_of_range(dest):
            return number
        if (dest.address, dest.port) not in rule.dests:
            return errno.ENOENT
        self._touch(rule)
        rule.put(dest)
        return 0

    def _delete_dest(self, command: DeleteDest) -> int:
        rule = self._rules.get(command.key)
        if rule is None:
            return errno.ESRCH
        key = (command.address, command.port)
        dest = rule.dests.get(key)
        if dest is None:
            return errno.ENOENT
        self._touch(rule)
        rule.remove(key)
        self._dests -= 1
        self._mixed -= _foreign(command.key, dest)
        return 0

    def _unicast(self, address: str) -> bool:
        """inet_addr_type() and ipv6_addr_type(), of text as ``inet_ntop`` writes it."""
        if self._surroundings is None:
            self._surroundings = self._ask()
        if ":" not in address:
            return not (
                address in {"0.0.0.0", "255.255.255.255"}  # noqa: S104  # nobody binds to it
                or address.partition(".")[0] in _MULTICAST4
                or address in self._surroundings.broadcast
            )
        if address in self._surroundings.local6:
            return True
        head = address.partition(":")[0]
        if len(head) == 4 and head.startswith(("ff", *_LINK_LOCAL6)):
            return False
        mapped = address.startswith("::ffff:") and "." in address
        return address != "::" and not mapped


def _bucket(key: ServiceKey) -> int:
    """ip_vs_svc_hashkey() and ip_vs_svc_fwm_hashkey(); buckets of firewall marks are added."""
    if key.fwmark:
        return 256 + ((_NAMESPACE ^ key.fwmark) & 255)
    return (_NAMESPACE ^ folded(key.address) ^ key.proto ^ key.port >> 8 ^ key.port) & 255


def _refused(service: VirtualService) -> int:
    if service.scheduler not in _KNOWN_SCHEDULERS or service.pe not in {"", "sip"}:
        return errno.ENOENT
    if service.key.family == 6 and not 1 <= service.netmask <= 128:
        return errno.EINVAL
    return 0


def _out_of_range(dest: Destination) -> int:
    if dest.weight < 0 or dest.lower > dest.upper:
        return errno.ERANGE
    if dest.tun_type == TunType.GUE and not dest.tun_port:
        return errno.EINVAL
    return 0


def _foreign(key: ServiceKey, dest: Destination) -> bool:
    return (":" in dest.address) != (key.family == 6)
