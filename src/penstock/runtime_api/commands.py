# SPDX-License-Identifier: Apache-2.0
"""All commands, in the order in which HAProxy lists equally good suggestions."""

from __future__ import annotations

from penstock.runtime_api import (
    builtin,
    certificates,
    counters,
    dynamic_servers,
    limits,
    patterns,
    profiling,
    set_health,
    set_server,
    show_events,
    show_info,
    show_peers,
    show_resolvers,
    show_servers,
    show_sess,
    show_stat,
    stick_tables,
    succession,
    toggles,
    variables,
    weights,
)
from penstock.runtime_api.registry import Registry


def registry() -> Registry:
    return Registry(
        (
            *builtin.COMMANDS,
            *certificates.COMMANDS,
            *counters.COMMANDS,
            *dynamic_servers.COMMANDS,
            *limits.COMMANDS,
            *patterns.COMMANDS,
            *profiling.COMMANDS,
            *set_health.COMMANDS,
            *set_server.COMMANDS,
            *show_events.COMMANDS,
            *show_info.COMMANDS,
            *show_peers.COMMANDS,
            *show_resolvers.COMMANDS,
            *show_servers.COMMANDS,
            *show_sess.COMMANDS,
            *show_stat.COMMANDS,
            *stick_tables.COMMANDS,
            *toggles.COMMANDS,
            *variables.COMMANDS,
            *succession.COMMANDS,
            *weights.COMMANDS,
        )
    )
