# SPDX-License-Identifier: Apache-2.0
"""``show peers``: whom stick tables are shared with (HAProxy's src/peers.c).

What stands for an address in memory is a number that stays the same, as of entries of tables.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence

from penstock.proxied import LocalAddress
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, command
from penstock.runtime_api.request import Arguments
from penstock.stick.peers_view import PeersView, PeerView, SharedView
from penstock.stick.sections import PeersSpec

_TEXTS = 128  # that either side remembers (PEER_STKT_CACHE_MAX_ENTRIES)
_NEVER, _PAST = "<NEVER>", "<PAST>"
_LOCAL_DONE, _REMOTE_DONE, _ASSIGNED = 0x11, 0x02, 0x0C  # flags of a section
_ALIVE, _LEARNING, _PARTIAL = 0x20000000, 0x100, 0x200  # flags of a peer


def _show_peers(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    words = list(arguments[2:])
    with_texts = words[:1] == ["dict"]
    if words[:1] in (["dict"], ["-"]):
        del words[0]
    sections = context.controller.configuration.peers[::-1]
    if words:
        sections = tuple(one for one in sections if one.name == words[0])
        if not sections:
            raise CommandFailed("No such peers\n")
    views = {
        view.name: view for keeper in context.controller.stick_tables for view in keeper.peers()
    }
    return "\n".join(
        "".join(_section(one, views.get(one.name), int(context.runtime.started), texts=with_texts))
        for one in sections
    )


def _section(spec: PeersSpec, view: PeersView | None, began: int, *, texts: bool) -> Iterator[str]:
    """*view* None: it does not run, for it has no tables, or is disabled."""
    flags, turns, lesson = _LOCAL_DONE, 0, _NEVER
    peers = {one.name: one for one in view.peers} if view is not None else {}
    if view is not None:
        began, turns, lesson = view.began, view.turns, _time_left(view.lesson_in)
        flags |= _REMOTE_DONE if view.learned else 0
        flags |= _ASSIGNED if any(one.learning for one in view.peers) else 0
    when = time.strftime("%d/%b/%Y:%H:%M:%S", time.localtime(began))
    yield (
        f"{_place('peers', spec.name)}: [{when}] id={spec.name} disabled={int(spec.disabled)}"
        f" flags=0x{flags:x} resync_timeout={lesson} task_calls={turns}\n"
    )
    for one in reversed(spec.peers):
        idle = PeerView(one.name, str(one.address), one.port)
        yield from _peer(spec, peers.get(one.name, idle), texts=texts)
    yield from _peer(spec, _here(spec, view), texts=texts)


def _here(spec: PeersSpec, view: PeersView | None) -> PeerView:
    """This node among its peers."""
    address, port = spec.listen if spec.listen is not None else ("", 0)
    shown = address.name if isinstance(address, LocalAddress) else str(address)
    tables = view.peers[0].tables if view is not None and view.peers else ()
    silent = tuple(SharedView(one.name, one.number, 0, 0, 0, 0, one.update) for one in tables)
    return PeerView(spec.local, shown, port, local=True, tables=silent)


def _peer(spec: PeersSpec, peer: PeerView, *, texts: bool) -> Iterator[str]:
    whose = f"{spec.name}/{peer.name}"
    ago = _NEVER if peer.handshake_ago is None else _human(peer.handshake_ago)
    side = "local" if peer.local else "remote"
    active = "inactive" if peer.stage is None else "active"
    yield (
        f"  {_place('peer', whose)}: id={peer.name}({side},{active})"
        f" addr={peer.address}:{peer.port} last_status={peer.status} last_hdshk={ago}\n"
        f"        reconnect={_time_left(peer.call_in)} heartbeat={_time_left(peer.heartbeat_in)}"
        f" confirm=0 tx_hbt={peer.heartbeats_sent} rx_hbt={peer.heartbeats_heard}"
        f" no_hbt={peer.silences} new_conn={peer.calls} proto_err={peer.faults}"
        f" coll={peer.collisions}\n"
    )
    flags = _ALIVE if peer.is_open else 0
    flags |= (_LEARNING if peer.learning else 0) | (_PARTIAL if peer.partial else 0)
    yield f"        flags=0x{flags:x}"
    if peer.stage is not None:
        state = "EST" if peer.is_open or peer.caller else "CON"
        yield f" appctx:{_place('link', whose)} st0={peer.stage} st1=0 task_calls=0 state={state}"
        if peer.caller:
            yield f"\n        xprt={'SSL' if peer.tls else 'RAW'} src={peer.caller}"
    if peer.tables:
        yield "\n        shared tables:"
    for table in peer.tables:
        yield from _table(whose, table)
        if texts:
            yield "\n        TX dictionary cache:"
            yield from _cells([peer.sent_texts[at] for at in sorted(peer.sent_texts)])
            yield "\n        RX dictionary cache:"
            yield from _cells([peer.heard_texts.get(at + 1, "-") for at in range(_TEXTS)])
        else:
            yield '\n        Dictionary cache not dumped (use "show peers dict")'
    yield "\n"


def _table(whose: str, table: SharedView) -> Iterator[str]:
    yield (
        f"\n          {_place('shared', f'{whose}/{table.name}')} local_id={table.number}"
        f" remote_id={table.their_number} flags=0x0 remote_data=0x0"
        f"\n              last_acked={table.acked} last_pushed={table.pushed}"
        f" last_get={table.received} teaching_origin=0 update=0"
        f"\n              table:{_place('table', table.name)} id={table.name}"
        f" update={table.update} localupdate={table.update} commitupdate={table.pushed}"
        f" refcnt=1"
    )


def _cells(texts: Sequence[str]) -> Iterator[str]:
    for at, text in enumerate(texts):
        yield ("\n        " if at % 4 == 0 else "") + f"  {at:3} -> {text}"


def _place(kind: str, name: str) -> str:
    return f"0x{zlib.crc32(f'{kind} {name}'.encode()):012x}"


def _time_left(left: int | None) -> str:
    if left is None:
        return _NEVER
    return _PAST if left < 0 else _human(left)


def _human(milliseconds: int) -> str:
    """Two units at most, the larger first."""
    seconds = milliseconds // 1000
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count = seconds // size
        seconds -= count * size
        if len(parts) < 2 and count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


COMMANDS = (
    command(
        "show peers",
        "show peers [dict|-] [section]           :"
        " dump some information about all the peers or this peers section",
        _show_peers,
    ),
)
