# SPDX-License-Identifier: Apache-2.0
"""Options of server, default-server and server-template lines."""

from __future__ import annotations

from penstock.config.haproxy.keywords.table import Need, Status, index, rows, words

SERVER = index(
    rows(
        "addr backup check disabled downinter enabled fall fastinter id init-addr inter no-backup"
        " no-check on-marked-down on-marked-up port resolve-prefer resolvers rise slowstart source"
        " weight",
        Need.K,
        Status.WORKS,
    ),
    rows(
        "maxconn",
        Need.K_DIFFERS,
        Status.WORKS,
        "a full server is skipped; clients queue on the proxy engine alone",
    ),
    rows("track", Need.C, Status.WORKS),
    rows("nat", Need.K, Status.EXTENSION, "keep the client's address as source (see option nat)"),
    rows("no-nat", Need.K, Status.EXTENSION, "undo a default nat"),
    rows(
        "usesrc",
        Need.K,
        Status.WORKS,
        "client and clientip mean nat; another address needs the proxy engine",
    ),
    rows("minconn", Need.K_DIFFERS, Status.WORKS, "the limit follows the frontend's connections"),
    rows("maxqueue", Need.P, Status.WORKS, "on the proxy engine; nothing queues on the kernel's"),
    rows("error-limit on-error", Need.K, Status.WORKS),
    rows(
        "observe",
        Need.K,
        Status.WORKS,
        "looked at ten times a second; on the kernel engine an error is a SYN that is refused, or"
        " not answered within timeout connect",
    ),
    rows(
        "agent-check agent-addr agent-inter agent-port agent-send no-agent-check",
        Need.C,
        Status.WORKS,
    ),
    rows(
        "check-ssl check-sni check-alpn check-send-proxy check-via-socks4 no-check-ssl"
        " no-check-send-proxy",
        Need.C,
        Status.WORKS,
    ),
    rows("check-proto", Need.C, Status.WORKS, "fcgi is refused"),
    rows(
        "send-proxy send-proxy-v2 send-proxy-v2-ssl send-proxy-v2-ssl-cn",
        Need.P,
        Status.PROXY,
        "the PROXY protocol is sent to the server",
    ),
    rows("ssl", Need.P, Status.PROXY, "TLS is spoken to the server"),
    rows("socks4", Need.P, Status.PROXY, "the server is reached through a SOCKS4 proxy"),
    rows("namespace", Need.P, Status.NOWHERE, "the server is in another network namespace"),
    rows(
        "no-send-proxy no-send-proxy-v2 no-send-proxy-v2-ssl no-send-proxy-v2-ssl-cn no-ssl"
        " proxy-v2-options set-proxy-v2-tlv-fmt",
        Need.P,
        Status.WORKS,
        "withdraws or qualifies what the proxy engine does",
    ),
    rows(
        "alpn ca-file ciphers crl-file crt force-sslv3 force-tlsv10 force-tlsv11 force-tlsv12"
        " force-tlsv13 no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 sni ssl-max-ver ssl-min-ver"
        " verify verifyhost",
        Need.P,
        Status.WORKS,
        "with ssl",
    ),
    rows(
        "ciphersuites",
        Need.P,
        Status.WORKS,
        "with ssl; refused if it leaves out what OpenSSL has, before Python 3.15",
    ),
    rows(
        "ssl-reuse no-ssl-reuse tls-tickets no-tls-tickets",
        Need.P,
        Status.IGNORED,
        "every handshake with a server is a full one",
    ),
    rows("allow-0rtt", Need.P, Status.IGNORED, "early data is not sent"),
    rows("npn", Need.P, Status.IGNORED, "no server of today speaks it: alpn has replaced it"),
    rows(
        "tfo no-tfo tcp-ut",
        Need.P,
        Status.IGNORED,
        "it is a property of the connecting socket, and servers speak with the client's socket",
    ),
    rows(
        "cookie redir ws max-reuse pool-low-conn pool-max-conn pool-purge-delay proto",
        Need.C,
        Status.IGNORED,
        "it has a meaning in mode http only",
    ),
    rows("guid", Need.C, Status.IGNORED, "it labels the runtime API's output"),
    rows("non-stick stick", Need.C, Status.IGNORED, "tables remember every server"),
    rows("log-proto", Need.C, Status.WORKS, "of servers of a ring"),
    rows("resolve-net", Need.C, Status.WORKS, "which of several resolved addresses is preferred"),
    rows("resolve-opts", Need.C, Status.WORKS, "sharing of addresses; whether SRV weights count"),
)

# How many arguments each option takes; one that is not listed takes none.
SERVER_ARGUMENTS = dict.fromkeys(
    words(
        "addr agent-addr agent-inter agent-port agent-send alpn ca-file check-alpn check-"
        "proto check-sni ciphers ciphersuites cookie crl-file crt downinter error-limit fall"
        " fastinter guid id init-addr inter log-proto max-reuse maxconn maxqueue minconn namespace"
        " npn observe on-error on-marked-down on-marked-up pool-low-conn pool-max-conn pool-"
        "purge-delay port proto proxy-v2-options redir resolve-net resolve-opts resolve-"
        "prefer resolvers rise set-proxy-v2-tlv-fmt slowstart sni socks4 source ssl-max-ver"
        " ssl-min-ver tcp-ut track verify verifyhost weight ws"
    ),
    1,
)

# Options that HAProxy 2.6 takes in a file and not in "add server".
NOT_DYNAMIC = frozenset(
    words(
        "cookie init-addr log-proto max-reuse namespace no-agent-check no-check no-check-send-proxy"
        " no-check-ssl no-send-proxy-v2-ssl no-send-proxy-v2-ssl-cn no-ssl non-stick redir"
        " resolve-net resolve-opts resolve-prefer resolvers socks4 ssl-reuse stick tcp-ut"
    )
)
