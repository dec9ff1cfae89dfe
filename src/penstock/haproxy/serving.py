# SPDX-License-Identifier: Apache-2.0
"""Runs what was read, in this process, until a signal ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace

from penstock import daemon
from penstock.config.haproxy import LoadResult
from penstock.errors import PenstockError
from penstock.haproxy.arguments import Arguments
from penstock.haproxy.voice import Voice, speak_through
from penstock.runtime import RuntimePaths


def serve(arguments: Arguments, loaded: LoadResult, voice: Voice, up: Callable[[], None]) -> int:
    """The exit status; *up* is called when clients can connect. May end by a signal instead."""
    speak_through(voice, everything=arguments.debug or arguments.verbose)
    told = replace(loaded, warnings=())  # by whoever read it
    options = daemon.Options(shares=True, graceful=True, ready=up)
    try:
        ended = daemon.run(lambda: told, RuntimePaths.of(os.environ), options)
    except PenstockError as error:
        voice.alert(str(error))
        voice.alert("[haproxy.main()] Some protocols failed to start their listeners! Exiting.")
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        if number in ended:  # whoever waits for this process learns what ended it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
    return 0
