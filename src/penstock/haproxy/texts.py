# SPDX-License-Identifier: Apache-2.0
"""What ``-v``, ``-vv`` and wrong use print.

Programs read the first line of ``-v`` and some of ``-vv``: the version of HAProxy that is spoken
stands where they look for one, and who speaks it beside it.
"""

from __future__ import annotations

import os
from typing import Final

from penstock import __version__
from penstock.dialect import DIALECT_DATE, FEATURES, VERSION

# Of HAProxy's build options those that -vv lists; what is not in FEATURES is listed as missing.
_OPTIONS: Final = [
    "51DEGREES",
    "ACCEPT4",
    "BACKTRACE",
    "CLOSEFROM",
    "CPU_AFFINITY",
    "CRYPT_H",
    "DEVICEATLAS",
    "DL",
    "ENGINE",
    "EPOLL",
    "EVPORTS",
    "GETADDRINFO",
    "KQUEUE",
    "LIBCRYPT",
    "LINUX_SPLICE",
    "LINUX_TPROXY",
    "LUA",
    "MEMORY_PROFILING",
    "NETFILTER",
    "NS",
    "OBSOLETE_LINKER",
    "OPENSSL",
    "OT",
    "PCRE",
    "PCRE2",
    "PCRE2_JIT",
    "PCRE_JIT",
    "POLL",
    "PRCTL",
    "PROCCTL",
    "PROMEX",
    "QUIC",
    "RT",
    "SLZ",
    "STATIC_PCRE",
    "STATIC_PCRE2",
    "SYSTEMD",
    "TFO",
    "THREAD",
    "THREAD_DUMP",
    "TPROXY",
    "WURFL",
    "ZLIB",
]


def version() -> str:
    """The lines of ``-v``."""
    system = os.uname()
    return (
        f"HAProxy version {VERSION} {DIALECT_DATE} - spoken by penstock {__version__},"
        " which is not HAProxy\n"
        "Status: penstock takes HAProxy's place for TCP and UDP; it reads HAProxy 2.6's"
        " configuration.\n"
        f"Running on: {system.sysname} {system.release} {system.version} {system.machine}\n"
    )


def build() -> str:
    """What ``-vv`` says after that."""
    features = " ".join(f"{'+' if one in FEATURES else '-'}{one}" for one in _OPTIONS)
    services = "prometheus-exporter" if "PROMEX" in FEATURES else "none"
    return (
        "Build options :\n"
        "  TARGET  = linux-glibc\n"
        "  CPU     = generic\n"
        "\n"
        f"Feature list : {features}\n"
        "\n"
        "Default settings :\n"
        "  bufsize = 16384, maxrewrite = 1024, maxpollevents = 200\n"
        "\n"
        f"Built with multi-threading support (MAX_THREADS=64, default={_processors()}): a process"
        " for each.\n"
        "\n"
        "Available polling systems :\n"
        "      epoll : pref=300,  test result OK\n"
        "Total: 1 (1 usable), will use epoll.\n"
        "\n"
        "Available multiplexer protocols :\n"
        "(protocols marked as <default> cannot be specified using 'proto' keyword)\n"
        "  <default> : mode=TCP   side=FE|BE  mux=PASS  flags=\n"
        "       none : mode=TCP   side=FE|BE  mux=PASS  flags=NO_UPG\n"
        "\n"
        f"Available services : {services}\n"
        "Available filters : none\n"
    )


def _processors() -> int:
    return min(len(os.sched_getaffinity(0)), 64)


def usage(name: str) -> str:
    """How *name* is called."""
    return f"Usage : {name}{_USAGE}"


_USAGE: Final = """ [-f <cfgfile|cfgdir>]* [ -vdVD ] [ -n <maxconn> ] [ -N <maxpconn> ]
        [ -p <pidfile> ] [ -m <max megs> ] [ -C <dir> ] [-- <cfgfile>*]
        -v displays version ; -vv shows what it can do.
        -d enters debug mode ; -db only disables background mode.
        -V enters verbose mode (disables quiet mode)
        -D goes daemon ; -C changes to <dir> before loading files.
        -W master-worker mode.
        -Ws master-worker mode with systemd notify support.
        -q quiet mode : don't display messages
        -c check mode : only check config files and exit
        -cc check condition : evaluate a condition and exit
        -n sets the maximum total # of connections
        -m limits the usable amount of memory (in MB) of each process
        -N sets the default, per-proxy maximum # of connections
        -L set local peer name (default to hostname)
        -p writes pids of all children to this file
        -dr ignores server address resolution failures
        -dV disables SSL verify on servers side
        -dW fails if any warning is emitted
        -dD diagnostic mode : accepted, what it would say is said anyway
        -dM -de -dp -dk -dv -dS -dG -dR -dL -dK accepted, for they tune what is HAProxy's own
        -sf/-st [pid ]* finishes/terminates old pids.
        -x <unix_socket> get listening sockets from a unix socket
        -S <bind>[,<bind options>...] new master CLI
"""
