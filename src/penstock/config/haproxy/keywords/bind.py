# SPDX-License-Identifier: Apache-2.0
"""Options of a bind line."""

from __future__ import annotations

from penstock.config.haproxy.keywords.table import Need, Status, index, rows, words

BIND = index(
    rows("interface name id v4v6 v6only transparent", Need.K, Status.WORKS),
    rows(
        "maxconn",
        Need.K_DIFFERS,
        Status.WORKS,
        "each socket with a limit of its own is told apart in penstock status",
    ),
    rows("accept-proxy", Need.P, Status.PROXY, "the PROXY protocol is read"),
    rows("accept-netscaler-cip", Need.P, Status.PROXY, "the NetScaler protocol is read"),
    rows("ssl", Need.P, Status.PROXY, "TLS is terminated"),
    rows("namespace", Need.P, Status.NOWHERE, "the listener is in another network namespace"),
    rows("guid-prefix", Need.C, Status.IGNORED, "it labels the runtime API's output"),
    rows(
        "mss backlog",
        Need.P,
        Status.WORKS,
        "on the proxy engine; on the kernel's no socket listens",
    ),
    rows(
        "defer-accept tfo tcp-ut",
        Need.P,
        Status.IGNORED,
        "the listening socket is as the system has it",
    ),
    rows(
        "nice thread process shards proto",
        Need.C,
        Status.IGNORED,
        "connections are not tied to threads",
    ),
    rows("mode user group uid gid", Need.P, Status.WORKS, "of a UNIX socket"),
    rows(
        "level severity-output expose-fd",
        Need.P,
        Status.IGNORED,
        "it is a property of the runtime API's socket",
    ),
    rows(
        "alpn ca-file ciphers crl-file crt crt-list force-sslv3 force-tlsv10 force-tlsv11"
        " force-tlsv12 force-tlsv13 no-sslv3 no-tls-tickets no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13"
        " prefer-client-ciphers ssl-max-ver ssl-min-ver strict-sni verify",
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
    rows("no-ca-names", Need.P, Status.WORKS, "clients are never told the names of authorities"),
    rows(
        "ca-ignore-err crt-ignore-err",
        Need.P,
        Status.LATER,
        "a client's certificate with a fault is refused",
        family="ignore-err",
    ),
    rows("ca-verify-file", Need.P, Status.LATER, "only the authorities of ca-file are trusted"),
    rows(
        "generate-certificates ca-sign-file ca-sign-pass",
        Need.P,
        Status.LATER,
        "no certificates are made for names that have none",
        family="generate-certificates",
    ),
    rows(
        "curves ecdhe",
        Need.P,
        Status.LATER,
        "keys are exchanged in the groups that OpenSSL prefers",
        family="curves",
    ),
    rows(
        "tls-ticket-keys",
        Need.P,
        Status.LATER,
        "each process makes its own keys for session tickets",
    ),
    rows("allow-0rtt", Need.P, Status.IGNORED, "early data is not taken: clients send it again"),
    rows("npn", Need.P, Status.IGNORED, "no client of today speaks it: alpn has replaced it"),
)

# How many arguments each option takes; one that is not listed takes none.
BIND_ARGUMENTS = dict.fromkeys(
    words(
        "accept-netscaler-cip backlog expose-fd gid group guid-prefix id interface level maxconn"
        " mode mss name namespace nice process proto severity-output shards tcp-ut thread uid user"
        " alpn ca-file ca-ignore-err ca-sign-file ca-sign-pass ca-verify-file ciphers ciphersuites"
        " crl-file crt crt-ignore-err crt-list curves ecdhe npn ssl-max-ver ssl-min-ver"
        " tls-ticket-keys verify"
    ),
    1,
)
