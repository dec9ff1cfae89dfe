# SPDX-License-Identifier: Apache-2.0
"""Lines, right and wrong, from which tests compose configurations to show to HAProxy too."""

from __future__ import annotations

import hypothesis.strategies as st

GLOBAL = (
    """
maxconn 100|maxconn|maxconn x|maxcon 4|spread-checks 5|spread-checks 51|spread-checks|daemon
daemon x|nbthread 2|nbthread 0|nbproc 3|log 127.0.0.1 local0|log 127.0.0.1 local9|log 127.0.0.1
log stdout format raw local0 info|log 127.0.0.1:514 local1 notice err|log 127.0.0.1 len 100 local2
nbthread 2 x|setenv A 1.1.1.1|presetenv A b|unsetenv A|setenv A|tune.bufsize 16384|tune.bufsize|foo|foo bar|fooe|nwe|nokq|logeatag
log 127.0.0.1 len 10 local0|log 127.0.0.1 len abc local0|log 127.0.0.1 len 100 len 100 local0
log 127.0.0.1 format x local0|log 127.0.0.1 format raw len 80 local0|log 127.0.0.1 sample 1 local0
log 127.0.0.1 sample 1-3:2 local0|log 127.0.0.1 sample 3-1:3 local0|log 127.0.0.1 sample 1-2,2:3 local0
log 127.0.0.1 sample 1,3-4:5 local0|log 127.0.0.1 sample 0:5 local0|log 127.0.0.1 sample 1:0 local0
log 127.0.0.1 sample :5 local0|log 127.0.0.1 local0 info foo|log 127.0.0.1 local0 info err x|log global
log fd@1 local0|log fd@x local0|log udp@127.0.0.1 local0|log unix@/dev/log local0|log abns@x local0
log nosuch.invalid local0|log nosuch.invalid local9|log 127.0.0.1:70000 local0|no log x|log-tag|log-tag a b
log-tag a|log-send-hostname|log-send-hostname x|log [::1]:514 local0|log stdout:514 local0
log-send-ho|insecture-f|stats timeout 10s|stats foo|stats|external-check|insecure-fork-wanted|no log
no insecure-fork-wanted|no daemon|description x y|description|node a|ca-base /x|tune.ssl.lifetime 3
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

ANY_PROXY = (
    """
mode tcp|mode http|mode foo|mode|mode tcp x|mode health|disabled|enabled|disabled x
timeout client 10s|timeout client 5|timeout client 0|timeout server 1m|timeout connect 3s
timeout server 2h|timeout server 30d|timeout foo 3|timeout client x|timeout client|timeout
timeout tunnel 1h|timeout client-fin 3|timeout server-fin 3|timeout check 5ms|timeout queue 5us
timeout connect 5sx|timeout client 5 6|timeout http-request 10s|timeout tarpit 3s
maxconn 10|maxconn|maxconn 5 6|fullconn 3|backlog 5|retries 3|retries|retries x y
balance roundrobin|balance leastconn|balance source|balance first|balance static-rr
balance random|balance random(3)|balance random(0)|balance random(|balance random(x)|balance uri
balance url_param|balance url_param a|balance hdr(x)|balance hdr|balance foo|balance
balance rdp-cookie|balance rdp-cookie(a)|balance hash src|balance uri len 3|balance uri foo
hash-type consistent|hash-type map-based|hash-type foo|hash-type|hash-type consistent djb2
hash-type map-based crc32 avalanche|hash-type map-based foo|hash-type consistent sdbm foo
hash-balance-factor 150|hash-balance-factor 50|hash-balance-factor
option tcplog|option httplog|option dontlognull|option redispatch|option redispatch 1
no option redispatch|no option tcplog|option allbackups|no option allbackups|option foo
option tcpka|option clitcpka|option srvtcpka|option nolinger|option httpclose|option http-server-close
option forwardfor|option forwardfor except 127.0.0.1|option forwardfor foo|option tcp-check
option httpchk|option httpchk GET /|option tcp-smart-accept|option tcp-smart-connect|option
option splice-auto|option contstats|option abortonclose|option persist|option tcplog x
option forceclose|option http-tunnel|option http_proxy|option log-health-checks|option logasap
option independent-streams|option socket-stats|option transparent|option http-buffer-request
option allbackups x|option redis-check|option ssl-hello-chk|option smtpchk|option ldap-check
option mysql-check|option mysql-check user a|option pgsql-check user a|option httplog clf
option httplogs|option tcpcheck|option dontlog-normal
default_backend b1|default_backend|default_backend nope|default_backend b1 x|default_backend l1
source 1.2.3.4|source|source 1.2.3.4 foo|source 0.0.0.0 usesrc clientip|source 1.2.3.4:80
source 1.2.3.4 interface eth0|dispatch 1.2.3.4:80|dispatch 1.2.3.4|dispatch
log global|log 127.0.0.1 local0|log|no log|log global x|log 127.0.0.1 foo|log-tag x|log-tag
log-format %foo|log-format %|log-format %5|log-format %r|log-format "%{+Q"|log-format "%{+Q}-"
log-format "%[src"|log-format "%[src,foo]"|log-format "%[foo]"|log-format "%[src foo]"|log-format "%[req.len]"
log-format "%[srv_conn(x)]"|log-format "%[be_conn(x)]"|log-format "%ci%%%[src,lower]"|log-format-sd %foo
error-log-format %foo|error-log-format %ci|unique-id-format %foo|unique-id-format %ci|unique-id-header
unique-id-header X|option socket-stats|option log-separate-errors|option httpslog
log-format x|log-format|log-format a b|contimeout 5|clitimeout 5|srvtimeout 5|redispatch|grace 3
reqadd x|rspadd x|reqrep a b|block x|monitor-net 1.1.1.1|appsession x|usesrc x|monitor-uri /x
monitor-uri|monitor fail if TRUE|monitor|errorfile 503 /dev/null|stats enable|stats uri /x|stats uri
stats foo|stats|stats refresh 5s|stats refresh 5x|stats auth a:b|stats realm x|stats hide-version
acl a src 1.1.1.1|acl b foo|acl c|acl d! src 1|acl or src 1.1.1.1|use_backend b1
use_backend b1 if TRUE|use_backend b1 if nope|use_backend|use_backend nope|use_backend b1 foo
use_backend b1 if { src 10.0.0.0/8 }|use_backend b1 if { foo }
tcp-request content accept|tcp-request content reject if TRUE|tcp-request connection reject
tcp-request inspect-delay 5s|tcp-request inspect-delay|tcp-request|tcp-request foo
tcp-request content foo|tcp-request content reject if nope|tcp-request session accept
tcp-response content accept|tcp-response|retry-on all-retryable-errors
stick-table type ip size 1m|stick on src|stick|stick foo|stick on|stick on src table nope
rate-limit sessions 10|rate-limit|rate-limit sessions x|cookie A insert|cookie|persist rdp-cookie
persist|persist foo|max-keep-alive-queue 3|email-alert|email-alert foo|email-alert to|email-alert to a
email-alert level info|email-alert level|email-alert level Info|email-alert mailers m|email-alert from a b|email-alert myhostname x|use-server s1 if TRUE
use-server|use-server s1|use-server nope if TRUE|force-persist if TRUE|force-persist
load-server-state-from-file none|load-server-state-from-file foo|server-state-file-name x
http-request deny|http-response deny|redirect location /|capture request header x len 3|capture
bnd :80|balanc roundrobin|sever a 1.1.1.1:80|timeouts client 3|modee tcp|foo|xyzzy bar
tcp-check connect|tcp-check send foo|tcp-check expect string x|tcp-check foo|http-check expect status 200
id 7|id|id 0|description a b|unique-id-format x|compression algo gzip|http-reuse safe|http-reuse foo
transparent|transparent x|option external-check|external-check command /bin/true|external-check foo
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

BIND = (
    """
bind :80|bind *:80|bind 127.0.0.1:80|bind [::1]:80|bind ::1:80|bind :::80|bind :::80 v4v6
bind :80-90|bind :90-80|bind :80,:81|bind :80,|bind ,:80|bind|bind 1.1.1.1|bind [::1]|bind :0
bind :70000|bind :x|bind :80x|bind :+3|bind ipv4@:80|bind ipv6@:80|bind ipv4@::1:80|bind ipv6@1.1.1.1:80
bind unix@/x|bind /x|bind abns@x|bind x.invalid:80|bind localhost:80|bind :80 name|bind :80 name x
bind :80 interface eth0|bind :80 interface|bind :80 id 4|bind :80 id|bind :80 id 0|bind :80 maxconn 3
bind :80 maxconn|bind :80 foo|bind :80 acept-proxy|bind :80 accept-proxy|bind :80 transparent
bind :80 defer-accept|bind :80 tfo|bind :80 backlog 3|bind :80 nice 3|bind :80 v6only|bind :80 ssl
bind :80 crt /nope|bind :80 ssl crt /nope|bind :80 tcp-ut 3s|bind udp@:80|bind :80 alpn|bind "$A:80"
bind "${NOPE-127.0.0.1}:80"|bind "$NOPE:80"|bind "$NOPE"|bind :80 :81|bind fe80::1%lo:80|bind 1.1.1.1:80 mss 1400
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

SERVER = (
    """
server s1 1.1.1.1:80|server s1 1.1.1.1:80 check|server s2 1.1.1.1|server s2 1.1.1.1 check
server s3 1.1.1.1:+5|server s3 1.1.1.1:-5 check|server s3 1.1.1.1:+5 check port 3
server s4 [::1]:80|server s4 ::1|server s5 unix@/x|server s5 /x|server|server s6|server s6 1.1.1.1:x
server s6 1.1.1.1:70000|server s6 1.1.1.1:80-90|server s/6 1.1.1.1:80|server s6 x.invalid:80
server s6 x.invalid:80 init-addr none|server s6 x.invalid:80 init-addr libc,none
server s6 x.invalid:80 init-addr libc,1.2.3.4|server s6 1.1.1.1:80 init-addr foo
server s6 localhost:80|server s6 x.invalid|server s6 1.1.1.1: 80|server s6 :80|server s6 udp@1.1.1.1:80
server s7 1.1.1.1:80 chek|server s7 1.1.1.1:80 bakup|server s7 1.1.1.1:80 foo|server s7 1.1.1.1:80 1
server s7 1.1.1.1:80 weight 5|server s7 1.1.1.1:80 weight 257|server s7 1.1.1.1:80 weight -1
server s7 1.1.1.1:80 weight 0 backup|server s7 1.1.1.1:80 inter 5s rise 3 fall 4|server s7 1.1.1.1:80 inter
server s7 1.1.1.1:80 inter 0|server s7 1.1.1.1:80 inter 5x|server s7 1.1.1.1:80 fastinter 3x
server s7 1.1.1.1:80 downinter 3x|server s7 1.1.1.1:80 fastinter|server s7 1.1.1.1:80 downinter 25d
server s7 1.1.1.1:80 slowstart 3|server s7 1.1.1.1:80 slowstart 3x|server s7 1.1.1.1:80 slowstart 25d
server s7 1.1.1.1:80 rise 0|server s7 1.1.1.1:80 rise x|server s7 1.1.1.1:80 fall|server s7 1.1.1.1:80 maxconn 5
server s8 1.1.1.1:80 port 3 addr 1.1.1.2 check|server s8 1.1.1.1:80 addr|server s8 1.1.1.1:80 port
server s8 1.1.1.1:80 addr x.invalid|server s8 1.1.1.1:80 check port 70000|server s8 1.1.1.1:80 disabled enabled|server s11 1.1.1.1:80 id 5
server s10 1.1.1.1:80 id 5|server s9 1.1.1.1:80 id 0|server s9 1.1.1.1:80 id|server s9 1.1.1.1:80 source 1.1.1.1
server s9 1.1.1.1:80 source|server s9 1.1.1.1:80 source 1.1.1.1:5-9|server s9 1.1.1.1:80 source x
server s9 1.1.1.1:80 source 0.0.0.0 usesrc clientip|server s9 1.1.1.1:80 usesrc x
server s9 1.1.1.1:80 send-proxy|server s9 1.1.1.1:80 ssl verify none|server s9 1.1.1.1:80 cookie x
server s9 1.1.1.1:80 cookie|server s9 1.1.1.1:80 resolvers nope|server s9 1.1.1.1:80 resolvers r1
server s9 x.invalid:80 resolvers r1|server s9 1.1.1.1:80 resolve-prefer ipv4|server s9 x:1 resolve-prefer y
server s9 1.1.1.1:80 track s1|server s9 1.1.1.1:80 track nope|server s9 1.1.1.1:80 track b1/s1
server s9 1.1.1.1:80 track x/s1|server s9 1.1.1.1:80 check track s1|server s9 1.1.1.1:80 track
server s9 1.1.1.1:80 observe layer4|server s9 1.1.1.1:80 observe x|server s9 1.1.1.1:80 on-marked-down x
server s9 1.1.1.1:80 on-marked-down shutdown-sessions|server s9 1.1.1.1:80 on-error fastinter
server s9 1.1.1.1:80 error-limit 0|server s9 1.1.1.1:80 observe
server s9 1.1.1.1:80 error-limit x|server s9 1.1.1.1:80 error-limit|server s9 1.1.1.1:80 on-error
server s9 1.1.1.1:80 on-error mark-down|server s9 1.1.1.1:80 on-marked-up shutdown-backup-sessions
server s9 1.1.1.1:80 agent-check|server s9 1.1.1.1:80 agent-port 0 agent-check|server s9 1.1.1.1:80 agent-port
server s9 1.1.1.1:80 agent-check agent-port 3 agent-addr|server s9 1.1.1.1:80 agent-check agent-port 3 agent-send
server s9 1.1.1.1:80 agent-check agent-port 3 agent-inter 0|server s9 1.1.1.1:80 agent-inter 5x
server s9 1.1.1.1:80 agent-check agent-port 3 no-agent-check|server s9 1.1.1.1:80 agent-check port 3
server s9 1.1.1.1:80 agent-check agent-port 3 agent-addr ::1 agent-send x agent-inter 3s|default-server agent-check
server s9 1.1.1.1:80 agent-check agent-port 3|server s9 1.1.1.1:80 minconn 3 maxqueue 2
server-template t 3 1.1.1.1:80|server-template t 2-3 localhost:80|server-template|server-template t
server-template t 0 1.1.1.1:80|server-template t x 1.1.1.1:80|server-template t 3|server-template t/ 3 x:1
default-server check|default-server inter 3s|default-server foo|default-server
default-server weight 300|default-server inter x|default-server 1.1.1.1|default-server weight 5 backup
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

RESOLVERS = (
    """
nameserver n1 127.0.0.1:53|nameserver n1|nameserver|nameserver n2 1.1.1.1|nameserver n1 127.0.0.2:53
timeout retry 1s|timeout resolve|timeout foo 3|timeout|timeout retry x|hold valid 3s|hold foo 3s|hold
hold nx x|resolve_retries 3|resolve_retries|accepted_payload_size 4096|accepted_payload_size 3|foo
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


MAILERS = (
    """
mailer m1 127.0.0.1:25|mailer m1|mailer|mailer m1 127.0.0.1|mailer m1 127.0.0.1:|mailer m1 127.0.0.1:0
mailer m1 127.0.0.1:x|mailer m1 x.invalid:25|mailer m/1 127.0.0.1:25|mailer m1 /x|mailer m1 unix@/x
mailer m1 abns@x|mailer m1 fd@3|mailer m1 udp@127.0.0.1:25|mailer m1 127.0.0.1:25 foo
mailer m1 127.0.0.1:25-26|mailer m1 127.0.0.1:+5|mailer m1 [::1]:25|mailer m1 localhost:25
mailer m1 ipv4@127.0.0.1:25|timeout|timeout foo|timeout mail|timeout mail x|timeout mail 5x
timeout mail 25d|timeout mail 5s|timeout mail 5s foo|timeout mail 5sx|foo|mailers|mailers a/b|mailers m
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


def _indent(lines: list[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)


def _section(head: str, *pools: list[str], most: int = 5) -> st.SearchStrategy[str]:
    lines = st.lists(st.one_of(*map(st.sampled_from, pools)), max_size=most)
    return lines.map(lambda chosen: f"{head}\n{_indent(chosen)}")


def _some(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.just(""), strategy)


TIMEOUTS = ["timeout client 1s", "timeout server 1s", "timeout connect 1s"]

configurations: st.SearchStrategy[str] = st.tuples(
    _some(_section("global", GLOBAL, most=3)),
    _some(_section("resolvers r1", RESOLVERS, most=3)),
    st.sampled_from(["", f"defaults\n{_indent([*TIMEOUTS, 'mode tcp'])}"]),
    _some(_section("defaults", ANY_PROXY, most=3)),
    _some(_section("frontend f1", ANY_PROXY, BIND, most=4)),
    _some(_section("backend b1", ANY_PROXY, SERVER, SERVER, most=5)),
    _some(_section("listen l1", ANY_PROXY, BIND, SERVER, most=5)),
    _some(
        st.sampled_from(
            ["listen f1\n", "backend b1\n", "listen x 1.1.1.1:80\n    mode tcp\n", "foo\n"]
        )
    ),
).map("".join)
