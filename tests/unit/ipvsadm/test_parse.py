# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 - one case a line
"""Command lines: what they ask for, and what is said of those that ask for nothing."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_ipvsadm import VIP, NamesOf

from penstock.ipvs.model import (
    AddDest,
    AddService,
    CheckSpec,
    Command,
    DeleteDest,
    DeleteService,
    Destination,
    EditDest,
    EditService,
    Flush,
    Method,
    ServiceKey,
    SetTimeouts,
    StartSync,
    StopSync,
    SyncDaemon,
    TunFlag,
    TunType,
    VirtualService,
    Zero,
)
from penstock.ipvsadm.line import Exit
from penstock.ipvsadm.options import WORDS
from penstock.ipvsadm.parse import read
from penstock.ipvsadm.popt import BadOption
from penstock.ipvsadm.request import (
    Do,
    Help,
    ListConnections,
    ListDaemons,
    ListRules,
    ListTimeouts,
    Request,
    Restore,
    Save,
    Version,
    View,
)

T = "-t 198.51.100.7:443"
TRY = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n"


def asked(line: str) -> Request:
    return read(["ipvsadm", *shlex.split(line)], NamesOf())


def done(line: str) -> Command:
    request = asked(line)
    assert isinstance(request, Do)
    return request.command


def error(line: str) -> tuple[int, str]:
    with pytest.raises(Exit) as caught:
        asked(line)
    return caught.value.status, caught.value.stderr


def service(**fields: object) -> VirtualService:
    return VirtualService(VIP, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (T, service()),
        (f"{T} -s mh -b mh-port", service(scheduler="mh", sched_flags=2, has_flags=True)),
        (
            f"{T} -s sh -b flag-3,sh-fallback,",
            service(scheduler="sh", sched_flags=5, has_flags=True),
        ),
        (f"{T} -b ''", service()),
        (f"{T} -s ''", service()),
        (f"{T} -s a-name-longer-than-16", service(scheduler="a-name-longer-t")),
        (f"{T} -p", service(persistent=360)),
        (f"{T} -p 90 -M 255.255.255.0", service(persistent=90, netmask=0xFFFFFF00)),
        (f"-M 20 {T} -p", service(persistent=360, netmask=20)),
        (f"{T} -p --pe sip", service(persistent=360, pe="sip")),
        (f"{T} --check tcp", service(check=CheckSpec())),
        (
            f"{T} --check udp:53 --check-inter 500 --check-rise 1 --check-fall 9 --check-timeout 40",
            service(check=CheckSpec("udp", 500, 1, 9, 53, 40)),
        ),
        (f"{T} --takeover", service(takeover=True)),
        (f"{T} --no-takeover", service(takeover=False)),
        (
            "-u 198.51.100.7 -p 5 -o",
            VirtualService(ServiceKey(17, VIP.address, 0), persistent=5, ops=True),
        ),
        ("-f 4294967295 -o", VirtualService(ServiceKey(fwmark=2**32 - 1), ops=True)),
        ("-M 12 -f 8 -6", VirtualService(ServiceKey(fwmark=8, family=6), netmask=128)),
        (
            "-f 8 -6 -p 9 -M 56x",
            VirtualService(ServiceKey(fwmark=8, family=6), persistent=9, netmask=56),
        ),
        (
            "--sctp-service [2001:db8::7]:9",
            VirtualService(ServiceKey(132, "2001:db8::7", 9, 0, 6), netmask=128),
        ),
        (
            "-M 9 -t [2001:db8::7]:9",
            VirtualService(ServiceKey(6, "2001:db8::7", 9, 0, 6), netmask=128),
        ),
    ],
)
def test_services(line: str, expected: VirtualService) -> None:
    assert done(f"-A {line}") == AddService(expected)
    assert done(f"--edit-service {line}") == EditService(expected)


def dest(address: str = "192.0.2.20", port: int = 8443, **fields: object) -> Destination:
    return Destination(address, port, **{"method": Method.MASQ, **fields})  # type: ignore[arg-type]


TUN = {"port": 443, "method": Method.TUNNEL}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{T} -r 192.0.2.20:8443 -m", dest()),
        (f"{T} -r 192.0.2.20 -m", dest(port=443)),
        (f"-r 192.0.2.20 {T} -m", dest(port=0)),
        (f"{T} -r rs.test:https -m", dest(port=443)),
        (f"{T} -r 192.0.2.20:8443", dest(port=443, method=Method.ROUTE)),
        (f"{T} -r 192.0.2.20:8443 -g", dest(port=443, method=Method.ROUTE)),
        (f"{T} -r 192.0.2.20:8443 -i", dest(**TUN)),
        (f"{T} -r [2001:db8::20]:1 -i", dest("2001:db8::20", **TUN)),
        (
            f"{T} -mr 192.0.2.20:8443 -w 2147483647 -x 9 -y 8",
            dest(weight=2**31 - 1, upper=9, lower=8),
        ),
        (f"{T} -r 192.0.2.20 -i --tun-type ipip", dest(**TUN)),
        (
            f"{T} -r 192.0.2.20 -i --tun-type gue --tun-port 65535 --tun-remcsum",
            dest(**TUN, tun_type=TunType.GUE, tun_port=65535, tun_flags=TunFlag.REMCSUM),
        ),
        (
            f"{T} -r 192.0.2.20 -i --tun-type gre --tun-csum",
            dest(**TUN, tun_type=TunType.GRE, tun_flags=TunFlag.CSUM),
        ),
        (
            f"{T} -r 192.0.2.20 -i --tun-type gre --tun-nocsum",
            dest(**TUN, tun_type=TunType.GRE),
        ),
    ],
)
def test_destinations(line: str, expected: Destination) -> None:
    assert done(f"-a {line}") == AddDest(VIP, expected)
    assert done(f"-e {line}") == EditDest(VIP, expected)


def test_a_mark_leaves_destinations_their_ports() -> None:
    mark = ServiceKey(fwmark=5)
    routed = dest(method=Method.ROUTE)
    assert done("-a -f 5 -r 192.0.2.20:8443") == AddDest(mark, routed)
    assert done("-a -f 5 -r 192.0.2.20 -m") == AddDest(mark, dest(port=0))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"-D {T}", DeleteService(VIP)),
        ("-D -f 6 -6", DeleteService(ServiceKey(fwmark=6, family=6))),
        ("-C", Flush()),
        (f"-d {T} -r 192.0.2.20:8443", DeleteDest(VIP, "192.0.2.20", 8443)),
        (f"-d {T} -r 192.0.2.20", DeleteDest(VIP, "192.0.2.20", 443)),
        ("-Z", Zero()),
        (f"-Z {T}", Zero(VIP)),
        ("-Z -t 0.0.0.0:0", Zero()),
        ("-Z -t 0.0.0.0:80", Zero(ServiceKey(6, "0.0.0.0", 80))),
        ("-Z -t [::]:0", Zero()),
        ("--set 1 0 2678400", SetTimeouts(1, 0, 2678400)),
        ("--stop-daemon master", StopSync(True)),
        ("--stop-daemon=backup --syncid 4", StopSync(False)),
        # The help says 255, the program 0. The longest message is the kernel's to choose.
        ("--start-daemon master", StartSync(SyncDaemon(True, "eth0", 0, 0))),
        ("--start-daemon master --mcast-interface ''", StartSync(SyncDaemon(True, "eth0", 0, 0))),
        (
            "--start-daemon backup --mcast-interface a-name-longer-than-16 --syncid 9"
            " --mcast-group ff02:0::51 --mcast-port 9 --mcast-ttl 2 --sync-maxlen 65507",
            StartSync(SyncDaemon(False, "a-name-longer-t", 9, 65507, "ff02::51", 9, 2)),
        ),
    ],
)
def test_other_commands(line: str, expected: Command) -> None:
    assert done(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-h", Help()),
        ("--help -q", Help()),
        ("-vh", Version()),
        ("-L", ListRules(View())),
        ("-ln --sort --syncid 3", ListRules(View(numeric=True))),
        ("-LXn --nosort", ListRules(View(numeric=True, sort=False, exact=True))),
        (f"-L {T} --rate", ListRules(View(columns="rate"), VIP)),
        ("-L -f 6 -6", ListRules(View(), ServiceKey(fwmark=6, family=6))),
        ("-L --rate --stats --tun-info", ListRules(View(columns="stats"))),
        ("-L --persistent-conn --thresholds --rate", ListRules(View(columns="rate"))),
        ("-L --persistent-conn --tun-info", ListRules(View(columns="persistent-conn"))),
        ("-Lcn", ListConnections(View(numeric=True))),
        ("-Lc --persistent-conn", ListConnections(View(columns="persistent-conn"))),
        ("-L --timeout", ListTimeouts()),
        ("-L --daemon -n", ListDaemons()),
        ("-S", Save(View())),
        ("-Sn", Save(View(numeric=True))),
        ("-R", Restore()),
    ],
)
def test_listings(line: str, expected: Request) -> None:
    assert asked(line) == expected


R = "-r 192.0.2.20"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("-A", "You need to supply the 'service-address' option for the 'add-service' command"),
        (f"-a {T}", "You need to supply the 'real-server' option for the 'add-server' command"),
        (f"-a {R}", "You need to supply the 'service-address' option for the 'add-server' command"),
        (f"-d {T}", "You need to supply the 'real-server' option for the 'delete-server' command"),
        ("-D", "You need to supply the 'service-address' option for the 'delete-service' command"),
        (f"-A {T} -n", "Illegal 'numeric' option with the 'add-service' command"),
        ("-A -n", "Illegal 'numeric' option with the 'add-service' command"),
        (f"-A {R}", "You need to supply the 'service-address' option for the 'add-service' command"),
        (f"-E {T} -w 1", "Illegal 'weight' option with the 'edit-service' command"),
        (f"-E {T} -w 1 -m", "Illegal 'forwarding-method' option with the 'edit-service' command"),
        (f"-D {T} -s rr", "Illegal 'scheduler' option with the 'delete-service' command"),
        (f"-C {T}", "Illegal 'service-address' option with the 'flush' command"),
        (f"-d {T} {R} -m", "Illegal 'forwarding-method' option with the 'delete-server' command"),
        (f"-a {T} {R} --check tcp", "Illegal 'check' option with the 'add-server' command"),
        ("--set 1 2 3 -n", "Illegal 'numeric' option with the 'set' command"),
        ("-Z -n", "Illegal 'numeric' option with the 'zero' command"),
        ("-R -n", "Illegal 'numeric' option with the 'restore' command"),
        ("-S --stats", "Illegal 'stats' option with the 'save' command"),
        ("--stop-daemon master --mcast-ttl 1", "Illegal 'mcast-ttl' option with the 'stop-daemon' command"),
        ("--start-daemon master -n", "Illegal 'numeric' option with the 'start-daemon' command"),
        ("-L -w 1", "Illegal 'weight' option with the 'list' command"),
        (f"-Lc {T}", "The option 'service-address' conflicts with the 'connection' option in the 'list' command"),
        ("-L --daemon --timeout", "The option 'daemon' conflicts with the 'timeout' option in the 'list' command"),
        ("-Lc --stats", "options conflicts in the list command"),
        ("-L --daemon --rate", "options conflicts in the list command"),
        ("-L --timeout --persistent-conn", "options conflicts in the list command"),
        (f"-A {T} -u 192.0.2.1:1", "multiple 'service-address' options specified"),
        (f"-a {T} {R} -mg", "multiple 'forwarding-method' options specified"),
        ("-Lnn", "multiple 'numeric' options specified"),
        (f"-A {T} -D", "invalid option `-D'"),
        ("-AD", "invalid option `-AD'"),
        ("-L --start-daemon master", "invalid option `master'"),
        ("-L -h", "invalid option `-h'"),
        ("-A -t 192.0.2.1:x", "illegal virtual server address[:port] specified"),
        (f"-a {T} -r x", "illegal real server address[:port] specified"),
        (f"-a -r 192.0.2.20:https {T}", "illegal real server address[:port] specified"),
        (f"-A {T} -p 300 -M nowhere", "illegal virtual server persistent mask specified"),
        ("-A -f 1 -6 -M 129", "illegal ipv6 netmask specified"),
        ("-A -f 1 -6 -M -1", "illegal ipv6 netmask specified"),
        (f"-A {T} -p 2678401", "invalid timeout value `2678401' specified"),
        (f"-A {T} --persistent=", "invalid timeout value `' specified"),
        ("--set 1 x 3", "invalid timeout value `x' specified"),
        ("-A -f 0x1", "invalid fwmark value `0x1' specified"),
        ("-A -f 4294967296", "invalid fwmark value `4294967296' specified"),
        (f"-a {T} {R} -w 2147483648", "illegal weight specified"),
        (f"-a {T} {R} -x -1", "illegal u_threshold specified"),
        (f"-a {T} {R} -y ''", "illegal l_threshold specified"),
        ("--start-daemon master --syncid 256", "illegal syncid specified"),
        ("--start-daemon master --mcast-port 0", "illegal mcast-port specified"),
        ("--start-daemon master --mcast-ttl 256", "illegal mcast-ttl specified"),
        ("--start-daemon master --sync-maxlen 65508", "illegal sync-maxlen specified"),
        ("--start-daemon master --mcast-group 192.0.2.1", "invalid IPv4 mcast-group `192.0.2.1'"),
        ("--start-daemon master --mcast-group 224.1", "invalid IPv4 mcast-group `224.1'"),
        ("--start-daemon master --mcast-group fe80::1", "invalid IPv6 mcast-group `fe80::1'"),
        ("--start-daemon slave", "illegal start-daemon parameter specified"),
        ("--stop-daemon slave", "illegal start_daemon specified"),
        ("--set 1 2", "--set option requires 3 timeout values"),
        ("--set 1 2 3 4", "unexpected argument 4"),
        (f"-A {T} rr", "unexpected argument rr"),
        ("rr -L", "unexpected argument rr"),
        ("-A -6 -f 1", "-6 used before -f\n"),
        (f"-A {T} -6", "-6 used before -f\n"),
        (f"-A {T} -b sh-port", "incompatible scheduler flag `sh-port'"),
        (f"-A {T} -s mh -b flag-1,sh-port", "incompatible scheduler flag `sh-port'"),
        (f"-A {T} -b flag-1,flag-4", "invalid scheduler flag `flag-4'"),
        ("-L -b nothing", "invalid scheduler flag `nothing'"),
        ("-A -t 192.0.2.1", "Zero port specified for non-persistent service"),
        ("-A -t 192.0.2.1:0 -o", "Zero port specified for non-persistent service"),
        (f"-A {T} -o", "One-Packet Scheduling is only for UDP virtual services"),
        (f"-a {T} -r [2001:db8::1]:1 -m", "Different address family is allowed only for tunneling servers"),
        ("-a -f 1 -6 -r 192.0.2.1", "Different address family is allowed only for tunneling servers"),
        (f"-a {T} {R} --tun-type gue", "Tunnel options conflict with forward method"),
        (f"-a {T} {R} -m --tun-csum", "Tunnel options conflict with forward method"),
        (f"-a {T} {R} -i --tun-type vxlan", "illegal tunnel type specified"),
        (f"-a {T} {R} -i --tun-port 0", "illegal tunnel port specified"),
        (f"-a {T} {R} -i --tun-type gue", "You need to supply the 'tun-port' option for the 'gue' tunnel type"),
        (f"-a {T} {R} -i --tun-csum", "Illegal 'tun-csum' option with the 'ipip' tunnel type"),
        (f"-a {T} {R} -i --tun-type gre --tun-port 1", "Illegal 'tun-port' option with the 'gre' tunnel type"),
        (f"-a {T} {R} -i --tun-type gre --tun-remcsum", "Illegal 'tun-remcsum' option with the 'gre' tunnel type"),
        (
            f"-a {T} {R} -i --tun-type gue --tun-port 1 --tun-remcsum --tun-nocsum",
            "The option 'tun-remcsum' conflicts with the 'tun-nocsum' option in the 'gue' tunnel type",
        ),
        (f"-A {T} --check icmp", "illegal check specified"),
        (f"-A {T} --check tcp:0", "illegal check specified"),
        (f"-A {T} --check tcp --check-inter 0", "illegal check interval specified"),
        (f"-A {T} --check-rise 1", "You need to supply the 'check' option for its details"),
        (f"-A {T} --takeover --no-takeover", "The option 'no-takeover' conflicts with the 'takeover' option"),
    ],
)  # fmt: skip
def test_errors(line: str, text: str) -> None:
    assert error(line) == (2, text + "\n")


@pytest.mark.parametrize(
    "line",
    ["-q", "-n", "--lis", "list", "''", "--", "-- -L", "-", "-t 192.0.2.1:1", "--set=1", "-w"],
)
def test_the_first_option_is_a_command(line: str) -> None:
    assert error(line) == (255, TRY)


def test_the_program_is_called_what_it_was_called() -> None:
    with pytest.raises(Exit) as caught:
        read(["/sbin/ipvsadm", "-q"], NamesOf())
    assert caught.value.stderr == TRY.replace("ipvsadm ", "/sbin/ipvsadm ")


def test_a_list_of_no_flags_is_the_real_program_s_end() -> None:
    assert error(f"-A {T} -b ,,") == (139, "")


def test_a_restore_in_a_restore_is_none() -> None:
    with pytest.raises(Exit) as caught:
        read(["ipvsadm", "-R"], NamesOf(), restoring=True)
    assert (caught.value.status, caught.value.stderr) == (255, TRY)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"-A {T} -q", "-q: unknown option"),
        (f"-A {T} -p -1", "-1: unknown option"),
        (f"-A {T} -s", "-s: missing argument"),
        ("-L --numeric=1", "--numeric=1: option does not take an argument"),
        ("--set -1 2 3", "-1: unknown option"),
        # Before the checks of the whole line.
        ("-A foo -q", "-q: unknown option"),
    ],
)
def test_what_popt_refuses(line: str, text: str) -> None:
    with pytest.raises(BadOption) as caught:
        asked(line)
    assert str(caught.value) == text


words = st.one_of(
    st.sampled_from(sorted(WORDS)),
    st.sampled_from(
        ["198.51.100.7:443", "[2001:db8::1]:80", "7", "tcp", "gue", "sip", "rr", "ff02::1"]
    ),
    st.text(max_size=8),
)


@given(st.lists(words, max_size=12))
def test_any_line_is_a_request_or_an_error(line: list[str]) -> None:
    try:
        request = read(["ipvsadm", *line], NamesOf())
    except Exit as end:
        assert end.status in (2, 139, 255)
        assert end.stderr.endswith("\n") or end.status == 139
    except BadOption as bad:
        assert any(str(bad).startswith(word) for word in line)
    else:
        assert isinstance(request, Request)
