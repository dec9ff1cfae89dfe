# SPDX-License-Identifier: Apache-2.0
"""Keywords of defaults, frontend, listen and backend sections, their options and timeouts."""

from __future__ import annotations

from penstock.config.haproxy.keywords.table import Keyword, Need, Status, index, rows

_HTTP = "it has a meaning in mode http only"
_PROXIED = "on the proxy engine; on the kernel engine the ends' own sockets decide"
_ACK = "it saves an ACK, which the kernel delays anyway"
_QUEUES = "on the proxy engine; on the kernel engine the client's next SYN asks again"
_TRIES = (
    "the proxy engine's connects; on the kernel engine the client's next SYN goes to another"
    " server when its first one is down"
)

PROXY = index(
    rows("bind", Need.K, Status.WORKS, where="FL"),
    rows("server server-template", Need.K, Status.WORKS, where="LB"),
    rows("default-server", Need.K, Status.WORKS, where="DLB"),
    rows(
        "mode",
        Need.K,
        Status.WORKS,
        "tcp; udp is penstock's own; http needs the proxy",
        where="DFLB",
    ),
    rows("id description", Need.C, Status.WORKS, where="FLB"),
    rows("guid", Need.C, Status.IGNORED, "it labels the runtime API's output", where="FLB"),
    rows("disabled enabled", Need.C, Status.WORKS, where="DFLB"),
    rows("default_backend", Need.K, Status.WORKS, where="DFL"),
    rows(
        "maxconn",
        Need.K_DIFFERS,
        Status.WORKS,
        "a connection over it waits for the client's next SYN",
        where="DFL",
    ),
    rows("balance hash-type", Need.K, Status.WORKS, "see the algorithms below", where="DLB"),
    rows("timeout", Need.K_DIFFERS, Status.WORKS, "see the timeouts below", where="DFLB"),
    rows("option", Need.C, Status.WORKS, "see the options below", where="DFLB"),
    rows("source", Need.K, Status.WORKS, where="DLB"),
    rows("dispatch", Need.K, Status.WORKS, where="LB"),
    rows("udp-check", Need.C, Status.EXTENSION, "what a check of a UDP server sends and expects"),
    rows("acl", Need.C, Status.WORKS, where="DFLB"),
    rows("use_backend", Need.K, Status.PROXY, "the pool is chosen by a condition", where="FL"),
    rows("use-server", Need.K, Status.PROXY, "the server is chosen by a condition", where="LB"),
    rows("tcp-request", Need.K, Status.PROXY, "connections are filtered by rules", where="DFLB"),
    rows("tcp-response", Need.P, Status.PROXY, "responses are filtered by rules", where="DLB"),
    rows("filter", Need.P, Status.NOWHERE, "data pass a filter", where="FLB"),
    rows("stick", Need.K, Status.PROXY, "the server is chosen by a stick table", where="LB"),
    rows("stick-table", Need.K, Status.WORKS, "kept where it is used", where="FLB"),
    rows(
        "rate-limit", Need.K_DIFFERS, Status.PROXY, "the rate of sessions is limited", where="DFL"
    ),
    rows("persist", Need.P, Status.PROXY, "the server is named by an RDP cookie", where="DLB"),
    rows("transparent", Need.K, Status.PROXY, "the original destination is used", where="DLB"),
    rows(
        "force-persist ignore-persist",
        Need.K,
        Status.WORKS,
        "of stick rules and cookies, which decide that the proxy engine runs",
        where="FLB",
    ),
    rows(
        "hash-balance-factor",
        Need.K,
        Status.WORKS,
        "a server's bound is rounded up; the load is the frontend's",
        where="DLB",
    ),
    rows("retries", Need.P, Status.WORKS, _TRIES, where="DLB"),
    rows(
        "log log-format log-format-sd error-log-format log-tag", Need.C, Status.WORKS, where="DFLB"
    ),
    rows(
        "unique-id-format",
        Need.C,
        Status.WORKS,
        where="DFLB",
    ),
    rows("email-alert", Need.C, Status.WORKS, where="DFLB"),
    rows(
        "load-server-state-from-file server-state-file-name",
        Need.C,
        Status.WORKS,
        "at start, where no datapath is taken over: that one keeps states itself",
        where="DLB",
    ),
    rows(
        "stats",
        Need.C,
        Status.WORKS,
        "in mode http, of sections that route nothing; see above",
        where="DFLB",
    ),
    rows("tcp-check http-check external-check", Need.C, Status.WORKS, where="DLB"),
    rows(
        "fullconn",
        Need.K_DIFFERS,
        Status.WORKS,
        "compared with the frontend's connections; unset, a tenth of the frontends' maxconn",
        where="DLB",
    ),
    rows("backlog", Need.P, Status.WORKS, _PROXIED, where="DFL"),
    rows("bind-process", Need.C, Status.IGNORED, "there are no processes to choose", where="DFLB"),
    rows("retry-on", Need.P, Status.IGNORED, _HTTP, where="DLB"),
    rows(
        "clitcpka-cnt clitcpka-idle clitcpka-intvl srvtcpka-cnt srvtcpka-idle srvtcpka-intvl",
        Need.P,
        Status.WORKS,
        _PROXIED,
        where="DFLB",
    ),
    rows(
        "monitor-uri monitor",
        Need.C,
        Status.IGNORED,
        _HTTP,
        where="DFL",
        http=True,
    ),
    rows(
        "cookie dynamic-cookie-key capture http-request http-response http-after-response"
        " http-send-name-header redirect http-reuse unique-id-header compression errorfile"
        " errorfiles errorloc errorloc302 errorloc303 http-error max-keep-alive-queue"
        " max-session-srv-conns use-fcgi-app declare",
        Need.P,
        Status.IGNORED,
        _HTTP,
        where="DFLB",
        http=True,
    ),
    rows(
        "appsession block redispatch redisp grace monitor-net clitimeout contimeout srvtimeout"
        " usesrc cliexp srvexp reqrep reqdel reqdeny reqpass reqallow reqtarpit reqirep reqidel"
        " reqideny reqipass reqiallow reqitarpit reqadd rsprep rspdel rspdeny rspirep rspidel"
        " rspideny rspadd",
        Need.C,
        Status.REMOVED,
    ),
)

OPTIONS = index(
    rows("allbackups", Need.K, Status.WORKS, where="DLB"),
    rows(
        "nat",
        Need.K,
        Status.EXTENSION,
        "servers see the client's address and must route back through the load balancer",
        where="DLB",
    ),
    rows("redispatch", Need.P, Status.WORKS, _TRIES, where="DLB"),
    rows("tcplog httplog httpslog", Need.C, Status.WORKS, where="DFLB"),
    rows(
        "dontlognull dontlog-normal logasap log-separate-errors",
        Need.C,
        Status.WORKS,
        where="DFL",
    ),
    rows(
        "external-check httpchk ldap-check log-health-checks mysql-check pgsql-check redis-check"
        " smtpchk spop-check ssl-hello-chk tcp-check",
        Need.C,
        Status.WORKS,
        where="DLB",
    ),
    rows(
        "proxy-engine",
        Need.P,
        Status.PROXY,
        "penstock's own word: retries, redispatch and queues as HAProxy has them",
        where="DFLB",
    ),
    rows(
        "transparent",
        Need.K,
        Status.PROXY,
        "the original destination is used",
        where="DLB",
    ),
    rows(
        "clitcpka",
        Need.P,
        Status.WORKS,
        _PROXIED,
        where="DFL",
    ),
    rows("srvtcpka", Need.P, Status.WORKS, _PROXIED, where="DLB"),
    rows("tcpka nolinger", Need.P, Status.WORKS, _PROXIED, where="DFLB"),
    rows(
        "splice-auto splice-request splice-response",
        Need.P,
        Status.IGNORED,
        "data are carried in whichever way costs least",
        where="DFLB",
    ),
    rows(
        "independent-streams",
        Need.P,
        Status.IGNORED,
        "whatever one side does counts for both sides' timeouts",
        where="DFLB",
    ),
    rows("tcp-smart-accept", Need.P, Status.IGNORED, _ACK, where="DFL"),
    rows("tcp-smart-connect", Need.P, Status.IGNORED, _ACK, where="DLB"),
    rows("idle-close-on-response", Need.P, Status.IGNORED, _HTTP, where="DFL"),
    rows(
        "abortonclose",
        Need.P,
        Status.IGNORED,
        "a client that ends may still wait for its answer",
        where="DLB",
    ),
    rows(
        "contstats",
        Need.C,
        Status.IGNORED,
        "bytes count when a session ends, and packets at once",
        where="DFL",
    ),
    rows(
        "socket-stats",
        Need.C,
        Status.WORKS,
        "numbers of several sockets are told apart where no limit or rule is for all of them",
        where="DFL",
    ),
    rows(
        "persist",
        Need.K,
        Status.WORKS,
        "of stick rules and cookies, which decide that the proxy engine runs",
        where="DLB",
    ),
    rows(
        "prefer-last-server",
        Need.K,
        Status.IGNORED,
        "it is for connections that are used again, as only mode http does",
        where="DLB",
    ),
    rows(
        "accept-invalid-http-request disable-h2-upgrade h1-case-adjust-bogus-client"
        " http-ignore-probes http-use-proxy-header",
        Need.P,
        Status.IGNORED,
        _HTTP,
        where="DFL",
        http=True,
    ),
    rows(
        "accept-invalid-http-response checkcache h1-case-adjust-bogus-server"
        " http-pretend-keepalive",
        Need.P,
        Status.IGNORED,
        _HTTP,
        where="DLB",
        http=True,
    ),
    rows(
        "http-buffer-request http-no-delay httpclose http-server-close http-keep-alive forwardfor"
        " originalto http-restrict-req-hdr-names",
        Need.P,
        Status.IGNORED,
        _HTTP,
        where="DFLB",
        http=True,
    ),
    rows("forceclose http-tunnel http_proxy", Need.C, Status.REMOVED),
)

TIMEOUTS = index(
    rows("client", Need.K_DIFFERS, Status.WORKS, "the flow is forgotten, not closed", where="DFL"),
    rows("server", Need.K_DIFFERS, Status.WORKS, "the flow is forgotten, not closed", where="DLB"),
    rows("connect", Need.K_DIFFERS, Status.WORKS, "of the unanswered SYN; no retry", where="DLB"),
    rows("check", Need.C, Status.WORKS, where="DLB"),
    rows("client-fin", Need.K_DIFFERS, Status.WORKS, "half-closed flows", where="DFL"),
    rows("server-fin", Need.K_DIFFERS, Status.WORKS, "half-closed flows", where="DLB"),
    rows("tunnel", Need.K_DIFFERS, Status.WORKS, "once both sides have passed data", where="DLB"),
    rows("queue", Need.P, Status.WORKS, _QUEUES, where="DLB"),
    rows("http-request http-keep-alive", Need.C, Status.IGNORED, _HTTP, where="DFL"),
    rows("tarpit", Need.C, Status.IGNORED, _HTTP, where="DFLB"),
)

BALANCE = index(
    rows("roundrobin", Need.K, Status.WORKS, "smooth weighted round robin; the default"),
    rows("static-rr leastconn first source random", Need.K, Status.WORKS),
    rows("maglev", Need.K, Status.EXTENSION, "consistent hash of addresses, ports and protocol"),
    rows(
        "hash",
        Need.P,
        Status.PROXY,
        "the server is chosen by an expression; `hash src` is `source` and packets suffice for it",
    ),
    rows("rdp-cookie", Need.P, Status.PROXY, "the server is chosen by an RDP cookie"),
    rows("uri url_param hdr", Need.P, Status.IGNORED, "round robin in mode tcp, as in HAProxy"),
)

MODE_HTTP = Keyword("mode http", Need.P, Status.NOWHERE, "HTTP is routed", "DFLB")
UNIX_BIND = Keyword("bind", Need.P, Status.PROXY, "the socket is not a network's")
ANY_SERVER = Keyword("server", Need.P, Status.PROXY, "it is wherever the client wants to go")
UNIX_SERVER = Keyword("server", Need.P, Status.PROXY, "the server is not on a network")
USESRC = Keyword("source", Need.P, Status.PROXY, "the source is an address of another machine")
USESRC_HEADER = Keyword("source", Need.P, Status.NOWHERE, "the source stands in an HTTP header")
SOURCE_INTERFACE = Keyword("source", Need.P, Status.PROXY, "the source is bound to an interface")
