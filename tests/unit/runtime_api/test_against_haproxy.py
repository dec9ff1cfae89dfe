# SPDX-License-Identifier: Apache-2.0
"""Commands that change something: HAProxy 2.6's answers are the right ones, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_side_by_side import both

pytestmark = pytest.mark.needs("haproxy")

SERVERS = """
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    balance roundrobin
    server s1 127.0.0.1:1
    server s2 127.0.0.1:1 check weight 10 inter 1h
    server s3 127.0.0.1:1 disabled
    server u1 127.0.0.1:1
    use-server u1 if { src 1.2.3.4 }
backend st
    balance static-rr
    server s1 127.0.0.1:1
    server s2 127.0.0.1:1
backend off
    disabled
    server s1 127.0.0.1:1
backend other
    balance leastconn
    server s1 127.0.0.1:1
    server t1 127.0.0.1:1 ssl verify none
    server t2 127.0.0.1:1 no-ssl
    default-server ssl verify none
    server t3 127.0.0.1:1 no-ssl
"""

SET_SERVER = """
set server
set server b
set server b/
set server b/s1
set server b/s1 foo
set server b/s1 foo bar
set server x/s1 state ready
set server b/x state ready
set server off/s1 state ready
set server #3/#1 state ready
set server b/#9 state ready
set server b/s1 state
set server b/s1 state foo
set server b/s1 state maint
set server b/s1 state drain
set server b/s1 state ready
set server b/s1 weight
set server b/s1 weight 300
set server b/s1 weight -1
set server b/s1 weight abc
set server b/s1 weight 5x
set server b/s1 weight 10%
get weight b/s1
set server b/s1 weight -5%
set server b/s1 weight 99999999%
get weight b/s1
set server b/s2 weight 50%
get weight b/s2
set weight b/s2 7
get weight b/s2
get weight
get weight b
get weight b/
get weight x/s1
get weight b/x
set weight
set weight b/s1
set weight b/x 5
set weight x/x 5
set weight st/s1 5
set weight st/s1 0
set weight st/s1 100%
get weight st/s1
set server b/s1 check-addr 1.2.3.4
set server b/s2 check-addr 1.2.3.4
set server b/s2 check-addr 1.2.3.4 port 80
set server b/s2 check-addr
set server b/s2 check-addr zz.invalid
set server b/s1 check-port 80
set server b/s2 check-port 80
set server b/s2 check-port 800000
set server b/s2 check-port abc
set server b/s2 check-port -5
set server b/s2 check-port
set server b/s1 addr
set server b/s1 addr foo.invalid
set server b/s1 addr 127.0.0.2
set server b/s1 addr 127.0.0.2
set server b/s1 addr 127.0.0.3 port 99
set server b/s1 addr 127.0.0.3 port +99
set server b/s1 addr 127.0.0.3 port 99
set server b/s1 addr 127.0.0.3 port abc
set server b/s1 addr 127.0.0.3 port -1
set server b/s1 addr 127.0.0.3 port 70000
set server b/s1 addr 127.0.0.3 port
set server b/s1 addr 127.0.0.3 80
set server b/s1 addr ::1 port 99
set server b/s1 addr ipv4@127.0.0.4 port 99
set server b/s1 addr localhost port 99
set server b/s1 addr /tmp/x
set server b/s2 addr 127.0.0.3 port +99
set server b/s2 addr 127.0.0.3 port 29113
set server b/s1 fqdn
set server b/s1 fqdn foo
set server b/s1 ssl on
set server b/s1 ssl
set server other/t1 ssl
set server other/t1 ssl off
set server other/t1 ssl on
set server other/t2 ssl on
set server other/t3 ssl on
set server other/t3 ssl off
"""

LIMITS = """
set maxconn server b/s1
set maxconn server b/s1 10
set maxconn server b/s1 abc
set maxconn server b/s1 5x
set maxconn server b/s1 -1
set maxconn server b/x 10
set maxconn server x/x 10
set maxconn server b
set maxconn server
set maxconn frontend f 10
set maxconn frontend f -1
set maxconn frontend f
set maxconn frontend
set maxconn frontend b 10
set maxconn global 100
set maxconn global 0
set maxconn global abc
set maxconn global
set maxconn global -1
set rate-limit connections
set rate-limit connections global
set rate-limit connections foo 10
set rate-limit http-compression
set rate-limit
set rate-limit sessions global 0
set rate-limit sessions global -1
set rate-limit connections global 7
set rate-limit ssl-sessions global 9
set rate-limit http-compression global 5
"""

TOGGLES = """
enable server b/s1
disable server b/s1
disable server
disable server b
disable server x/y
enable server b/s3
enable health b/s1
enable health b/s2
disable health b/s2
disable health b/s1
disable frontend f
disable frontend f
enable frontend f
enable frontend f
enable frontend x
enable frontend
disable frontend b
shutdown sessions server
shutdown sessions server b
shutdown sessions server b/s1
shutdown sessions server x/s1
shutdown frontend
shutdown frontend x
shutdown frontend f
shutdown frontend f
enable frontend f
disable frontend f
"""

DYNAMIC = """
add server
add server b
add server b/
add server b/s9
add server b/s9 127.0.0.1:1 foo
add server x/s9 127.0.0.1:1
add server st/s9 127.0.0.1:1
add server b/s1 127.0.0.1:1
add server b/s9 localhost:1
add server b/s9 127.0.0.1:1
add server b/s10 127.0.0.1:1 check
add server b/s11 127.0.0.1:1 check track s2
add server b/s11 127.0.0.1:1 track foo
add server b/s12 127.0.0.1:1 track other/s1
add server b/s13 127.0.0.1 id 1
add server b/s13 127.0.0.1 id abc
add server b/s13 127.0.0.1 id 40
add server b/s14 127.0.0.1:1 weight 300
add server b/s14 127.0.0.1:1 weight 30 maxconn 20 minconn 3 backup
add server b/s15 127.0.0.1:1 disabled
add server b/s16 127.0.0.1:1 enabled
add server b/s17 127.0.0.1:1 cookie foo
add server b/s23 127.0.0.1:1 inter 0
add server b/s27 127.0.0.1:1 send-proxy
add server b/s32 127.0.0.1:1 ssl
add server b/s41 127.0.0.1 check
add server b/s43 /tmp/x.sock
add server b/s!7 127.0.0.1:5
add server b/s48 127.0.0.1:99999
add server other/s2 127.0.0.1:5
get weight b/s9
get weight b/s14
enable health b/s10
enable health b/s9
enable server b/s9
set server b/s9 weight 50%
del server
del server b
del server b/x
del server x/x
del server b/s1
del server b/s9
disable server b/s9
del server b/s9
del server b/s9
del server b/s16
set server b/s1 state maint
del server b/s1
del server b/s1
disable server b/u1
del server b/u1
add server b/s1 127.0.0.1:1 weight 5
set server b/s1 ssl on
get weight b/s1
"""

OTHERS = """
clear counters
clear counters all
clear counters foo
set profiling
set profiling tasks
set profiling tasks on
set profiling foo
set profiling memory on
get var
get var foo
get var proc.foo
set var
set var proc.foo int(5)
experimental-mode on; set var proc.foo int(5); get var proc.foo
experimental-mode on; set var proc.foo str(abc); get var proc.foo
experimental-mode on; set var proc.foo expr int(6),add(3); get var proc.foo
experimental-mode on; set var proc.foo fmt %[int(7)]x; get var proc.foo; get var proc.bar
experimental-mode on; set var
experimental-mode on; set var proc.foo
experimental-mode on; set var proc.foo what ever
experimental-mode on; set var proc.n int(5); set var proc.m expr int(1),add(proc.n); get var proc.m
experimental-mode on; set var proc.foo expr hostname,length,bool; get var proc.foo
experimental-mode on; set var proc.foo expr date,bool; get var proc.foo
experimental-mode on; set var txn.x int(3)
experimental-mode on; set var proc.foo src
"""

SEVERITY = (
    "set severity-output number; set server b/x state ready; set server b/s1 weight 300;"
    " get weight b/s1; set server b/s1 addr 127.0.0.9; disable frontend x;"
    " add server b/s9 127.0.0.1:1; add server b/s9 127.0.0.1:1; del server b/s9;"
    " set server b/s1 weight abc; set server b/s2 check-port abc"
)


TABLES = """
frontend f
    bind 127.0.0.1:{port}
    stick-table type ip size 1k expire 1m store conn_cnt,conn_rate(10s),gpc0,gpt0,bytes_in_cnt
    default_backend b
backend b
    stick-table type string len 20 size 1k store gpc(3),gpc_rate(2,10s),conn_cur
    balance roundrobin
    server s1 127.0.0.1:1
backend c
    stick-table type integer size 1k store server_key
backend d
    stick-table type ipv6 size 1k expire 10s
backend e
    stick-table type binary len 4 size 1k nopurge
"""

TABLE_COMMANDS = """
show table
show table x
show table f
set table
set table f
set table f key
set table f key 1.2.3.4
set table f key 1.2.3.4 data.conn_cnt 5
set table f key 1.2.3.4 data.conn_cnt
set table f key 1.2.3.4 data.foo 5
set table f key 1.2.3.4 data.conn_cur 5
set table f key 1.2.3.4 data.conn_cnt abc
set table f key 1.2.3.4 foo bar
set table f key 1.2.3.4 data.conn_rate 7 data.gpc0 3 data.gpt0 9 data.bytes_in_cnt 99999999999
set table f key 1.2.3.5 data.conn_cnt 7
set table f key foo
set table f key ::1
set table f key 1.2
set table f key 1.1234.5
set table f foo
set table x key 1
set table f data.conn_cnt 5
show table f
show table
show table f data.conn_cnt gt 5
show table f data.conn_cnt eq 5
show table f data.conn_cnt ne 5
show table f data.conn_cnt le 5
show table f data.conn_cnt gt 1 data.gpc0 eq 3
show table f data.conn_cnt gt 1 data.gpc0 eq 3 data.gpt0 eq 1
show table f data.conn_rate ge 1
show table f data.conn_cnt
show table f data.conn_cnt gt
show table f data.conn_cnt foo 5
show table f data.conn_cnt gt abc
show table f data.conn_cur gt 1
show table f data.foo gt 1
show table f data.gpc0 gt 1 data.gpc0 gt 1 data.gpc0 gt 1 data.gpc0 gt 1 data.gpc0 gt 1
show table f key 1.2.3.4
show table f key 9.9.9.9
show table f key
show table f key abc
show table f foo
set table b key abc
set table b key abc data.gpc0 5
set table b key abc data.gpc 6
set table b key abc data.gpc0_rate 6
set table b key thisismuchlongerthantwentychars
show table b
show table b data.gpc0 gt 1
show table b data.gpc gt 1
set table c key 5
set table c key 256
set table c key abc
set table c key -5
set table c key 0x10
set table c key 5 data.server_key s1
set table c key 5 data.server_key 1
set table c key 5 data.server_name 1
set table c key 4294967299
show table c
set table d key ::1
set table d key 1.2.3.4
set table d key abc
show table d
set table e key 01020304
show table e
show table e key 01020304
clear table e key 01020304
clear table
clear table x
clear table f key
clear table f key 9.9.9.9
clear table f key 1.2.3.5
show table f
clear table f data.conn_cnt eq 7
clear table f data.conn_cnt eq 5
show table f
clear table f foo
clear table f
show table
clear table b
clear table c
show table b
show table c
clear table d data.conn_cnt gt 5
clear table d
"""


LISTS = """
frontend f
    bind 127.0.0.1:{port}
    tcp-request inspect-delay 5s
    acl bad src -f {ips}
    acl bad2 src 1.2.3.4 5.6.7.0/24
    acl bad2 src 9.9.9.9
    acl p dst_port 80 443:445 ge 1000
    acl s req.ssl_sni -i -f {names}
    acl named src -u 77 -f {ips}
    acl nn src -u 78 6.6.6.6
    tcp-request connection reject if bad or bad2
    tcp-request connection reject if { src 8.8.8.8 } !p named nn
    tcp-request content reject if s
    use_backend b if { src,map_ip_int({numbers},3) 5 }
    use_backend b if { req.ssl_sni,map_reg({expressions}) x }
    default_backend b
backend b
    balance roundrobin
    server s1 127.0.0.1:1
"""
FILES = {
    "ips": "# comment\n10.0.0.0/8\n192.168.1.1\n::1\n\n  172.16.0.0/12\n10.1.0.0/16\n",
    "names": "foo.example.com\nBAR.example.com\n",
    "numbers": "10.0.0.0/8 5\n10.1.0.0/16 7\n",
    "expressions": "^foo.*$ x\n",
    "backends": "a.com b1\nb.com b2\n.c.com  b3 trailing\nnoval\n",
}

LIST_COMMANDS = """
show map
show acl #0
show acl #1
show acl #2
show acl {ips}
show acl {names}
show acl #99
show acl #abc
show acl 0
show acl foo
show map #0
show map foo
get acl
get acl {ips}
get acl {ips} 10.2.1.1
get acl {ips} 10.1.1.1
get acl {ips} 11.1.1.1
get acl {ips} abc
get acl #99 x
get acl {names} FOO.example.com
get acl {names} nope
get map {numbers} 10.1.2.3
get map {numbers} 10.2.2.3
get map {numbers} 11.2.2.3
get map {expressions} foobar
get map {expressions} bar
get map
get map {numbers}
get map foo bar
add acl
add acl {ips}
add acl {ips} 7.7.7.7
add acl {ips} 7.7.7.7
add acl {ips} abc
add acl #99 1.1.1.1
add acl foo 1.1.1.1
show acl {ips}
get acl {ips} 7.7.7.7
del acl {ips} 7.7.7.7
del acl {ips} 7.7.7.7
del acl {ips} #0x1
del acl {ips} #zz
del acl
del acl {ips}
del acl #99 x
show acl {ips}
add map
add map {numbers}
add map {numbers} 10.9.9.9
add map {numbers} 10.9.9.9 4
add map {numbers} abc 5
add map {numbers} 11.0.0.0/8 abc
add map {numbers} 11.0.0.0/8 8
add map {expressions} ( 8
add map {expressions} <<\\nx.com 1\\ny.com 2 3\\n
add map {expressions} <<\\nz.com\\n
show map {expressions}
show map {numbers}
set map {numbers} 10.9.9.9 9
set map {numbers} nokey 9
set map {numbers} 10.9.9.9
set map {numbers}
set map
set map foo a b
set map {numbers} #0x1 9
get map {numbers} 10.9.9.9
del map {numbers} 10.9.9.9
del map {numbers} 10.9.9.9
show map {numbers}
prepare acl
prepare acl {ips}
prepare acl {ips}
prepare map {numbers}
prepare map foo
show acl @1 {ips}
add acl @2 {ips} 3.3.3.3
add acl @9 {ips} 3.3.3.3
show acl @2 {ips}
show acl @9 {ips}
get acl {ips} 3.3.3.3
commit acl {ips}
commit acl @9 {ips}
commit acl @2 {ips}
commit acl @1 {ips}
commit acl
commit acl @2 foo
show acl {ips}
get acl {ips} 3.3.3.3
clear acl @2 {ips}
clear acl {ips}
clear acl
clear acl foo
show acl {ips}
clear map @1 {numbers}
clear map {numbers}
add map @1 {numbers} 10.0.0.0/8 3
show map @1 {numbers}
commit map @1 {numbers}
show map {numbers}
show acl #77
show acl #78
add acl #78 1.2.3.4
show acl #78
show acl #4
add acl #4 90
add acl #4 gt
add acl #4 100:200
show acl #4
get acl #4 90
get acl #4 150
get acl #4 201
"""


def differences(directory: Path, text: str, commands: str) -> list[tuple[str, str, str]]:
    lines = [line.replace("\\n", "\n") for line in commands.split("\n") if line]
    return [one for one in both(directory, text, lines) if one[1] != one[2]]


@pytest.mark.parametrize(
    "commands",
    [SET_SERVER, LIMITS, TOGGLES, DYNAMIC, OTHERS, SEVERITY],
    ids=lambda text: text.split()[0],
)
def test_servers_and_frontends(tmp_path: Path, commands: str) -> None:
    text = SERVERS.replace("{port}", str(closed_port()))
    assert differences(tmp_path, text, commands) == []


def test_stick_tables(tmp_path: Path) -> None:
    text = TABLES.replace("{port}", str(closed_port()))
    assert differences(tmp_path, text, TABLE_COMMANDS) == []


def test_lists_of_patterns(tmp_path: Path) -> None:
    where = {"port": str(closed_port())}
    for name, content in FILES.items():
        where[name] = str(tmp_path / f"{name}.lst")
        Path(where[name]).write_text(content)
    text, commands = LISTS, LIST_COMMANDS
    for name, one in where.items():
        text, commands = text.replace(f"{{{name}}}", one), commands.replace(f"{{{name}}}", one)
    assert differences(tmp_path, text, commands) == []
