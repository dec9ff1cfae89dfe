# SPDX-License-Identifier: Apache-2.0
"""``show sess`` and ``shutdown session`` (management guide, 9.3).

The kernel engine's flows are listed like sessions, without what the datapath does not keep: bytes,
and descriptors. The numbers that HAProxy has of its buffers are those of an idle connection.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Final

from penstock.engine.sessions import SessionView
from penstock.errors import DatapathError
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel
from penstock.statistics.view import View


def _show_sess(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    word = arguments[2]
    if word == "all":
        return _details(context)
    number = _number(word)
    if number:
        return _detail(context.view(), _session(context, number))
    return _lines(context)


def _number(word: str) -> int:
    """A session's; 0: *word* is none, and all are meant."""
    try:
        return int(word, 0) if word else 0
    except ValueError:
        return 0


def _sessions(context: Context) -> Iterator[Sequence[SessionView]]:
    for engine in context.controller.engines:
        with contextlib.suppress(DatapathError):  # a worker that does not answer: those of others
            yield from engine.sessions()


def _session(context: Context, number: int) -> SessionView:
    for engine in context.controller.engines:
        with contextlib.suppress(DatapathError):
            found = engine.session(number)
            if found is not None:
                return found
    raise CommandFailed("Session not found.")


def _lines(context: Context) -> Iterator[str]:
    names = {one.name: one.proxy for one in context.controller.configuration.services}
    for page in _sessions(context):
        yield "".join(_line(one, names.get(one.service, one.service)) for one in page)


def _line(one: SessionView, frontend: str) -> str:
    left = _time(one.left)
    age = _time(one.age) if one.age is not None else "?"
    return (
        f"{one.id:#x}: proto={one.protocol} src={one.source} fe={frontend}"
        f" be={one.pool or '<NONE>'} srv={one.server or '<none>'} ts=00 epoch=0 age={age}"
        f" calls=1 rate=0 cpu=0 lat=0 rq[f=848202h,i=0,an=00h,rx={left},wx=,ax=]"
        f" rp[f=80048202h,i=0,an=00h,rx={left},wx=,ax=] scf=[8,0h,fd={one.client_fd}]"
        f" scb=[{8 if one.server_fd >= 0 else 0},1h,fd={one.server_fd}]"
        f" exp={left} rc={one.retries} c_exp=\n"
    )


def _time(seconds: float | None) -> str:
    """As "1m5s"; the two largest units that there are."""
    if seconds is None:
        return ""
    rest = max(0, int(seconds))
    found: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or (unit == "s" and not found):
            found.append(f"{count}{unit}")
    return "".join(found[:2])


def _details(context: Context) -> Iterator[str]:
    view = context.view()
    for page in _sessions(context):
        yield "".join(_detail(view, one) for one in page)


def _detail(view: View, one: SessionView) -> str:
    """All that is known of one session, on lines as HAProxy's."""
    frontend = view.proxy_of(one.service)
    front, back = view.section(frontend), view.section(one.pool)
    server = view.real((one.pool, one.server))
    when = time.strftime("%d/%b/%Y:%H:%M:%S", time.localtime(time.time() - (one.age or 0)))
    left = _time(one.left) or "<NEVER>"
    lines = [
        f"{one.id:#x}: [{when}.000000] id={one.id & 0xFFFFFF} proto={one.protocol}"
        f" source={one.source}",
        f"  flags=0x0, conn_retries={one.retries}, conn_exp=<NEVER> conn_et=0x000 srv_conn=(nil),"
        f" pend_pos={'0x1' if one.waiting else '(nil)'} waiting={int(one.waiting)} epoch=0",
        f"  frontend={frontend} (id={front.id if front else 0}"
        f" mode={front.mode if front else '-'}), listener=? (id=1)",
        f"  backend={one.pool or '<NONE>'} (id={back.id if back else -1}"
        f" mode={back.mode if back else '-'})",
        f"  server={one.server or '<NONE>'} (id={server.link.id if server else -1})",
        f"  scf=0x0 flags=0x00000000 state=EST fd={one.client_fd} total={one.received}",
        f"  scb=0x0 flags=0x00000001 state={'EST' if one.server_fd >= 0 else 'CLO'}"
        f" fd={one.server_fd} total={one.sent}",
        f"  task=0x0 (state=0x00 nice=0 calls=1 rate=0 exp={left}"
        f" age={_time(one.age) if one.age is not None else '?'})",
    ]
    return "\n".join(lines) + "\n"


def _shutdown_session(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    if not arguments[2]:
        raise CommandFailed("Session pointer expected (use 'show sess').")
    number = _number(arguments[2])
    if not any(engine.end_session(number) for engine in context.controller.engines):
        raise CommandFailed("No such session (use 'show sess').")
    return ""


COMMANDS: Final = (
    command(
        "show sess",
        "show sess [id]                          :"
        " report the list of current sessions or dump this exact session",
        _show_sess,
        AccessLevel.OPERATOR,
    ),
    command(
        "shutdown session",
        "shutdown session [id]                   : kill a specific session",
        _shutdown_session,
        AccessLevel.ADMIN,
    ),
)
