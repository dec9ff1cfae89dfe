# SPDX-License-Identifier: Apache-2.0
"""From what was read to what runs: in the foreground, in the background, or under a master."""

from __future__ import annotations

from collections.abc import Callable

from penstock.config.haproxy import LoadResult
from penstock.haproxy.background import PidFile, in_background
from penstock.haproxy.predecessors import Predecessors
from penstock.haproxy.roster import Roster
from penstock.haproxy.serving import Surroundings, serve
from penstock.haproxy.start import Start


def start(begin: Start, loaded: LoadResult, roster: Roster | None) -> int:
    """The exit status of this process, when that ends; *roster*: what a master knows already."""
    arguments, voice = begin.arguments, begin.voice
    said = loaded.configuration.settings.process
    if not loaded.listens:
        voice.alert(
            "[haproxy.main()] No enabled listener found (check for 'bind' directives) ! Exiting."
        )
        return 1
    quiet = (arguments.quiet or said.quiet) and not arguments.verbose
    in_front = arguments.foreground or arguments.debug
    path = arguments.pidfile or said.pidfile
    pidfile = PidFile(path, voice) if path is not None else None

    in_back = (arguments.daemon or said.daemon) and not in_front
    under_master = arguments.master or said.master_worker
    # Tried before anything runs that would have to be taken down again; a reload goes on without.
    if pidfile and roster is None and (in_back or under_master) and not pidfile.is_possible():
        return 1
    if under_master:
        return _under_master(begin, loaded, roster, quiet=quiet, back=in_back)
    if arguments.master_sockets:
        voice.warning(
            "config : a master CLI socket was defined, but master-worker mode (-W) is not enabled."
        )
    before = Predecessors(arguments.old, arguments.old_terminate, arguments.sockets_from)

    def work(up: Callable[[], None], *, daemon: bool) -> int:
        def is_up() -> None:
            if daemon and pidfile is not None:
                pidfile.write()
            before.tell()
            voice.starting = False
            if quiet:
                voice.fall_silent()
            up()

        return serve(arguments, loaded, voice, is_up, Surroundings(before))

    if in_back:
        return in_background(lambda up: work(up, daemon=True), voice)
    return work(lambda: None, daemon=False)


def _under_master(
    begin: Start, loaded: LoadResult, roster: Roster | None, *, quiet: bool, back: bool
) -> int:
    from penstock.haproxy.launching import launch  # noqa: PLC0415

    def master(up: Callable[[], None]) -> int:
        def is_up() -> None:
            if quiet:
                begin.voice.fall_silent()
            up()

        return launch(begin, loaded, roster or Roster(), is_up)

    if back and roster is None:
        return in_background(master, begin.voice)
    return master(lambda: None)
