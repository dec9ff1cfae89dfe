# SPDX-License-Identifier: Apache-2.0
"""What there is to see of peers at one moment. Durations in ms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SharedView:
    """A table as one peer and this node speak of it."""

    name: str
    number: int  # ours
    their_number: int  # 0: the peer has not defined it yet
    acked: int  # the last of our changes that the peer has confirmed
    pushed: int  # the last one told
    received: int  # the last of its changes
    update: int  # the last of ours


@dataclass(frozen=True, slots=True)
class PeerView:
    """One peer; *status* is how its last hello was answered, or how far it came."""

    name: str
    address: str = ""
    port: int = 0
    local: bool = False
    status: str = "NONE"
    is_open: bool = False
    stage: int | None = None  # of the connection, by HAProxy's numbers; None: there is none
    caller: str = ""  # where it has called from; "": we called
    tls: bool = False
    handshake_ago: int | None = None
    call_in: int | None = None
    heartbeat_in: int | None = None
    heartbeats_sent: int = 0
    heartbeats_heard: int = 0
    silences: int = 0  # connections that ended because nothing was heard
    calls: int = 0
    faults: int = 0  # messages that could not be read
    collisions: int = 0  # connections that gave way to one in the other direction
    learning: bool = False  # it is asked for all it knows
    partial: bool = False  # it did not know all
    tables: tuple[SharedView, ...] = ()
    sent_texts: Mapping[int, str] = field(default_factory=dict)  # by number, from 1
    heard_texts: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PeersView:
    """One section at work."""

    name: str
    began: int  # seconds since 1970
    learned: bool  # whether all that peers knew is known here, or nobody was there to tell it
    lesson_in: int  # until nobody is waited for any more; negative: that time is over
    turns: int
    peers: tuple[PeerView, ...]  # without this node
