# SPDX-License-Identifier: Apache-2.0
"""The options of ipvsadm 1.31, ours after them, and which command may have which.

Facts of the real program's option tables (ipvsadm.c) in their order: the order in which it checks
decides which of several errors a user sees.
"""

from __future__ import annotations

from typing import Final

NO_ARGUMENT: Final = 0
ARGUMENT: Final = 1
MAYBE_ARGUMENT: Final = 2  # the next word, unless that begins with "-"

Option = tuple[str, int]  # its long name, and whether it has an argument

# A letter and a name; two letters have the same name where the real one lists it twice.
_TABLE: Final = (
    *(("A", "add-service", 0), ("E", "edit-service", 0), ("D", "delete-service", 0)),
    *(("C", "clear", 0), ("L", "list", 0), ("l", "list", 0), ("Z", "zero", 0)),
    *(("a", "add-server", 0), ("e", "edit-server", 0), ("d", "delete-server", 0)),
    *(("", "set", 0), ("h", "help", 0), ("v", "version", 0), ("R", "restore", 0)),
    *(("S", "save", 0), ("", "start-daemon", 1), ("", "stop-daemon", 1)),
    *(("t", "tcp-service", 1), ("u", "udp-service", 1), ("", "sctp-service", 1)),
    *(("f", "fwmark-service", 1), ("s", "scheduler", 1), ("p", "persistent", 2)),
    *(("M", "netmask", 1), ("r", "real-server", 1), ("m", "masquerading", 0), ("i", "ipip", 0)),
    *(("g", "gatewaying", 0), ("w", "weight", 1), ("x", "u-threshold", 1)),
    *(("y", "l-threshold", 1), ("n", "numeric", 0), ("c", "connection", 0)),
    *(("", "mcast-interface", 1), ("", "syncid", 1), ("", "timeout", 0), ("", "daemon", 0)),
    *(("", "stats", 0), ("", "rate", 0), ("", "thresholds", 0), ("", "persistent-conn", 0)),
    *(("", "nosort", 0), ("", "sort", 0), ("X", "exact", 0), ("6", "ipv6", 0), ("o", "ops", 0)),
    *(("", "pe", 1), ("b", "sched-flags", 1), ("", "mcast-group", 1), ("", "mcast-port", 1)),
    *(("", "mcast-ttl", 1), ("", "sync-maxlen", 1), ("", "tun-info", 0), ("", "tun-type", 1)),
    *(("", "tun-port", 1), ("", "tun-nocsum", 0), ("", "tun-csum", 0), ("", "tun-remcsum", 0)),
    # Ours.
    *(("", "check", 1), ("", "check-inter", 1), ("", "check-rise", 1), ("", "check-fall", 1)),
    *(("", "check-timeout", 1), ("", "takeover", 0), ("", "no-takeover", 0)),
)

LETTERS: Final[dict[str, Option]] = {
    letter: (name, argument) for letter, name, argument in _TABLE if letter
}
NAMES: Final[dict[str, Option]] = {name: (name, argument) for _, name, argument in _TABLE}
# Words that are an option and nothing else, which nearly all are.
WORDS: Final[dict[str, Option]] = {
    **{"-" + letter: option for letter, option in LETTERS.items()},
    **{"--" + name: option for name, option in NAMES.items()},
}

# What the checks call an option; the place is the bit in a set of options.
CHECKED: Final = (
    *("numeric", "connection", "service-address", "scheduler", "persistent", "netmask"),
    *("real-server", "forwarding-method", "weight", "u-threshold", "l-threshold"),
    *("mcast-interface", "timeout", "daemon", "stats", "rate", "thresholds", "persistent-conn"),
    *("nosort", "syncid", "exact", "ops", "pe", "sched-flags", "mcast-group", "mcast-port"),
    *("mcast-ttl", "sync-maxlen", "tun-info", "tun-type", "tun-port", "tun-nocsum", "tun-csum"),
    "tun-remcsum",
    *("check", "check-inter", "check-rise", "check-fall", "check-timeout"),
    *("takeover", "no-takeover"),
)
BIT: Final[dict[str, int]] = {name: 1 << place for place, name in enumerate(CHECKED)}


def bits(*names: str) -> int:
    """The set of these options."""
    return sum(BIT[name] for name in names)


_ALL: Final = (1 << len(CHECKED)) - 1
_CHECKS: Final = ("check", "check-inter", "check-rise", "check-fall", "check-timeout")
_SERVICE: Final = (
    *("scheduler", "persistent", "netmask", "ops", "pe", "sched-flags"),
    *(*_CHECKS, "takeover", "no-takeover"),
)
_TUNNEL: Final = ("tun-type", "tun-port", "tun-nocsum", "tun-csum", "tun-remcsum")
_SERVER: Final = ("forwarding-method", "weight", "u-threshold", "l-threshold", *_TUNNEL)
_VIEWS: Final = (
    *("stats", "rate", "thresholds", "persistent-conn", "nosort", "syncid", "exact", "tun-info"),
)
_DAEMON: Final = (
    *("mcast-interface", "syncid", "mcast-group", "mcast-port", "mcast-ttl", "sync-maxlen"),
)
TUNNEL_OPTIONS: Final = bits(*_TUNNEL)
CHECK_DETAILS: Final = bits(*_CHECKS[1:])


class Law:
    """Options that must be there, must not, and of which there may be one at most."""

    __slots__ = ("exclusive", "illegal", "needed")

    def __init__(
        self,
        needed: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
        exclusive: tuple[str, ...] = (),
    ) -> None:
        self.needed = bits(*needed)
        self.exclusive = bits(*exclusive)
        self.illegal = _ALL & ~(self.needed | self.exclusive | bits(*optional))


# By the words the checks have for a command.
LAWS: Final[dict[str, Law]] = {
    "add-service": Law(("service-address",), _SERVICE),
    "edit-service": Law(("service-address",), _SERVICE),
    "delete-service": Law(("service-address",)),
    "flush": Law(),
    "list": Law(
        optional=("numeric", *_VIEWS),
        exclusive=("connection", "service-address", "timeout", "daemon"),
    ),
    "add-server": Law(("service-address", "real-server"), _SERVER),
    "delete-server": Law(("service-address", "real-server")),
    "edit-server": Law(("service-address", "real-server"), _SERVER),
    "set": Law(),
    "start-daemon": Law(optional=_DAEMON),
    "stop-daemon": Law(optional=("syncid",)),
    "restore": Law(),
    "save": Law(optional=("numeric",)),
    "zero": Law(optional=("service-address",)),
}
TUNNEL_LAWS: Final[dict[str, Law]] = {
    "ipip": Law(optional=("tun-type",)),
    "gue": Law(("tun-port",), exclusive=("tun-nocsum", "tun-csum", "tun-remcsum")),
    "gre": Law(exclusive=("tun-nocsum", "tun-csum")),
}
# The options that the tunnel laws are about; there are others on the line.
TUNNEL_CHECKED: Final = bits("tun-port", "tun-nocsum", "tun-csum", "tun-remcsum")


def breach(law: Law, given: int, where: str) -> str:
    """The first thing that *law* has against *given*, in words; empty when there is nothing.

    *where* is what the options are for, such as "'list' command".
    """
    exclusive = given & law.exclusive
    if not (given & law.illegal or law.needed & ~given or exclusive & (exclusive - 1)):
        return ""
    one = ""
    for name, bit in BIT.items():
        if not given & bit:
            if law.needed & bit:
                return f"You need to supply the '{name}' option for the {where}"
        elif law.illegal & bit:
            return f"Illegal '{name}' option with the {where}"
        elif law.exclusive & bit:
            if one:
                return f"The option '{name}' conflicts with the '{one}' option in the {where}"
            one = name
    return ""
