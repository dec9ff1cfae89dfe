# SPDX-License-Identifier: Apache-2.0
"""From what was read to what runs: in the foreground, in the background, or under a master."""

from __future__ import annotations

import os
from collections.abc import Callable

from penstock.config.haproxy import LoadResult
from penstock.haproxy.arguments import Arguments
from penstock.haproxy.background import in_background, silence, write_pid
from penstock.haproxy.predecessors import Predecessors
from penstock.haproxy.serving import Surroundings, serve
from penstock.haproxy.voice import Voice


def start(arguments: Arguments, loaded: LoadResult, voice: Voice) -> int:
    """The exit status of this process, when that ends."""
    said = loaded.configuration.settings.process
    if not loaded.listens:
        voice.alert(
            "[haproxy.main()] No enabled listener found (check for 'bind' directives) ! Exiting."
        )
        return 1
    quiet = (arguments.quiet or said.quiet) and not arguments.verbose
    in_front = arguments.foreground or arguments.debug
    pidfile = arguments.pidfile or said.pidfile

    before = Predecessors(arguments.old, arguments.old_terminate, arguments.sockets_from)

    def work(up: Callable[[], None], *, daemon: bool) -> int:
        def is_up() -> None:
            if daemon and pidfile is not None:
                write_pid(pidfile, os.getpid())
            before.tell()
            voice.starting = False
            if quiet:
                silence()
            up()

        return serve(arguments, loaded, voice, is_up, Surroundings(before))

    if (arguments.daemon or said.daemon) and not in_front:
        return in_background(lambda up: work(up, daemon=True))
    return work(lambda: None, daemon=False)
