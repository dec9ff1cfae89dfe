# SPDX-License-Identifier: Apache-2.0
"""Runs command lines: ipvsadm, ipvsadm-save and ipvsadm-restore."""

from __future__ import annotations

import os
from collections.abc import Sequence

from penstock.ipvsadm import connections, listing, messages
from penstock.ipvsadm.line import Exit
from penstock.ipvsadm.names import Numeric
from penstock.ipvsadm.parse import first_option, read
from penstock.ipvsadm.popt import BadOption
from penstock.ipvsadm.request import (
    Do,
    Help,
    ListConnections,
    ListDaemons,
    ListRules,
    ListTimeouts,
    Request,
    Restore,
    Save,
    Version,
    View,
)
from penstock.ipvsadm.restore import Restoring, argument_lists
from penstock.ipvsadm.session import Session, Unavailable

_FAILED = 255


def run(argv: Sequence[str], session: Session) -> int:
    """Do what *argv* says and return the exit status."""
    try:
        # The real program looks for IPVS before it reads its arguments; help needs no such thing.
        if first_option(argv) not in ("help", "version"):
            session.rules.check_user()
        request = read(argv, session.names) if len(argv) > 1 else ListRules(View())
        if isinstance(request, Restore):
            return _restore(argv[0], session)
        return _answer(request, argv[0], session)
    except Unavailable as error:
        session.streams.error(messages.not_there(str(error)))
        return 2
    except BadOption as error:
        session.streams.error(f"{error}\n")
        return _FAILED
    except Exit as end:
        session.streams.error(end.stderr)
        return end.status


def save(argv: Sequence[str], session: Session) -> int:
    """``ipvsadm-save [-n]``."""
    program = os.path.basename(argv[0]) if argv else "ipvsadm-save"
    line = ["ipvsadm", "-S"]
    for word in argv[1:]:
        if not word.startswith("-"):
            break
        if word != "-n":
            session.streams.error(messages.SAVE_USAGE.format(program=program))
            return 1
        line[2:] = ["-n"]
    return run(line, session)


def restore(session: Session) -> int:
    """``ipvsadm-restore``: the table is made empty first, and lines with "#" are left out."""
    lines = session.streams.read().splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("#"))
    run(["ipvsadm", "-C"], session)
    try:
        session.rules.check_user()
        return _restore("ipvsadm", session, text + "\n")
    except Unavailable as error:
        session.streams.error(messages.not_there(str(error)))
        return 2
    except Exit as end:
        session.streams.error(end.stderr)
        return end.status


def _restore(program: str, session: Session, text: str | None = None) -> int:
    restoring = Restoring(session)
    for argv in argument_lists(program, session.streams.read() if text is None else text):
        try:
            request = read(argv, session.names, restoring=True)
        except BadOption as error:
            restoring.complain(f"{error}\n")
            continue
        except Exit:
            restoring.flush()
            raise
        if isinstance(request, Do):
            restoring.add(request.command)
            continue
        restoring.flush()
        restoring.status = _answer(request, program, session)
        if isinstance(request, Help | Version):
            return 0  # which the real program exits with, whatever lines follow
    restoring.flush()
    return restoring.status


def _answer(request: Request, program: str, session: Session) -> int:
    rules, streams = session.rules, session.streams
    if isinstance(request, Help):
        streams.out(messages.help_text(program))
    elif isinstance(request, Version):
        streams.out(messages.VERSION)
    elif isinstance(request, Do):
        code = rules.carry_out((request.command,))[0]
        if code:
            streams.error(messages.kernel_error(request.command, code))
            return _FAILED
    elif isinstance(request, ListRules):
        _list_rules(request, session)
    elif isinstance(request, ListConnections):
        view = request.view
        names = Numeric() if view.numeric else session.names
        engines = view.columns == "persistent-conn"
        streams.out(connections.connection_table(rules.connections(), names, engines=engines))
    elif isinstance(request, ListTimeouts):
        streams.out(listing.timeouts(*rules.timeouts()))
    elif isinstance(request, ListDaemons):
        streams.out(listing.daemons(rules.daemons()))
    elif isinstance(request, Save):
        names = Numeric() if request.view.numeric else session.names
        streams.out(listing.rules(rules.services(), names))
    return 0


def _list_rules(request: ListRules, session: Session) -> None:
    """Raises Exit where the one service is not there."""
    rows = session.rules.services(request.key)
    names = Numeric() if request.view.numeric else session.names
    if request.key is None:
        session.streams.out(listing.whole_table(rows, request.view, names))
    elif rows:
        session.streams.out(listing.one_table(rows, request.view, names))
    else:
        raise Exit(1, messages.NO_SERVICE)
