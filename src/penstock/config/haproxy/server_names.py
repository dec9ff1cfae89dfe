# SPDX-License-Identifier: Apache-2.0
"""Options of server lines about names and their addresses (HAProxy manual 5.2 and 5.3)."""

from __future__ import annotations

from ipaddress import ip_network

from penstock.config.haproxy.address import AddressFamilyPreference, parse_ip
from penstock.config.haproxy.draft import InitMethod, ServerOptions
from penstock.config.haproxy.report import LineError
from penstock.model import Address, Network

_PREFERENCES = {
    "ipv4": AddressFamilyPreference.PREFER_IPV4,
    "ipv6": AddressFamilyPreference.PREFER_IPV6,
}


def read_name_option(options: ServerOptions, name: str, value: str) -> bool:
    """Take the option *name* if it is one about names. Raises LineError."""
    match name:
        case "init-addr":
            options.init_addr = _init_addr(value)
        case "resolvers":
            options.resolvers = value
        case "resolve-prefer":
            if value not in _PREFERENCES:
                raise LineError("'resolve-prefer' expects either ipv4 or ipv6 as argument.")
            options.resolve_prefer = _PREFERENCES[value]
        case "resolve-net":
            options.resolve_net = _networks(value)
        case "resolve-opts":
            options.resolve_opts = _resolve_opts(value, options.resolve_opts)
        case _:
            return False
    return True


def _networks(value: str) -> tuple[Network, ...]:
    if not value:
        raise LineError("'resolve-net' expects a list of networks.")
    networks = []
    for word in filter(None, value.split(",")):
        address = word.partition("/")[0]
        if parse_ip(address, AddressFamilyPreference.ANY) is None:
            raise LineError(f"'resolve-net' invalid network '{word}'.")
        try:
            networks.append(ip_network(word, strict=False))
        except ValueError:
            raise LineError(f"'resolve-net' invalid network '{word}'.") from None
    return tuple(networks)


def _resolve_opts(value: str, before: frozenset[str]) -> frozenset[str]:
    chosen = set(before)
    for word in filter(None, value.split(",")):
        if word not in ("allow-dup-ip", "prevent-dup-ip", "ignore-weight"):
            raise LineError(
                f"'resolve-opts' : unknown resolve-opts option '{word}', supported methods are"
                " 'allow-dup-ip', 'ignore-weight', and 'prevent-dup-ip'."
            )
        chosen -= {"allow-dup-ip", "prevent-dup-ip"} if word.endswith("dup-ip") else set()
        chosen.add(word)
    return frozenset(chosen)


def _init_addr(value: str) -> tuple[InitMethod | Address, ...]:
    methods: list[InitMethod | Address] = []
    for word in value.split(","):
        if word in ("last", "libc", "none"):
            methods.append(InitMethod(word))
            continue
        address = parse_ip(word, AddressFamilyPreference.ANY) if word not in ("", "*") else None
        if address is None:
            raise LineError(
                f"'init-addr' : unknown init-addr method '{word}', supported methods are 'libc',"
                " 'last', 'none'."
            )
        methods.append(address)
    return tuple(methods)
