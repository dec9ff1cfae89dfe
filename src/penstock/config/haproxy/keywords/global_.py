# SPDX-License-Identifier: Apache-2.0
"""Keywords of the global section."""

from __future__ import annotations

from penstock.config.haproxy.keywords.table import Need, Status, index, rows

_PROCESS = "the service manager, not the configuration, runs and restricts the process"
_THREADS = "the fast path runs on every CPU that receives packets"
_TUNING = "it tunes HAProxy's own buffers, pools or poller, which penstock does not have"
_TLS = "it tunes OpenSSL beyond what Python's ssl can set"

GLOBAL = index(
    rows("log log-tag log-send-hostname", Need.C, Status.WORKS),
    rows(
        "maxconn",
        Need.K_DIFFERS,
        Status.WORKS,
        "a connection over it waits for the client's next SYN",
    ),
    rows("spread-checks", Need.C, Status.WORKS),
    rows("setenv presetenv resetenv unsetenv", Need.C, Status.WORKS, "from the next line on"),
    rows("description", Need.C, Status.WORKS),
    rows("penstock.hook", Need.K, Status.EXTENSION, "auto, xdp or tc: where the datapath attaches"),
    rows("penstock.max-flows", Need.K, Status.EXTENSION, "how many flows are tracked at once"),
    rows("penstock.interfaces", Need.K, Status.EXTENSION, "interfaces to attach to; all if unset"),
    rows(
        "chroot set-dumpable strict-limits insecure-setuid-wanted ulimit-n fd-hard-limit",
        Need.C,
        Status.IGNORED,
        _PROCESS,
    ),
    rows(
        "daemon master-worker mworker-max-reloads pidfile quiet hard-stop-after",
        Need.C,
        Status.WORKS,
        "under `penstock haproxy`; `penstock run` leaves it to the service manager",
    ),
    rows("user group uid gid", Need.C, Status.WORKS, "of the proxy engine's workers"),
    rows("zero-warning", Need.C, Status.WORKS, "a warning that HAProxy gives too is an error"),
    rows(
        "nbthread cpu-map thread-group thread-groups numa-cpu-mapping",
        Need.C,
        Status.IGNORED,
        _THREADS,
    ),
    rows("external-check", Need.C, Status.WORKS, "permits option external-check"),
    rows(
        "insecure-fork-wanted",
        Need.C,
        Status.IGNORED,
        "programs that check are started without it",
    ),
    rows("max-spread-checks", Need.C, Status.IGNORED, "checks are spread by spread-checks alone"),
    rows("node", Need.C, Status.WORKS, "in statistics"),
    rows(
        "grace close-spread-time",
        Need.C,
        Status.IGNORED,
        "no old process stays behind after a reload: flows live in the datapath",
    ),
    rows(
        "noepoll nokqueue noevports nopoll nosplice nogetaddrinfo noreuseport busy-polling"
        " no-memory-trimming expose-experimental-directives"
        " profiling.tasks default-path maxpipes maxsslconn"
        " maxcomprate maxcompcpuusage maxzlibmem pp2-never-send-local"
        " h1-accept-payload-with-any-method h1-case-adjust h1-case-adjust-file"
        " tune.bufsize tune.maxaccept tune.rcvbuf.client tune.rcvbuf.server tune.sndbuf.client"
        " tune.sndbuf.server tune.runqueue-depth tune.maxpollevents tune.recv_enough"
        " tune.buffers.limit tune.buffers.reserve tune.maxrewrite tune.idletimer tune.pipesize"
        " tune.http.cookielen tune.http.logurilen tune.http.maxhdr tune.comp.maxlevel"
        " tune.pattern.cache-size tune.chksize tune.fail-alloc tune.fd.edge-triggered"
        " tune.h2.header-table-size tune.h2.initial-window-size tune.h2.max-concurrent-streams"
        " tune.h2.max-frame-size tune.idle-pool.shared tune.listener.multi-queue"
        " tune.lua.forced-yield tune.lua.maxmem tune.lua.service-timeout"
        " tune.lua.session-timeout tune.lua.task-timeout tune.peers.max-updates-at-once"
        " tune.pool-high-fd-ratio tune.pool-low-fd-ratio tune.sched.low-latency"
        " tune.vars.check-max-size tune.vars.global-max-size tune.vars.proc-max-size"
        " tune.vars.reqres-max-size tune.vars.sess-max-size tune.vars.txn-max-size",
        Need.C,
        Status.IGNORED,
        _TUNING,
    ),
    rows("unix-bind", Need.P, Status.WORKS, "for bind lines with a UNIX socket"),
    rows(
        "ca-base crt-base ssl-default-bind-ciphers ssl-default-bind-ciphersuites"
        " ssl-default-bind-options ssl-default-server-ciphers ssl-default-server-ciphersuites"
        " ssl-default-server-options ssl-server-verify",
        Need.P,
        Status.WORKS,
        "for lines with ssl",
    ),
    rows(
        "issuers-chain-path ssl-default-bind-curves"
        " ssl-dh-param-file ssl-engine ssl-load-extra-del-ext ssl-load-extra-files ssl-mode-async"
        " ssl-propquery ssl-provider ssl-provider-path ssl-skip-self-issued-ca"
        " httpclient.resolvers.id httpclient.resolvers.prefer httpclient.ssl.ca-file"
        " httpclient.ssl.verify tune.ssl.cachesize tune.ssl.capture-buffer-size"
        " tune.ssl.capture-cipherlist-size tune.ssl.default-dh-param tune.ssl.force-private-cache"
        " tune.ssl.hard-maxrecord tune.ssl.keylog tune.ssl.lifetime tune.ssl.maxrecord"
        " tune.ssl.ssl-ctx-cache-size",
        Need.C,
        Status.IGNORED,
        _TLS,
    ),
    rows(
        "51degrees-data-file 51degrees-property-name-list 51degrees-property-separator"
        " 51degrees-cache-size deviceatlas-json-file deviceatlas-log-level"
        " deviceatlas-separator deviceatlas-properties-cookie wurfl-data-file"
        " wurfl-information-list wurfl-information-list-separator wurfl-engine-mode"
        " wurfl-cache-size wurfl-useragent-priority",
        Need.C,
        Status.REFUSED,
        "device detection is not part of penstock",
    ),
    rows("stats", Need.C, Status.WORKS, "the sockets of the Runtime API"),
    rows(
        "maxconnrate maxsessrate maxsslrate",
        Need.K_DIFFERS,
        Status.WORKS,
        "of services on the proxy engine, which then use one worker",
    ),
    rows(
        "server-state-base server-state-file",
        Need.C,
        Status.WORKS,
        "read at start; a reload needs none: states stay in memory",
    ),
    rows("localpeer", Need.C, Status.WORKS),
    rows("set-var set-var-fmt", Need.C, Status.LATER, "variables are not carried out yet"),
    rows(
        "lua-load lua-load-per-thread lua-prepend-path",
        Need.P,
        Status.REFUSED,
        "penstock runs no Lua",
    ),
    rows("nbproc", Need.C, Status.REMOVED),
)
