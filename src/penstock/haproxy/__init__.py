# SPDX-License-Identifier: Apache-2.0
"""``penstock haproxy``, and penstock under the name ``haproxy``: HAProxy's own command line.

What starts haproxy today (unit files, images, scripts, its regression tests) starts penstock with
nothing but the program's name changed. ``__init__`` decides what is asked for and imports no more
than that takes.
"""

from __future__ import annotations

import gc
import os
import sys

from penstock.haproxy.arguments import Action, Arguments, UsageError, parse
from penstock.haproxy.roster import VARIABLE, Roster
from penstock.haproxy.start import Start
from penstock.haproxy.voice import Voice

_NAME = "haproxy"


def main(words: list[str]) -> int:
    """Do what *words*, without the program's name, ask for; the exit status."""
    voice = Voice()
    try:
        arguments = parse(words)
    except UsageError as wrong:
        if wrong.message:
            voice.alert(wrong.message)
        return _usage() if wrong.show_usage else 1
    from penstock.haproxy import texts  # noqa: PLC0415

    match arguments.action:
        case Action.VERSION | Action.BUILD:
            print(texts.version(), end="")
            if arguments.action is Action.BUILD:
                print(texts.build(), end="")
            return 0
        case Action.CONDITION:
            return _condition(arguments, voice)
    return _files(arguments, voice, words)


def _usage() -> int:
    from penstock.haproxy import texts  # noqa: PLC0415

    print(texts.version(), end="", flush=True)
    print(texts.usage(_NAME), file=sys.stderr)
    return 1


def _condition(arguments: Arguments, voice: Voice) -> int:
    """0: it holds, 1: it does not, 2: it cannot be understood."""
    from penstock.haproxy.condition import holds  # noqa: PLC0415

    if arguments.condition is None:
        return _usage()
    return holds(arguments.condition, voice)


def _files(arguments: Arguments, voice: Voice, words: list[str]) -> int:
    voice.quiet = arguments.quiet and not arguments.verbose
    roster = _roster()
    if roster is not None and roster.waits:
        from penstock.haproxy import master  # noqa: PLC0415

        return master.wait(roster, arguments, words, voice)
    for complaint in arguments.complaints:
        voice.warning(complaint)
    if arguments.directory is not None:
        try:
            os.chdir(arguments.directory)
        except OSError as error:
            voice.alert(
                f"config : Could not change to directory {arguments.directory} : {error.strerror}"
            )
            return 1
    if not arguments.files:
        return _usage()
    # structlog would load it for colours that nobody sees here, and that takes its time.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    gc.disable()  # what is read and loaded stays; the daemon looks for cycles later
    from penstock.haproxy import reading  # noqa: PLC0415

    if not reading.finds_files(arguments):
        return _usage()
    loaded = reading.read(arguments, voice)
    if loaded is not None and arguments.action is Action.CHECK:
        return reading.say_valid(loaded, voice)
    begin = Start(arguments, words, voice)
    if loaded is None:
        if roster is None:  # there is nothing that could go on
            return 1
        from penstock.haproxy.launching import refused  # noqa: PLC0415

        gc.enable()
        refused(begin, roster)
    from penstock.haproxy.starting import start  # noqa: PLC0415

    gc.enable()
    return start(begin, loaded, roster)


def _roster() -> Roster | None:
    """What a master knows that has executed itself."""
    text = os.environ.get(VARIABLE)
    return Roster.from_text(text) if text else None
