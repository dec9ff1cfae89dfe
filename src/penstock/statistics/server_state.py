# SPDX-License-Identifier: Apache-2.0
"""Lines of ``show servers state``, which ``load-server-state-from-file`` reads again. Pure.

HAProxy's version 1 of that format (its include/haproxy/server-t.h, SRV_STATE_FILE_*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.checks.codes import CheckCode, Outcome
from penstock.health.status import CheckStatus
from penstock.model import Pool, PortMode, RealServer
from penstock.states import Admin

VERSION: Final = 1
NAMES: Final = (
    *("be_id", "be_name", "srv_id", "srv_name", "srv_addr", "srv_op_state", "srv_admin_state"),
    *("srv_uweight", "srv_iweight", "srv_time_since_last_change", "srv_check_status"),
    *("srv_check_result", "srv_check_health", "srv_check_state", "srv_agent_state"),
    *("bk_f_forced_id", "srv_f_forced_id", "srv_fqdn", "srv_port", "srvrecord", "srv_use_ssl"),
    *("srv_check_port", "srv_check_addr", "srv_agent_addr", "srv_agent_port"),
)
HEADER: Final = f"{VERSION}\n# {' '.join(NAMES)}\n"

# HAProxy's numbers of what a check may come to; between are those that mark a beginning.
_NUMBERS: Final = {
    **{CheckCode.UNK: 0, CheckCode.INI: 1, CheckCode.CHECKED: 3, CheckCode.HANA: 4},
    **{CheckCode.SOCKERR: 5, CheckCode.L4OK: 6, CheckCode.L4TOUT: 7, CheckCode.L4CON: 8},
    **{CheckCode.L6OK: 9, CheckCode.L6TOUT: 10, CheckCode.L6RSP: 11, CheckCode.L7TOUT: 12},
    **{CheckCode.L7RSP: 13, CheckCode.L7OK: 15, CheckCode.L7OKC: 16, CheckCode.L7STS: 17},
    **{CheckCode.PROCERR: 18, CheckCode.PROCTOUT: 19, CheckCode.PROCOK: 20},
}
_RESULTS: Final = {
    Outcome.UNKNOWN: 0,
    Outcome.NEUTRAL: 1,
    Outcome.FAILED: 2,
    Outcome.PASSED: 3,
    Outcome.CONDITIONAL: 4,
}
_IN_PROGRESS, _CONFIGURED, _ENABLED, _PAUSED, _AGENT = 1, 2, 4, 8, 16


@dataclass(frozen=True, slots=True)
class StateOf:
    """One server's state; *check* and *agent* are None where it has none."""

    operational: int
    admin: int
    user_weight: int
    last_change: int
    check: CheckStatus | None
    agent: CheckStatus | None
    paused: bool


def number_of(pool: Pool, real: RealServer) -> int:
    """Its id; HAProxy does not number the servers of a disabled backend."""
    return real.id or 0 if pool.disabled else real.link.id


def line(section: int, pool: Pool, real: RealServer, state: StateOf, *, forced: bool) -> str:
    """*section*: the backend's number; *forced*: the file says it."""
    check, agent = state.check, state.agent
    address = real.address if real.link.local is None else None
    check_port = real.check.port if real.check is not None else None
    check_address = real.check.address if real.check is not None else None
    own_agent = real.agent
    fields = (
        section,
        pool.name,
        number_of(pool, real),
        real.name,
        address if address is not None else "-",
        state.operational,
        state.admin,
        state.user_weight,
        real.weight,
        state.last_change,
        _NUMBERS[check.code] if check is not None else 1,
        _RESULTS[check.code.outcome] if check is not None else 0,
        _health(state, real),
        _flags(check, paused=state.paused) | _configured_rest(state),
        _flags(agent, paused=False) | _AGENT if agent is not None else 0,
        int(forced),
        int(real.id is not None),
        real.hostname or "-",
        0 if real.port.mode is PortMode.SAME else real.port.value,
        "-",
        -1 if real.link.no_tls else int(real.link.tls is not None),
        check_port or 0,
        check_address or "-",
        # An agent is where its server's check goes, unless it is elsewhere.
        (own_agent.address if own_agent is not None else None) or check_address or "-",
        own_agent.port if own_agent is not None else check_port or 0,
    )
    return " ".join(map(str, fields)) + "\n"


def _health(state: StateOf, real: RealServer) -> int:
    """Without a check HAProxy counts a server as just up."""
    if state.check is not None:
        return state.check.health
    return real.rise if state.operational else 0


def _configured_rest(state: StateOf) -> int:
    """``disabled`` pauses a server's check also where there is none."""
    out = Admin.CMAINT | Admin.FMAINT
    return _PAUSED if state.admin & out == out else 0


def _flags(check: CheckStatus | None, *, paused: bool) -> int:
    if check is None:
        return 0
    return (
        _CONFIGURED
        | (_ENABLED if check.enabled else 0)
        | (_PAUSED if paused else 0)
        | (_IN_PROGRESS if check.running else 0)
    )
