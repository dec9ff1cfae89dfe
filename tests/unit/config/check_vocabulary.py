# SPDX-License-Identifier: Apache-2.0
"""Lines about health checks, right and wrong: one backend a line, its lines between bars."""

from __future__ import annotations

STEPS = r"""
tcp-check
tcp-check foo
tcp-check connect foo
tcp-check connect port
tcp-check connect port 0
tcp-check connect port 70000
tcp-check connect port x
tcp-check connect port src_port
tcp-check connect port req.len
tcp-check connect port var(check.x)
tcp-check connect addr
tcp-check connect addr 1.2.3.4:80
tcp-check connect addr nope.invalid:80
tcp-check connect addr 1.2.3.4:x
tcp-check connect addr 1.2.3.4:80-90
tcp-check connect proto
tcp-check connect proto h2
tcp-check connect proto h1
tcp-check connect proto none
tcp-check connect proto foo
http-check connect proto h1
http-check connect proto h2
http-check connect proto foo
http-check connect proto none
tcp-check connect comment
tcp-check connect sni
tcp-check connect alpn
tcp-check connect alpn h2,http/1.1
tcp-check connect ssl sni foo alpn h2 send-proxy via-socks4 linger default comment a
tcp-check send
tcp-check send x y
tcp-check send x comment
tcp-check send-binary
tcp-check send-binary 123
tcp-check send-binary zz
tcp-check send-binary 12 comment foo
tcp-check send-lf
tcp-check send-lf %[
tcp-check send-lf %[foo]
tcp-check send-lf %[src]
tcp-check send-lf %[req.len]
tcp-check send-lf %[fe_name]
tcp-check send-lf %zz
tcp-check send-binary-lf zz
tcp-check send-binary-lf
tcp-check send a|tcp-check connect
tcp-check comment|tcp-check comment a b
tcp-check set-var(check.a) int(1)
tcp-check set-var(txn.a) int(1)
tcp-check set-var(proc.a) int(1)
tcp-check set-var(foo) int(1)
tcp-check set-var(check.a)
tcp-check set-var(check.a) foo
tcp-check set-var(check.a) src
tcp-check set-var(check.a) int(1) if TRUE
tcp-check set-var int(1)
tcp-check set-var() int(1)
tcp-check set-var-fmt(check.a) foo%[src]
tcp-check set-var-fmt(check.a) foo%[str(a)]
tcp-check set-var-fmt(check.a)
tcp-check unset-var(check.a)
tcp-check unset-var(foo)
tcp-check unset-var()
http-check set-var(check.a) res.hdr(a)
http-check set-var(check.a) req.hdr(a)
http-check
http-check foo
http-check disable-on-404 x
http-check send-state x
http-check disable-on-404
http-check send-state
http-check send
http-check send foo
http-check send meth
http-check send uri
http-check send ver
http-check send hdr
http-check send hdr a
http-check send hdr Host a hdr host b
http-check send hdr a %[foo]
http-check send hdr a %[src]
http-check send body
http-check send body-lf %[foo]
http-check send uri-lf %[src]
http-check send comment
http-check send meth GET uri / ver HTTP/1.1 hdr A b body x comment c
http-check connect foo
http-check comment
"""

EXPECTS = r"""
tcp-check expect
tcp-check expect foo
tcp-check expect string
tcp-check expect string a string b
tcp-check expect string a foo
tcp-check expect ! string a
tcp-check expect ! ! string a
tcp-check expect !string a
tcp-check expect !!
tcp-check expect ! min-recv 1 string a
tcp-check expect min-recv string a
tcp-check expect min-recv
tcp-check expect min-recv -2 string a
tcp-check expect min-recv 99999999999 string a
tcp-check expect min-recv 4
tcp-check expect rstring (
tcp-check expect rstring [
tcp-check expect rbinary *
tcp-check expect binary 1
tcp-check expect binary zz
tcp-check expect status 200
tcp-check expect hdr name a
tcp-check expect comment a
tcp-check expect string a comment
tcp-check expect string a on-error
tcp-check expect string a on-error %[foo] on-success
tcp-check expect string a on-success %[foo]
tcp-check expect string a on-success %[src]
tcp-check expect string a on-success %[res.payload(0,0)]
tcp-check expect string a ok-status L7OK error-status L7RSP tout-status L4TOUT
tcp-check expect string a ok-status
tcp-check expect string a ok-status foo
tcp-check expect string a error-status
tcp-check expect string a error-status foo
tcp-check expect string a error-status l7okc
tcp-check expect string a tout-status
tcp-check expect string a tout-status foo
tcp-check expect string a status-code
tcp-check expect string a status-code foo
tcp-check expect string a status-code src
tcp-check expect string a status-code int(3)
tcp-check expect string a status-code int(3),foo
tcp-check expect ! comment a
tcp-check expect string-lf %[foo]
tcp-check expect binary-lf zz
http-check expect
http-check expect foo
http-check expect binary 12
http-check expect binary-lf 12
http-check expect rbinary 12
http-check expect status
http-check expect status 200-
http-check expect status 200-100
http-check expect status 200,300-400
http-check expect status x
http-check expect status 200,
http-check expect status 200;
http-check expect status 20
http-check expect rstatus (
http-check expect hdr
http-check expect hdr name
http-check expect hdr foo a
http-check expect hdr name -m
http-check expect hdr name -m foo a
http-check expect hdr name -m str
http-check expect hdr name-lf -m reg a
http-check expect hdr name a value
http-check expect hdr name a value -m
http-check expect hdr name a value -m str
http-check expect hdr name a value -m foo b
http-check expect hdr name a value-lf -m reg b
http-check expect hdr name a value-lf %[foo]
http-check expect hdr name-lf %[foo]
http-check expect hdr name -m reg (
http-check expect hdr name a value -m reg (
http-check expect fhdr name a foo
http-check expect ! hdr name a comment
"""

RULESETS = r"""
option httpchk|http-check send meth GET|http-check send meth GET
option httpchk|http-check connect|http-check connect
option httpchk|http-check connect|http-check expect status 200
option httpchk|http-check expect status 200
option httpchk|http-check expect status 200|http-check send meth GET
option httpchk|http-check send meth GET|http-check connect
option httpchk|http-check connect|http-check send meth GET|http-check connect
option httpchk|http-check connect|http-check send|http-check expect status 200|http-check connect
option httpchk|http-check comment a|http-check connect
http-check send meth GET|http-check connect|option httpchk
http-check connect|http-check connect|option httpchk
option httpchk GET / HTTP/1.0 foo
option httpchk GET / HTTP/1.0\r\nHost:\ a
option httpchk GET / HTTP/1.0\r\n\r\nbody
option smtpchk a b c
option smtpchk a
option smtpchk EHLO
option mysql-check foo
option mysql-check user
option mysql-check user a b
option mysql-check user a pre-41
option mysql-check user a pre-41 x
option pgsql-check
option pgsql-check foo
option pgsql-check foo bar
option pgsql-check user
option pgsql-check user a b
option redis-check x
option tcp-check x
option ldap-check x
option spop-check x
option ssl-hello-chk x
option external-check
option external-check x
external-check
external-check foo
external-check command
external-check command a b
external-check command /a
external-check path
external-check path /a b
option external-check|external-check command a
option redis-check|tcp-check send x
option redis-check|http-check disable-on-404|http-check send-state
server s 1.1.1.1:80 check check-sni
server s 1.1.1.1:80 check check-sni foo
server s 1.1.1.1:80 check check-alpn
server s 1.1.1.1:80 check check-alpn h2
server s 1.1.1.1:80 check check-proto
server s 1.1.1.1:80 check check-proto none
server s 1.1.1.1:80 check check-proto foo
option httpchk|server s 1.1.1.1:80 check check-proto h1
option httpchk|server s 1.1.1.1:80 check check-proto none
option tcp-check|server s 1.1.1.1:80 check check-proto h1
server s 1.1.1.1:80 check check-ssl
server s 1.1.1.1:80 check check-ssl verify none
server s 1.1.1.1:80 check verify required
server s 1.1.1.1:80 check check-via-socks4
server s 1.1.1.1:80 check check-send-proxy no-check-ssl no-check-send-proxy
server s 1.1.1.1 check
option tcp-check|server s 1.1.1.1 check
option tcp-check|tcp-check connect port 80|server s 1.1.1.1 check
option tcp-check|tcp-check connect addr 1.1.1.1:80|server s 1.1.1.1 check
option tcp-check|tcp-check connect port 80|tcp-check connect|server s 1.1.1.1 check
option tcp-check|tcp-check connect port var(check.a)|server s 1.1.1.1 check
option tcp-check|tcp-check connect|server s 1.1.1.1 check
option tcp-check|tcp-check send x|server s 1.1.1.1 check
option httpchk|server s 1.1.1.1 check
option httpchk|http-check connect port 80|server s 1.1.1.1 check
option tcp-check|tcp-check connect ssl|server s 1.1.1.1:80 check
option tcp-check|tcp-check connect ssl|server s 1.1.1.1:80 check verify none
server s 1.1.1.1:80 check addr 2.2.2.2:90
server s 1.1.1.1 check addr 2.2.2.2:90
server s unix@/x check
"""


def bodies(text: str) -> list[str]:
    """The lines of each backend, as they stand in a file."""
    return ["".join(f"    {line}\n" for line in one.split("|")) for one in text.strip().split("\n")]
