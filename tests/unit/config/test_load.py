# SPDX-License-Identifier: Apache-2.0
"""haproxy.cfg text -> Configuration: what lowers to what."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest

from penstock.config.haproxy import AddressFamilyPreference, LoadResult, load, loads
from penstock.errors import ConfigError
from penstock.events import Level
from penstock.logs.model import Facility, SyslogServer, SyslogSocket, Target
from penstock.model import (
    Address,
    AdminState,
    AgentCheck,
    Algorithm,
    CheckKind,
    Configuration,
    EngineKind,
    ForwardingMethod,
    HashFunction,
    HashType,
    Hook,
    NameLookup,
    Observed,
    OnError,
    PortMode,
    Protocol,
    RealServer,
    Service,
)
from penstock.proxied import KeepAlive

HEAD = """
defaults
    mode tcp
    timeout client 30s
    timeout server 1m
    timeout connect 5s
"""
NAMES: dict[str, Address] = {
    "edge": ip_address("10.9.9.9"),
    "localhost": ip_address("127.0.0.1"),
    "six": ip_address("2001:db8::6"),
}


def resolve(name: str, family: AddressFamilyPreference) -> Address | None:
    return NAMES.get(name)


def read(text: str, head: str = HEAD) -> LoadResult:
    return loads(head + text, name="f.cfg", environ={}, resolve=resolve)


def configure(text: str) -> Configuration:
    return read(text).configuration


def only_service(text: str) -> Service:
    (service,) = configure(text).services
    return service


def only_real(text: str) -> RealServer:
    (pool,) = configure(f"backend b\n{text}\n").pools
    (real,) = pool.reals
    return real


def errors(text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, head)
    return [diagnostic.message for diagnostic in caught.value.diagnostics]


def test_the_files_of_a_newcomer() -> None:
    configuration = configure(
        """
frontend tcp_front
    bind *:443
    mode tcp
    default_backend cdn_edges
backend cdn_edges
    mode tcp
    balance roundrobin
    server edge1 10.0.1.1:443 check
    server edge2 10.0.1.2:443 check
    server edge3 10.0.1.3:443 check
"""
    )
    (service,) = configuration.services
    (pool,) = configuration.pools
    assert (service.name, service.pool, service.engine) == (
        "tcp_front",
        "cdn_edges",
        EngineKind.KERNEL,
    )
    (bind,) = service.binds
    assert (bind.vip, str(bind.ports), bind.wildcard) == (IPv4Address(0), "443", True)
    assert service.timeouts.client == 30_000
    assert (pool.timeouts.server, pool.timeouts.connect) == (60_000, 5_000)
    assert pool.scheduler.algorithm is Algorithm.ROUNDROBIN
    assert [real.name for real in pool.reals] == ["edge1", "edge2", "edge3"]
    check = pool.reals[0].check
    assert check is not None
    assert (check.kind, check.inter, check.rise, check.fall) == (CheckKind.TCP_CONNECT, 2000, 2, 3)
    assert str(pool.reals[0].origin) == "f.cfg:15"


@pytest.mark.parametrize(
    ("bind", "seen"),
    [
        (":80", [("0.0.0.0", "80", False)]),
        ("*:80", [("0.0.0.0", "80", False)]),
        ("192.0.2.1:80", [("192.0.2.1", "80", False)]),
        ("[2001:db8::1]:80", [("2001:db8::1", "80", False)]),
        ("2001:db8::1:80", [("2001:db8::1", "80", False)]),
        (":::80 v4v6", [("::", "80", True)]),
        (":::80 v6only", [("::", "80", False)]),
        (":::80", [("::", "80", True)]),
        (":1000-1010", [("0.0.0.0", "1000-1010", False)]),
        (":80,:81", [("0.0.0.0", "80", False), ("0.0.0.0", "81", False)]),
        (":80,192.0.2.1:81-82", [("0.0.0.0", "80", False), ("192.0.2.1", "81-82", False)]),
        ("ipv4@:80", [("0.0.0.0", "80", False)]),
        ("ipv6@:80 v6only", [("::", "80", False)]),
        ("localhost:80", [("127.0.0.1", "80", False)]),
        (":80,:80", [("0.0.0.0", "80", False)]),
    ],
)
def test_binds(bind: str, seen: list[tuple[str, str, bool]]) -> None:
    service = only_service(f"listen x\n bind {bind}\n")
    assert [(str(b.vip), str(b.ports), b.v4v6) for b in service.binds] == seen


def test_an_ipv6_wildcard_leaves_ipv4_to_a_bind_of_its_own() -> None:
    service = only_service("listen x\n bind :80\n bind :::80\n")
    assert [(str(b.vip), b.v4v6) for b in service.binds] == [("0.0.0.0", False), ("::", False)]


def test_bind_options() -> None:
    (bind,) = only_service("listen x\n bind :80 interface eth0 name web transparent\n").binds
    assert (bind.interface, bind.name, bind.transparent) == ("eth0", "web", True)


@pytest.mark.parametrize(
    ("address", "mode", "value", "on_8001"),
    [
        ("1.1.1.1:80", PortMode.FIXED, 80, 80),
        ("1.1.1.1", PortMode.SAME, 0, 8001),
        ("1.1.1.1:0", PortMode.SAME, 0, 8001),
        ("1.1.1.1:+1000", PortMode.OFFSET, 1000, 9001),
        ("1.1.1.1:-1000", PortMode.OFFSET, -1000, 7001),
        ("[::1]:80", PortMode.FIXED, 80, 80),
    ],
)
def test_server_ports(address: str, mode: PortMode, value: int, on_8001: int) -> None:
    real = only_real(f"server s {address}")
    assert (real.port.mode, real.port.value, real.port.of(8001)) == (mode, value, on_8001)


def test_server_options() -> None:
    real = only_real(
        "server s 1.1.1.1:80 weight 7 backup maxconn 9 slowstart 3s id 12 check inter 1s"
        " fastinter 500 downinter 10s rise 4 fall 5 port 81 addr 1.1.1.2"
    )
    assert (real.weight, real.backup, real.maxconn, real.slowstart, real.id) == (
        7,
        True,
        9,
        3000,
        12,
    )
    check = real.check
    assert check is not None
    assert (check.inter, check.fastinter, check.downinter) == (1000, 500, 10_000)
    assert (check.rise, check.fall, check.port) == (4, 5, 81)
    assert check.address == IPv4Address("1.1.1.2")
    assert check.connect_timeout == 5000


def test_disabled_and_enabled_servers() -> None:
    assert only_real("server s 1.1.1.1:80 disabled").admin is AdminState.MAINT
    assert only_real("server s 1.1.1.1:80 disabled enabled").admin is AdminState.READY
    assert only_real("server s 1.1.1.1:80 check no-check").check is None


def test_default_server_holds_for_the_lines_after_it() -> None:
    (pool,) = configure(
        """
backend b
    server a 1.1.1.1:80
    default-server check inter 7s weight 3
    server b 1.1.1.2:80
    server c 1.1.1.3:80 no-check weight 4
"""
    ).pools
    assert [real.check.inter if real.check else None for real in pool.reals] == [None, 7000, None]
    assert [real.weight for real in pool.reals] == [1, 3, 4]


def test_server_templates() -> None:
    (pool,) = configure("backend b\n server-template web 2-4 edge:80 check\n").pools
    assert [real.name for real in pool.reals] == ["web2", "web3", "web4"]
    assert {real.address for real in pool.reals} == {NAMES["edge"]}


def test_defaults_are_inherited_and_overridden() -> None:
    head = """
defaults one
    mode tcp
    balance leastconn
    timeout client 1s
    timeout server 2s
    timeout connect 3s
    option allbackups
    default-server check
    maxconn 50
defaults two from one
    timeout server 9s
    no option allbackups
"""
    text = """
listen x from one
    bind :80
    server s 1.1.1.1:1
listen y from two
    bind :81
    balance source
    server s 1.1.1.1:1 no-check
"""
    configuration = read(text, head).configuration
    x, y = configuration.pools
    assert (x.scheduler.algorithm, x.timeouts.server, x.allbackups) == (
        Algorithm.LEASTCONN,
        2000,
        True,
    )
    assert (y.scheduler.algorithm, y.timeouts.server, y.allbackups) == (
        Algorithm.SOURCE,
        9000,
        False,
    )
    assert x.reals[0].check is not None
    assert y.reals[0].check is None
    assert [service.maxconn for service in configuration.services] == [50, 50]


@pytest.mark.parametrize(
    ("words", "algorithm"),
    [
        ("roundrobin", Algorithm.ROUNDROBIN),
        ("", Algorithm.ROUNDROBIN),
        ("static-rr", Algorithm.STATIC_RR),
        ("leastconn", Algorithm.LEASTCONN),
        ("first", Algorithm.FIRST),
        ("source", Algorithm.SOURCE),
        ("hash src", Algorithm.SOURCE),
        ("random", Algorithm.RANDOM),
        ("maglev", Algorithm.MAGLEV),
        ("uri", Algorithm.ROUNDROBIN),
    ],
)
def test_balance(words: str, algorithm: Algorithm) -> None:
    (pool,) = configure(f"backend b\n balance {words}\n server s 1.1.1.1:1\n").pools
    assert pool.scheduler.algorithm is algorithm


def test_random_draws_and_hash_types() -> None:
    (pool,) = configure("backend b\n balance random(5)\n hash-type consistent\n").pools
    assert pool.scheduler.draws == 5
    assert (pool.scheduler.hash_type, pool.scheduler.avalanche) == (HashType.CONSISTENT, True)
    (pool,) = configure("backend b\n hash-type map-based crc32 avalanche\n").pools
    assert (pool.scheduler.hash_function, pool.scheduler.avalanche) == (HashFunction.CRC32, True)


def test_source() -> None:
    real = only_real("server s 1.1.1.1:80 source 192.0.2.7:1024-2048")
    assert real.source is not None
    assert (str(real.source.address), str(real.source.ports)) == ("192.0.2.7", "1024-2048")
    assert only_real("source 192.0.2.8\n server s 1.1.1.1:80").source is not None
    assert only_real("source 0.0.0.0\n server s 1.1.1.1:80").source is None


@pytest.mark.parametrize(
    "text",
    [
        "option nat\n server s 1.1.1.1:80",
        "server s 1.1.1.1:80 nat",
        "default-server nat\n server s 1.1.1.1:80",
        "source 0.0.0.0 usesrc clientip\n server s 1.1.1.1:80",
        "server s 1.1.1.1:80 source 0.0.0.0 usesrc client",
    ],
)
def test_nat(text: str) -> None:
    assert only_real(text).forwarding is ForwardingMethod.NAT


def test_full_nat_is_the_default() -> None:
    assert only_real("server s 1.1.1.1:80").forwarding is ForwardingMethod.FULLNAT
    assert only_real("server s 1.1.1.1:80 nat no-nat").forwarding is ForwardingMethod.FULLNAT


def test_dispatch() -> None:
    real = only_real("dispatch 1.2.3.4:80")
    assert (real.address, real.port.value) == (IPv4Address("1.2.3.4"), 80)


def test_a_server_that_tracks_another_is_not_checked_itself() -> None:
    configuration = configure(
        """
backend a
    server one 10.0.0.1:80 check inter 4s
    server same 10.0.0.1:81 track one
backend b
    server two 10.0.0.2:81 track a/same
"""
    )
    (two,) = configuration.pool("b").reals
    assert (two.check, two.tracks) == (None, ("a", "same"))
    assert configuration.pool("a").reals[1].tracks == ("a", "one")


def test_agents() -> None:
    configuration = configure(
        """
backend a
    server one 10.0.0.1:80 agent-check agent-port 8000
    server two 10.0.0.2:80 check inter 5s port 81 addr 10.9.9.9 agent-check agent-send hi\\n
    server three 10.0.0.3:80 agent-check agent-port 1 agent-addr ::1 agent-inter 7s no-agent-check
    default-server agent-check agent-port 9 agent-addr 10.0.0.9 agent-inter 3s
    server four 10.0.0.4:80
"""
    )
    one, two, three, four = configuration.pool("a").reals
    assert one.agent == AgentCheck(8000)
    assert two.agent == AgentCheck(81, IPv4Address("10.9.9.9"), 5000, b"hi\n")
    assert three.agent is None
    assert four.agent == AgentCheck(9, IPv4Address("10.0.0.9"), 3000)
    assert one.check is None


def test_errors_that_count_as_checks() -> None:
    configuration = configure(
        """
backend a
    server one 10.0.0.1:80 check observe layer4
    server two 10.0.0.2:80 check observe layer4 error-limit 3 on-error mark-down
    server three 10.0.0.3:80 check observe none on-error fastinter
"""
    )
    found = [real.observed for real in configuration.pool("a").reals]
    assert found == [Observed(), Observed(OnError.MARK_DOWN, 3), None]


def test_an_answer_cannot_be_observed_without_http() -> None:
    result = read("backend a\n server one 10.0.0.1:80 check observe layer7\n")
    assert result.configuration.pool("a").reals[0].observed is None
    assert [str(one) for one in result.warnings] == [
        "[f.cfg:8] : 'server a/one' : 'layer7' can only be used in http proxies.."
    ]


def test_one_line_of_a_tracking_loop_is_wrong() -> None:
    """The one that closes it, as with HAProxy."""
    with pytest.raises(ConfigError) as caught:
        configure(
            """
backend l
    server a 127.0.0.1:1 check
    server b 127.0.0.1:1 track d
    server c 127.0.0.1:1 track b
    server d 127.0.0.1:1 track c
    server e 127.0.0.1:1 track e
    server f 127.0.0.1:1 track a
"""
        )
    assert [one.message for one in caught.value.diagnostics] == [
        "'server l/d' : unable to track l/c as it belongs to a tracking chain looping back to l/d.",
        "'server l/e' : unable to track l/e as it belongs to a tracking chain looping back to l/e.",
    ]


def test_what_happens_to_sessions_when_a_server_changes() -> None:
    configuration = configure(
        """
backend a
    default-server on-marked-down shutdown-sessions
    server one 10.0.0.1:80 check
    server two 10.0.0.2:80 check on-marked-up shutdown-backup-sessions
"""
    )
    one, two = configuration.pool("a").reals
    assert (one.cut_when_down, one.cut_backups_when_up) == (True, False)
    assert (two.cut_when_down, two.cut_backups_when_up) == (True, True)


def test_global_settings() -> None:
    text = """
global
    maxconn 1000
    spread-checks 5
    log 127.0.0.1 local0
    log /dev/log local1 notice
    penstock.hook tc
    penstock.max-flows 2048
    penstock.interfaces eth0,eth1
"""
    settings = read(text, "").configuration.settings
    assert (settings.maxconn, settings.spread_checks) == (1000, 5)
    assert settings.journal.targets == (
        Target(SyslogServer(IPv4Address("127.0.0.1")), Facility.LOCAL0),
        Target(SyslogSocket("/dev/log"), Facility.LOCAL1, Level.NOTICE),
    )
    assert (settings.hook, settings.max_flows) == (Hook.TC, 2048)
    assert settings.interfaces == ("eth0", "eth1")


def test_disabled_sections() -> None:
    configuration = configure("listen x\n bind :80\n disabled\n server s nowhere:80\n")
    assert configuration.services[0].disabled
    assert configuration.pools[0].disabled


def test_maxconn_of_a_frontend() -> None:
    assert only_service("listen x\n bind :80\n maxconn 5\n").maxconn == 5


@pytest.mark.parametrize(
    ("binds", "maxconn"),
    [
        ("bind :80 maxconn 7\n maxconn 9", 7),
        ("bind :80 maxconn 9\n maxconn 7", 7),
        ("bind :80 maxconn 7", 7),
    ],
)
def test_maxconn_of_the_only_listener(binds: str, maxconn: int) -> None:
    result = read(f"listen x\n {binds}\n")
    assert result.configuration.services[0].maxconn == maxconn
    assert result.warnings == ()


def test_each_socket_with_a_limit_is_a_service() -> None:
    text = "listen x\n bind 10.0.0.1:80\n bind 10.0.0.2:81-82 maxconn 7\n maxconn 5\n"
    services = configure(text).services
    assert [(one.name, one.maxconn, len(one.binds)) for one in services] == [
        ("x", 5, 1),
        ("x:10.0.0.2:81", 5, 1),
        ("x:10.0.0.2:82", 5, 1),
    ]
    assert {one.pool for one in services} == {"x"}
    without = configure(text.replace(" maxconn 5\n", "")).services
    assert [one.maxconn for one in without] == [0, 7, 7]


@pytest.mark.parametrize(
    ("words", "maxconn", "minconn"),
    [("minconn 5", 5, 0), ("minconn 5 maxconn 5", 5, 0), ("minconn 5 maxconn 9", 9, 5)],
)
def test_minconn(words: str, maxconn: int, minconn: int) -> None:
    real = only_real(f"server s 1.1.1.1:80 {words}")
    assert (real.maxconn, real.minconn) == (maxconn, minconn)


@pytest.mark.parametrize(
    ("head", "said", "fullconn"),
    [
        ("", "fullconn 30", 30),
        ("", "", 0),
        ("maxconn 95", "", 10),
        ("maxconn 95", "fullconn 30", 30),
    ],
)
def test_fullconn_is_a_tenth_unless_said(head: str, said: str, fullconn: int) -> None:
    front = f"frontend f\n bind :80\n {head}\n default_backend b\n"
    text = f"{front}backend b\n {said}\n server s 1.1.1.1:80\n"
    assert configure(text).pools[0].fullconn == fullconn


def test_hash_balance_factor() -> None:
    pool = configure("backend b\n hash-balance-factor 150\n server s 1.1.1.1:80\n").pools[0]
    assert pool.scheduler.balance_factor == 150


def test_a_global_keyword_given_twice_keeps_its_first_value() -> None:
    result = read("global\n maxconn 100\n maxconn 200\nlisten x\n bind :80\n")
    assert result.configuration.settings.maxconn == 100
    assert [w.message for w in result.warnings] == ["'maxconn' already specified. Continuing."]


def test_zero_warning() -> None:
    text = "global\n zero-warning\nlisten x\n bind :80\n"
    assert read(text).configuration.services
    ours = f"{text} server s 1.1.1.1:1\nring r\n"
    assert read(ours).warnings  # they are not among HAProxy's
    assert errors("global\n zero-warning\nlisten x\n bind :80\n", "") == [
        "Some warnings were found and 'zero-warning' is set. Aborting."
    ]


# -- udp -------------------------------------------------------------------------------------


def test_udp_services_and_their_checks() -> None:
    configuration = configure(
        r"""
frontend dns
    mode udp
    bind :53
    default_backend resolvers1
backend resolvers1
    mode udp
    balance maglev
    udp-check send-binary 00010203
    udp-check expect string "ok"
    server a 10.0.0.1:53 check inter 1s
"""
    )
    assert configuration.services[0].protocol is Protocol.UDP
    check = configuration.pools[0].reals[0].check
    assert check is not None
    assert (check.kind, check.send, check.expect) == (CheckKind.UDP, b"\0\1\2\3", b"ok")


def test_udp_needs_no_connect_timeout() -> None:
    head = "defaults\n mode udp\n timeout client 1s\n timeout server 1s\n"
    result = read("listen x\n bind :53\n server s 1.1.1.1:53\n", head)
    assert result.warnings == ()


def test_a_tcp_frontend_cannot_use_a_udp_backend() -> None:
    (message,) = errors(
        "frontend f\n bind :80\n default_backend b\nbackend b\n mode udp\n server s 1.1.1.1:1\n"
    )
    assert message.startswith("tcp frontend 'f' (f.cfg:7) tries to use incompatible udp backend")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("udp-check", "'udp-check' expects 'send', 'send-binary' or 'expect' (got '')"),
        ("udp-check send", "'udp-check send' expects a string as argument."),
        ("udp-check send-binary 0", "'udp-check send-binary' : '0' is not an even number of hex"),
        ("udp-check expect foo x", "'udp-check expect' expects 'string' or 'binary' (got 'foo')"),
    ],
)
def test_wrong_udp_checks(line: str, message: str) -> None:
    (error,) = errors(f"backend b\n mode udp\n {line}\n")
    assert error.startswith(message)


# -- names -----------------------------------------------------------------------------------


def test_server_names_resolve() -> None:
    real = only_real("server s edge:80")
    assert (real.address, real.hostname) == (NAMES["edge"], "edge")
    assert isinstance(only_real("server s six:80").address, IPv6Address)


def test_a_name_that_does_not_resolve_is_an_error() -> None:
    assert errors("backend b\n server s nowhere:80\n server t nope:80\n") == [
        "'server b/s' : could not resolve address 'nowhere'.",
        "'server b/t' : could not resolve address 'nope'.",
    ]


def test_init_addr_none_starts_without_an_address() -> None:
    result = read("backend b\n server s nowhere:80 init-addr libc,none\n")
    (real,) = result.configuration.pools[0].reals
    assert (real.address, real.hostname, real.admin) == (None, "nowhere", AdminState.READY)
    assert [w.message for w in result.warnings] == [
        "'server b/s' : could not resolve address 'nowhere', disabling server."
    ]
    quiet = read("backend b\n server s nowhere:80 init-addr none\n")
    assert quiet.warnings == ()


def test_init_addr_falls_back_on_an_address() -> None:
    real = only_real("server s nowhere:80 init-addr last,libc,192.0.2.1")
    assert real.address == IPv4Address("192.0.2.1")


def test_resolvers_are_handed_on() -> None:
    result = read(
        """
resolvers dns
    nameserver a 127.0.0.1:53
    nameserver b [::1]:5353
    timeout retry 2s
    hold valid 5s
    resolve_retries 4
backend b
    server s nowhere:80 resolvers dns resolve-prefer ipv4
"""
    )
    (section,) = result.resolvers
    assert section.nameservers == ((IPv4Address("127.0.0.1"), 53), (IPv6Address("::1"), 5353))
    assert (section.timeout_retry, section.timeout_resolve) == (2000, 1000)
    assert (section.hold["valid"], section.hold["nx"], section.resolve_retries) == (5000, 30_000, 4)
    (real,) = result.configuration.pools[0].reals
    assert (real.lookup, real.address) == (NameLookup("dns", ipv4_first=True), None)


def test_the_default_resolvers_need_no_section() -> None:
    result = read("backend b\n server s nowhere:80 resolvers default\n")
    (section,) = result.resolvers
    assert (section.name, section.parse_resolv_conf, section.nameservers) == ("default", True, ())
    assert read("backend b\n server s 1.1.1.1:80\n").resolvers == ()


# -- engines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "line", "reason"),
    [
        ("bind :80 accept-proxy\n server s 1.1.1.1:1", 8, "the PROXY protocol is read"),
        ("bind /run/x.sock\n server s 1.1.1.1:1", 8, "the socket is not a network's"),
        ("bind :80\n server s 1.1.1.1:1 send-proxy", 9, "the PROXY protocol is sent"),
        ("bind :80\n server s 1.1.1.1:1 ssl verify none", 9, "TLS is spoken to the server"),
        ("bind :80\n server s /run/x.sock", 9, "the server is not on a network"),
        (
            "bind :80\n tcp-request content reject if { req.len gt 5 }",
            9,
            "not in a connection's first packet",
        ),
        ("bind :80\n use_backend x if { src 10.0.0.0/8 }", 9, "chosen by a condition"),
        ("bind :80\n stick-table type ip size 1m\n stick on src", 10, "chosen by a stick table"),
        ("bind :80\n balance rdp-cookie\n server s 1.1.1.1:1", 9, "chosen by an RDP cookie"),
        ("bind :80\n mode http\n option forwardfor\n server s 1.1.1.1:1", 10, "HTTP is routed"),
        ("bind :80\n source 1.1.1.1 interface eth0\n server s 1.1.1.1:1", 9, "interface"),
    ],
)
def test_what_needs_the_proxy_engine(lines: str, line: int, reason: str) -> None:
    configuration = configure(f"listen l\n {lines}\nbackend x\n server s 1.1.1.1:1\n")
    (service,) = configuration.services
    assert service.engine is EngineKind.PROXY
    assert reason in service.engine_reason
    assert service.engine_origin.line == line


def test_a_backend_decides_for_the_frontends_that_reach_it() -> None:
    configuration = configure(
        """
frontend f
    bind :80
    default_backend b
frontend g
    bind :81
    default_backend c
backend b
    server s 1.1.1.1:1 send-proxy
backend c
    server s 1.1.1.1:1
"""
    )
    assert [s.engine for s in configuration.services] == [EngineKind.PROXY, EngineKind.KERNEL]
    assert configuration.services[0].engine_origin.line == 15


def test_no_send_proxy_takes_it_back() -> None:
    service = only_service(
        "listen x\n bind :80\n default-server send-proxy\n server s 1.1.1.1:1 no-send-proxy\n"
    )
    assert service.engine is EngineKind.KERNEL


def test_an_unconditional_use_backend_is_a_default_backend() -> None:
    configuration = configure(
        "frontend f\n bind :80\n use_backend b\nbackend b\n server s 1.1.1.1:1\n"
    )
    assert configuration.services[0].pool == "b"
    assert configuration.services[0].engine is EngineKind.KERNEL


_WEB = "frontend f\n mode http\n bind :80\n default_backend b\nbackend b\n mode http\n{}"


def test_sections_of_mode_http_that_ask_for_nothing_of_http_are_relayed() -> None:
    loaded = read(_WEB.format(" server s 1.1.1.1:1\n"))
    service = loaded.configuration.services[0]
    assert (service.pool, service.engine, service.unsupported) == ("b", EngineKind.KERNEL, False)
    told = [one.message for one in loaded.warnings if "relayed as in mode tcp" in one.message]
    assert len(told) == 1


@pytest.mark.parametrize(
    "line",
    [
        "balance uri",
        "balance url_param u",
        "cookie SRV insert",
        "http-request deny",
        "http-response set-header a b",
        "option forwardfor",
        "option originalto",
        "redirect location /x",
        "stats enable",
    ],
)
def test_sections_of_mode_http_that_ask_for_http_are_not_relayed(line: str) -> None:
    for text in (
        _WEB.format(f" {line}\n server s 1.1.1.1:1\n"),
        f"listen f\n mode http\n bind :80\n {line}\n server s 1.1.1.1:1\n",
    ):
        (service,) = configure(text).services
        assert service.unsupported, text


def test_what_is_not_carried_out_is_said_once_for_a_section() -> None:
    result = read(
        """
listen x
    bind :80
    bind :81 curves P-256
    bind :82 ecdhe P-256
    retries 3
    option redispatch
    option httpchk
    http-check expect status 200
    server s 1.1.1.1:1 check
"""
    )
    said = [(w.line, w.message.split(" is not carried out")[0]) for w in result.warnings]
    assert said == [
        (10, "'bind :81 curves'"),
    ]
    assert result.configuration.services[0].engine is EngineKind.KERNEL


def test_a_second_try_is_the_proxy_engines_which_users_can_ask_for() -> None:
    text = "listen x\n bind :80\n option redispatch\n server s 1.1.1.1:1\n"
    result = read(text)
    (note,) = result.notes
    assert (note.line, "option proxy-engine" in note.message) == (9, True)
    assert result.configuration.services[0].engine is EngineKind.KERNEL
    result = read(text + " option proxy-engine\n")
    assert result.notes == ()
    (service,) = result.configuration.services
    assert (service.engine, service.engine_origin.line) == (EngineKind.PROXY, 11)


def test_numbers_of_keepalives_and_the_backlog() -> None:
    configuration = configure(
        "listen x\n bind :80\n option clitcpka\n clitcpka-cnt 3\n clitcpka-idle 10\n"
        " clitcpka-intvl 1m\n backlog 77\n server s 1.1.1.1:1\n"
    )
    front = configuration.services[0].front
    assert front.keepalive == KeepAlive(3, 10, 60)
    assert front.backlog == 77
    assert configuration.pools[0].back.keepalive is None


# -- errors ----------------------------------------------------------------------------------


def test_all_errors_at_once_in_haproxys_words() -> None:
    with pytest.raises(ConfigError) as caught:
        loads("listen l\n bind :80\n balanc x\n server s1 1.1.1.1:1 chek\n", name="f.cfg")
    assert str(caught.value) == (
        "parsing [f.cfg:3] : unknown keyword 'balanc' in 'listen' section;"
        " did you mean 'balance' maybe ?\n"
        "[f.cfg:4] : 'server l/s1' : unknown keyword 'chek'; did you mean 'check' maybe ?"
    )


def test_a_file_without_a_last_newline() -> None:
    assert errors("global\n daemon", "") == [
        "Missing LF on last line, file might have been truncated at position 8."
    ]


def test_environment_changes_hold_from_the_next_line_on() -> None:
    text = 'global\n setenv PORT 81\nlisten l\n bind ":$PORT"\n'
    (service,) = loads(text, environ={"PORT": "80"}).configuration.services
    assert str(service.binds[0].ports) == "81"
    text = 'global\n presetenv PORT 81\nlisten l\n bind ":$PORT"\n'
    (service,) = loads(text, environ={"PORT": "80"}).configuration.services
    assert str(service.binds[0].ports) == "80"


def test_a_frontend_inherits_an_external_check_too() -> None:
    head = f"global\n external-check\n insecure-fork-wanted\n{HEAD} option external-check\n"
    assert errors("frontend f\n bind :80\n", head) == [
        "Proxy 'f' : 'option external-check' unable to find required 'external-check command'."
    ]
    assert read("frontend f\n bind :80\n", f"{head} external-check command /bin/true\n")


def test_two_pools_of_one_name_are_refused() -> None:
    (message,) = errors("backend a\n server s 1.1.1.1:1\nlisten a\n bind :80\n")
    assert message.startswith("proxy 'a' has the same name as backend 'a'")


def test_hints_about_whole_files_come_together() -> None:
    assert errors(
        "frontend f\n bind :80\n default_backend nope\n use_backend no if TRUE\n"
        "backend b\n server s 1.1.1.1 check\n server s 1.1.1.1:1\n"
    ) == [
        "Proxy 'f': unable to find required default_backend: 'nope'.",
        "Proxy 'f': unable to find required use_backend: 'no'.",
        "config: backend 'b': server 's' has neither service port nor check port.",
        "backend 'b', another server named 's' was already defined at line 12, please use distinct"
        " names.",
    ]


# -- files -----------------------------------------------------------------------------------


def test_several_files_make_one_configuration(tmp_path: Path) -> None:
    one, two = tmp_path / "one.cfg", tmp_path / "two.cfg"
    one.write_text(HEAD + "frontend f\n bind :80\n default_backend b\n")
    two.write_text("backend b\n server s 1.1.1.1:80\n")
    configuration = load([one, two], environ={}, resolve=resolve).configuration
    assert configuration.services[0].pool == "b"
    assert configuration.pools[0].timeouts.server == 60_000


def test_a_directory_is_read_in_c_order(tmp_path: Path) -> None:
    (tmp_path / "c.cfg").mkdir()
    for name in ("b.cfg", "B.cfg", "a.cfg", "ignored.txt", ".hidden.cfg"):
        (tmp_path / name).write_text(f".warning {name}\n")
    result = load([tmp_path], environ={}, resolve=resolve)
    assert [w.message for w in result.warnings] == ["'B.cfg'.", "'a.cfg'.", "'b.cfg'."]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Could not open configuration file .*nope\.cfg"):
        load([tmp_path / "nope.cfg"], environ={}, resolve=resolve)


def test_every_file_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "x.cfg").write_text("")
    with pytest.raises(ConfigError) as caught:
        load([tmp_path, tmp_path / "y"], environ={}, resolve=resolve, read=refuse)
    assert [one.message for one in caught.value.diagnostics] == [
        f"Could not open configuration file {tmp_path}/x.cfg : Permission denied",
        f"Could not open configuration file {tmp_path}/y : Permission denied",
    ]


def test_the_name_of_this_machine_is_in_the_environment() -> None:
    text = b'listen l\n bind 127.0.0.1:80 name "${HAPROXY_LOCALPEER-none}"\n'
    result = load([Path("x.cfg")], environ={}, resolve=resolve, read=lambda path: text)
    assert result.configuration.services[0].binds[0].name not in ("none", "", None)


def test_reading_is_injected() -> None:
    result = load(
        [Path("/nowhere/x.cfg")],
        environ={},
        resolve=resolve,
        read=lambda path: f".notice {path.name}\n".encode(),
    )
    assert result.notes[0].message == "'x.cfg'."


def test_what_is_asked_of_names_at_run_time() -> None:
    named = "resolvers d\n    nameserver n 192.0.2.1:53\nbackend b\n    server s 1.1.1.1:80 {}\n"
    asked = named.format(
        "resolvers d resolve-prefer ipv4 resolve-opts allow-dup-ip,ignore-weight"
        " resolve-net 10.0.0.0/8,fd00::/8"
    )
    networks = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    (real,) = configure(asked).pools[0].reals
    assert real.lookup == NameLookup(
        "d", ipv4_first=True, may_share=True, ignore_weight=True, networks=networks
    )
    plain = named.format("resolvers d resolve-opts allow-dup-ip,prevent-dup-ip")
    assert configure(plain).pools[0].reals[0].lookup == NameLookup("d")
    assert only_real("server s 1.1.1.1:80 resolve-prefer ipv4").lookup is None


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("resolve-net", "'resolve-net' expects a list of networks."),
        ("resolve-net foo", "'resolve-net' invalid network 'foo'."),
        ("resolve-net 10.0.0.0/99", "'resolve-net' invalid network '10.0.0.0/99'."),
        ("resolve-opts foo", "unknown resolve-opts option 'foo'"),
    ],
)
def test_bad_words_about_names(option: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        only_real(f"server s 1.1.1.1:80 {option}")
    assert message in str(caught.value)


def test_the_limit_of_idle_connections_is_kept_to_be_shown() -> None:
    text = "listen x\n bind :80\n server s 1.1.1.1:1 pool-max-conn {}\n"
    for word, limit in (("42", 42), ("0", 0), ("-1", None)):
        (real,) = configure(text.format(word)).pools[0].reals
        assert real.link.idle_limit == limit
    with pytest.raises(ConfigError, match="'pool-max-conn' must be >= -1"):
        configure(text.format("-2"))
