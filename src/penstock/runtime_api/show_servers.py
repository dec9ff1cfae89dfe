# SPDX-License-Identifier: Apache-2.0
"""``show servers state``, ``show servers conn`` and ``show backend`` (management guide, 9.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from penstock.engine.proxy import worker_count
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, command
from penstock.runtime_api.request import Arguments
from penstock.sections import Section
from penstock.statistics import server_state
from penstock.statistics.server_fields import port_of
from penstock.statistics.view import View


def _backends(view: View, name: str) -> Iterator[Section]:
    """All backends, or the one called *name*. Raises CommandFailed."""
    found = [one for one in view.sections if one.back and (not name or one.name == name)]
    if name and not found:
        raise CommandFailed("Can't find backend.")
    return iter(found)


def _show_state(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    view = context.view()
    return _states(view, _backends(view, arguments[3]))


def _states(view: View, sections: Iterator[Section]) -> Iterator[str]:
    yield server_state.HEADER
    for section in sections:
        pool = view.pools.get(section.name)
        if pool is not None:
            yield "".join(
                server_state.line(section.id, pool, real, state, forced=section.forced_id)
                for real, state in view.states(pool)
            )


def _show_conn(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    view = context.view()
    sections = _backends(view, arguments[3])
    threads = worker_count(view.configuration.settings.workers)
    return _connections(view, sections, threads)


def _connections(view: View, sections: Iterator[Section], threads: int) -> Iterator[str]:
    yield (
        "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb"
        f" safe_nb idle_lim idle_cur idle_per_thr[{threads}]\n"
    )
    for section in sections:
        pool = view.pools.get(section.name)
        if pool is None:
            continue
        for real in pool.reals:
            number = server_state.number_of(pool, real)
            counted = view.counted(section.name, real)
            address = real.address if real.link.local is None else None
            yield (
                f"{section.name}/{real.name} {section.id}/{number} {address or '-'}"
                f" {port_of(real.port)} - 5000 {counted.live} {counted.live_max} {counted.live}"
                f" 0 0 -1 0{' 0' * threads}\n"
            )


def _show_backend(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    names = [one.name for one in context.view().sections if one.back]
    return "".join(f"{name}\n" for name in ("# name", *names))


COMMANDS: Final = (
    command(
        "show servers state",
        "show servers state [<backend>]          :"
        " dump volatile server information (all or for a single backend)",
        _show_state,
    ),
    command(
        "show servers conn",
        "show servers conn [<backend>]           :"
        " dump server connections status (all or for a single backend)",
        _show_conn,
    ),
    command(
        "show backend",
        "show backend                            : list backends in the current running config",
        _show_backend,
    ),
)
