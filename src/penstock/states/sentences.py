# SPDX-License-Identifier: Apache-2.0
"""HAProxy's words for changes of a server's state (its src/server.c, srv_update_status())."""

from __future__ import annotations

from penstock.states.model import DRAIN, Admin, Operational, ServerSpec


def named(spec: ServerSpec) -> str:
    return f"{'Backup ' if spec.backup else ''}Server {spec}"


def via(spec: ServerSpec) -> str:
    """Whom a server has its state from; empty: itself."""
    return f" via {spec.tracks[0]}/{spec.tracks[1]}" if spec.tracks is not None else ""


def because(cause: str) -> str:
    return f" ({cause})" if cause else ""


def left(*, up: bool, active: int, backup: int, sessions: int) -> str:
    """Who is left, or back; *sessions* are those of a server that went down.

    There is nothing to say of queues: they empty themselves into what is left.
    """
    running = " Running on backup." if backup and not active else ""
    how = "online" if up else "left"
    head = f". {active} active and {backup} backup servers {how}.{running}"
    if up:
        return f"{head} 0 sessions requeued, 0 total in queue"
    return f"{head} {sessions} sessions active, 0 requeued, 0 remaining in queue"


def back_from(spec: ServerSpec, flag: Admin, state: Operational, admin: Admin) -> str:
    """A server's maintenance is over, the last reason for it having been *flag*."""
    how = "DOWN" if state is Operational.STOPPED else "UP"
    ready = "DRAIN" if admin & DRAIN else "READY"
    if flag is Admin.RMAINT:
        return f"{named(spec)} ('{spec.hostname}') is {how}/{ready} (resolves again)"
    forced = "forced " if flag is Admin.FMAINT else ""
    return f"{named(spec)} is {how}/{ready} (leaving {forced}maintenance)"


def still_in_maintenance(spec: ServerSpec, flag: Admin) -> str:
    """One reason for a server's maintenance is gone, and not the last one."""
    if flag is Admin.FMAINT:
        return f"{named(spec)} is leaving forced maintenance but remains in maintenance{via(spec)}"
    if flag is Admin.RMAINT:
        head = f"{named(spec)} ('{spec.hostname}')"
        return f"{head} resolves again but remains in maintenance{via(spec)}"
    return f"{named(spec)} remains in forced maintenance"


def still_draining(spec: ServerSpec, admin: Admin) -> str:
    """Its reasons for draining have changed."""
    if admin & Admin.FDRAIN:
        return f"{named(spec)} remains in forced drain mode"
    return f"{named(spec)} is leaving forced drain but remains in drain mode{via(spec)}"
