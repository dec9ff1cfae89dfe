# SPDX-License-Identifier: Apache-2.0
"""haproxy.cfg text -> Configuration: sections, binds, settings, errors, files."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from reading import HEAD, configure, errors, only_service, read, resolve

from penstock.config.haproxy import load, loads
from penstock.errors import ConfigError
from penstock.events import Level
from penstock.logs.model import Facility, SyslogServer, SyslogSocket, Target
from penstock.model import (
    Algorithm,
    CheckKind,
    EngineKind,
    Hook,
)
from penstock.proxied import KeepAlive


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


def test_a_global_keyword_given_twice_keeps_its_first_value() -> None:
    result = read("global\n maxconn 100\n maxconn 200\nlisten x\n bind :80\n")
    assert result.configuration.settings.maxconn == 100
    assert [w.message for w in result.warnings] == ["'maxconn' already specified. Continuing."]


def test_zero_warning() -> None:
    text = "global\n zero-warning\nlisten x\n bind :80\n"
    assert read(text).configuration.services
    ours = f"{text} server s 1.1.1.1:1\nring r\n backing-file /x\n"
    assert read(ours).warnings  # they are not among HAProxy's
    assert errors("global\n zero-warning\nlisten x\n bind :80\n", "") == [
        "Some warnings were found and 'zero-warning' is set. Aborting."
    ]


def test_numbers_of_keepalives_and_the_backlog() -> None:
    configuration = configure(
        "listen x\n bind :80\n option clitcpka\n clitcpka-cnt 3\n clitcpka-idle 10\n"
        " clitcpka-intvl 1m\n backlog 77\n server s 1.1.1.1:1\n"
    )
    front = configuration.services[0].front
    assert front.keepalive == KeepAlive(3, 10, 60)
    assert front.backlog == 77
    assert configuration.pools[0].back.keepalive is None


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
        "backend 'b', another server named 's' was already defined at line 12, please use distinct"
        " names.",
        "config: backend 'b': server 's' has neither service port nor check port.",
    ]


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
