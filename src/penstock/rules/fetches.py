# SPDX-License-Identifier: Apache-2.0
"""Fetches of mode tcp (manual 7.3.2 to 7.3.5): each made once into a function of a Subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from penstock.rules.counters import counter_fetch
from penstock.rules.model import Call
from penstock.rules.payload import PAYLOAD
from penstock.rules.samples import WAITING, Found, Sample, Waiting
from penstock.rules.subject import Subject
from penstock.terms import Origin

Fetch = Callable[[Subject], Found]
Builder = Callable[[tuple[str, ...], str], Fetch]

_UNLIMITED: Final = -1
_UNITS: Final = {"": 1_000_000, "s": 1_000_000, "ms": 1000, "us": 1}


class UnsupportedError(Exception):
    """A sample, converter or action that penstock cannot carry out; the text is a noun."""


Many = Callable[[Subject], Iterable[Sample] | Waiting]


@dataclass(frozen=True, slots=True)
class Fetcher:
    """*patient*: it may give WAITING or Changing; *many*: what patterns are compared with."""

    fetch: Fetch
    patient: bool = False
    many: Many | None = None


def compile_fetch(call: Call, section: str) -> Fetcher:
    """*section* is what an argument that is left out stands for. Raises UnsupportedError."""
    name, arguments = call.name, call.arguments
    payload = PAYLOAD.get(name)
    if payload is not None:
        return Fetcher(payload(arguments), patient=True)
    if name == "wait_end":
        return Fetcher(lambda subject: True if subject.final else WAITING, patient=True)
    counted = counter_fetch(name, arguments, section)
    if counted is not None:
        return Fetcher(counted)
    builder = _BUILDERS.get(name)
    if builder is not None:
        return Fetcher(builder(arguments, section))
    if name.startswith(("ssl_fc", "ssl_c_", "ssl_f_", "ssl_bc", "ssl_s_")):
        return Fetcher(lambda subject: subject.tls(name, arguments))
    raise UnsupportedError(f"`{name}`")


def _plain(fetch: Fetch) -> Builder:
    return lambda arguments, section: fetch


def _constant(read: Callable[[str], Found]) -> Builder:
    def build(arguments: tuple[str, ...], section: str) -> Fetch:
        value = read(arguments[0] if arguments else "")
        return lambda subject: value

    return build


def _named(fetch: Callable[[Subject, str], Found]) -> Builder:
    """Of a frontend or backend; its own section's where none is named."""

    def build(arguments: tuple[str, ...], section: str) -> Fetch:
        name = (arguments[0] if arguments else "") or section
        return lambda subject: fetch(subject, name)

    return build


def _of_server(fetch: Callable[[Subject, str, str], Found]) -> Builder:
    def build(arguments: tuple[str, ...], section: str) -> Fetch:
        pool, slash, server = (arguments[0] if arguments else "").partition("/")
        if not slash:
            pool, server = section, pool
        return lambda subject: fetch(subject, pool, server)

    return build


def _average_queue(subject: Subject, name: str) -> Found:
    servers = subject.traffic.usable_servers(name)
    queue = subject.traffic.pool_queue(name)
    # With no server left HAProxy pretends that there are twice as many waiting.
    return -(-queue // servers) if servers > 0 else queue * 2


def _free_of(subject: Subject, pool: str, server: str) -> Found:
    limit = subject.traffic.server_limit(pool, server)
    if not limit:
        return _UNLIMITED
    return max(limit - subject.traffic.server_connections(pool, server), 0)


def _or_unlimited(number: int | None) -> int:
    return _UNLIMITED if number is None else number


def _date(arguments: tuple[str, ...], section: str) -> Fetch:
    offset = int(arguments[0]) if arguments else 0
    unit = _UNITS[arguments[1] if len(arguments) > 1 else ""]
    return lambda subject: subject.microseconds() // unit + offset


def _rand(arguments: tuple[str, ...], section: str) -> Fetch:
    if arguments and int(arguments[0]) > 0:
        bound = int(arguments[0])
        return lambda subject: (subject.random() * bound) >> 32
    return lambda subject: subject.random()


def _uuid(subject: Subject) -> Found:
    """Version 4 (RFC 9562)."""
    bits = 0
    for _ in range(4):
        bits = bits << 32 | subject.random()
    bits = bits & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62
    digits = f"{bits:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _var(arguments: tuple[str, ...], section: str) -> Fetch:
    name = arguments[0]
    if len(arguments) > 1:
        default = arguments[1]

        def fetch(subject: Subject) -> Found:
            value = subject.variable(name)
            return default if value is None else value

        return fetch
    return lambda subject: subject.variable(name)


def _env(arguments: tuple[str, ...], section: str) -> Fetch:
    name = arguments[0]
    return lambda subject: subject.process.environment(name)


def _decided(subject: Subject, what: Callable[[Origin], Sample]) -> Sample | None:
    """Of the rule that decided last; None: none did."""
    rule = subject.decided_by()
    return None if rule is None else what(rule)


def _is_local(subject: Subject, address: IPv4Address | IPv6Address | None) -> Found:
    return None if address is None else subject.process.is_local(address)


def _tcp_info(name: str) -> Builder:
    def build(arguments: tuple[str, ...], section: str) -> Fetch:
        divisor = 1000 if name in ("fc_rtt", "fc_rttvar") and arguments != ("us",) else 1

        def fetch(subject: Subject) -> Found:
            value = subject.tcp_info(name)
            return None if value is None else value // divisor

        return fetch

    return build


def _server_end(at: int) -> Builder:
    def fetch(subject: Subject) -> Found:
        ends = subject.server_ends
        return None if ends is None else ends[at]

    return _plain(fetch)


_BUILDERS: Final[dict[str, Builder]] = {
    "always_true": _plain(lambda subject: True),
    "always_false": _plain(lambda subject: False),
    "src": _plain(lambda subject: subject.source),
    "src_port": _plain(lambda subject: None if subject.source is None else subject.source_port),
    "dst": _plain(lambda subject: subject.destination),
    "dst_port": _plain(
        lambda subject: None if subject.destination is None else subject.destination_port
    ),
    "src_is_local": _plain(lambda subject: _is_local(subject, subject.source)),
    "dst_is_local": _plain(lambda subject: _is_local(subject, subject.destination)),
    "fc_src": _plain(lambda subject: subject.socket_ends[0]),
    "fc_src_port": _plain(lambda subject: subject.socket_ends[1]),
    "fc_dst": _plain(lambda subject: subject.socket_ends[2]),
    "fc_dst_port": _plain(lambda subject: subject.socket_ends[3]),
    "fc_src_is_local": _plain(lambda subject: _is_local(subject, subject.socket_ends[0])),
    "fc_dst_is_local": _plain(lambda subject: _is_local(subject, subject.socket_ends[2])),
    "bc_src": _server_end(0),
    "bc_src_port": _server_end(1),
    "bc_dst": _server_end(2),
    "bc_dst_port": _server_end(3),
    "fc_http_major": _plain(lambda subject: None),
    # Rules see no connection that has failed.
    "fc_err": _plain(lambda subject: 0),
    "fc_err_str": _plain(lambda subject: "Success"),
    "last_rule_file": _plain(lambda subject: _decided(subject, lambda rule: rule.file)),
    "last_rule_line": _plain(lambda subject: _decided(subject, lambda rule: rule.line)),
    "fc_rcvd_proxy": _plain(lambda subject: subject.header("fc_rcvd_proxy")),
    "fc_pp_authority": _plain(lambda subject: subject.header("fc_pp_authority")),
    "fc_pp_unique_id": _plain(lambda subject: subject.header("fc_pp_unique_id")),
    **{
        name: _tcp_info(name)
        for name in (
            *("fc_rtt", "fc_rttvar", "fc_unacked", "fc_sacked", "fc_retrans", "fc_fackets"),
            *("fc_lost", "fc_reordering"),
        )
    },
    "so_id": _plain(lambda subject: subject.listener[0]),
    "so_name": _plain(lambda subject: subject.listener[1] or None),
    "dst_conn": _plain(
        lambda subject: subject.traffic.listener_connections(
            subject.frontend[1], subject.listener[0]
        )
    ),
    "fe_id": _plain(lambda subject: subject.frontend[0]),
    "fe_name": _plain(lambda subject: subject.frontend[1]),
    "fe_defbe": _plain(lambda subject: subject.default_pool or None),
    "fe_conn": _named(lambda subject, name: subject.traffic.frontend_connections(name)),
    "fe_sess_rate": _named(lambda subject, name: subject.traffic.frontend_rate(name)),
    "fe_req_rate": _named(lambda subject, name: 0),
    "be_id": _plain(lambda subject: subject.pool[0] if subject.pool else None),
    "be_name": _plain(lambda subject: subject.pool[1] if subject.pool else None),
    "be_conn": _named(lambda subject, name: subject.traffic.pool_connections(name)),
    "be_conn_free": _named(
        lambda subject, name: _or_unlimited(subject.traffic.free_connections(name))
    ),
    "be_sess_rate": _named(lambda subject, name: subject.traffic.pool_rate(name)),
    "connslots": _named(
        lambda subject, name: _or_unlimited(subject.traffic.connection_slots(name))
    ),
    "nbsrv": _named(lambda subject, name: subject.traffic.usable_servers(name)),
    "queue": _named(lambda subject, name: subject.traffic.pool_queue(name)),
    "avg_queue": _named(_average_queue),
    "srv_id": _plain(lambda subject: subject.server[0] if subject.server else None),
    "srv_name": _plain(lambda subject: subject.server[1] if subject.server else None),
    "srv_is_up": _of_server(lambda subject, *who: subject.traffic.server_is_up(*who)),
    "srv_conn": _of_server(lambda subject, *who: subject.traffic.server_connections(*who)),
    "srv_conn_free": _of_server(_free_of),
    "srv_queue": _of_server(lambda subject, *who: subject.traffic.server_queue(*who)),
    "srv_sess_rate": _of_server(lambda subject, *who: subject.traffic.server_rate(*who)),
    "srv_weight": _of_server(lambda subject, *who: subject.traffic.server_weight(*who)),
    "srv_uweight": _of_server(lambda subject, *who: subject.traffic.server_weight(*who)),
    "srv_iweight": _of_server(lambda subject, *who: subject.traffic.server_configured_weight(*who)),
    **{
        name: _plain(lambda subject, name=name: subject.timeout(name))  # type: ignore[misc]
        for name in (
            *("fe_client_timeout", "be_server_timeout", "be_tunnel_timeout"),
            *("cur_server_timeout", "cur_tunnel_timeout"),
        )
    },
    "int": _constant(int),
    "str": _constant(lambda text: text),
    "bool": _constant(lambda text: text.lower() in ("true", "1")),
    "bin": _constant(bytes.fromhex),
    "ipv4": _constant(IPv4Address),
    "ipv6": _constant(IPv6Address),
    "env": _env,
    "var": _var,
    "date": _date,
    "date_us": _plain(lambda subject: subject.microseconds() % 1_000_000),
    "rand": _rand,
    "uuid": _plain(_uuid),
    "unique-id": _plain(lambda subject: subject.unique_id()),
    "hostname": _plain(lambda subject: subject.process.hostname),
    "nbproc": _plain(lambda subject: 1),
    "proc": _plain(lambda subject: 1),
    "thread": _plain(lambda subject: subject.process.thread),
    "stopping": _plain(lambda subject: subject.process.stopping),
}
