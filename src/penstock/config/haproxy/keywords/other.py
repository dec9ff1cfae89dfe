# SPDX-License-Identifier: Apache-2.0
"""Keywords of the remaining sections."""

from __future__ import annotations

from penstock.config.haproxy.keywords.table import Keyword, Need, Status, index, rows

RESOLVERS = index(
    rows(
        "nameserver parse-resolv-conf hold timeout resolve_retries accepted_payload_size",
        Need.C,
        Status.WORKS,
    ),
)

PEERS = index(
    rows(
        "peer peers server default-server bind default-bind table disabled enabled log",
        Need.C,
        Status.WORKS,
        "",
        family="peers",
    ),
)

# Sections that are read and whose effect, if any, belongs to later work.
SECTIONS = index(
    rows("global defaults frontend listen backend resolvers", Need.C, Status.WORKS),
    rows("peers", Need.C, Status.WORKS, "of the proxy engine's tables"),
    rows("mailers ring log-forward", Need.C, Status.WORKS),
    rows(
        "udp-lb",
        Need.K,
        Status.REFUSED,
        "write a frontend and a backend, or a listen, with 'mode udp'",
    ),
    rows("program", Need.C, Status.WORKS, "under `penstock haproxy -W`"),
    rows("userlist", Need.P, Status.WORKS, "for `http_auth` in sections of mode http that run"),
    rows("cache", Need.P, Status.IGNORED, "it only serves HTTP"),
    rows("http-errors", Need.P, Status.IGNORED, "it only serves HTTP"),
    rows("fcgi-app", Need.P, Status.IGNORED, "it only serves HTTP"),
)

OTHER: dict[str, dict[str, Keyword]] = {
    "peers": PEERS,
    "mailers": index(rows("mailer timeout", Need.C, Status.WORKS)),
    "userlist": index(rows("user group", Need.P, Status.WORKS, "")),
    "cache": index(
        rows(
            "total-max-size max-age max-object-size process-vary max-secondary-entries",
            Need.P,
            Status.IGNORED,
            "it only serves HTTP",
        )
    ),
    "ring": index(
        rows("format description maxlen size server timeout", Need.C, Status.WORKS),
        rows("backing-file", Need.C, Status.LATER, "rings are kept in memory alone"),
    ),
    "log-forward": index(rows("bind dgram-bind log maxconn timeout backlog", Need.C, Status.WORKS)),
    "program": index(rows("command user group option", Need.C, Status.WORKS)),
    "http-errors": index(rows("errorfile", Need.P, Status.IGNORED, "it only serves HTTP")),
    "fcgi-app": index(
        rows(
            "acl docroot index log-stderr option pass-header path-info set-param",
            Need.P,
            Status.IGNORED,
            "it only serves HTTP",
        )
    ),
}
