# SPDX-License-Identifier: Apache-2.0
"""The rows of servers: their fields as columns, each made for all servers at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.checks.codes import Outcome
from penstock.health.status import CheckStatus
from penstock.statistics.counted import NEVER, ago
from penstock.statistics.counted_columns import CountedColumns, Figures
from penstock.statistics.roster import CONFIGURED
from penstock.statistics.server_fields import status
from penstock.statistics.servers import Servers
from penstock.statistics.shapes import Column, Same, Value

FIELDS: Final = (
    "pxname svname qcur qmax scur smax slim stot bin bout dresp econ eresp wretr wredis status"
    " weight act bck chkfail chkdown lastchg downtime qlimit iid sid throttle lbtot tracked rate"
    " rate_max check_status check_code check_duration hanafail cli_abrt srv_abrt lastsess"
    " last_chk last_agt qtime ctime ttime agent_status agent_code agent_duration check_desc"
    " agent_desc check_rise check_fall check_health agent_rise agent_fall agent_health addr"
    " cookie mode connect qtime_max ctime_max ttime_max used_conn_cur need_conn_est uweight"
    " src_ilim"
)
_NOTHING: Final = Same(None)
_ZEROS: Final = Same(0)
# Fields that are figures as they stand.
_FIGURES: Final = {
    **{"qcur": "queued", "qmax": "queued_max", "scur": "live", "smax": "live_max"},
    **{"stot": "total", "bin": "bytes_in", "bout": "bytes_out", "dresp": "denied_responses"},
    **{"econ": "errors", "eresp": "response_errors", "wretr": "retries"},
    **{"wredis": "redispatches", "lbtot": "chosen"},
    **{"rate": "rate", "rate_max": "rate_max"},
    **{"cli_abrt": "client_aborts", "srv_abrt": "server_aborts", "connect": "total"},
    **{"qtime_max": "queue_time_max", "ctime_max": "connect_time_max"},
    **{"ttime_max": "total_time_max", "used_conn_cur": "live", "need_conn_est": "live"},
}
_AVERAGES: Final = {"qtime": "queue_time", "ctime": "connect_time", "ttime": "total_time"}


def columns(servers: Servers, *, now: float, legends: bool) -> dict[str, Column]:
    """All of ``FIELDS``; *legends*: also who may see where servers are."""
    return {
        **_configured(servers, legends=legends),
        **_state(servers),
        **_checked(servers),
        **_asked(servers.agents),
        **_counted(servers.counted, now),
    }


def _configured(servers: Servers, *, legends: bool) -> dict[str, Column]:
    rows = [one.configured for one in servers.members]
    columns: dict[str, Column] = dict(zip(CONFIGURED, zip(*rows, strict=True), strict=True))
    if not legends:
        columns["addr"] = _NOTHING
    return columns


def _state(servers: Servers) -> dict[str, Column]:
    reals = [one.real for one in servers.members]
    stands = zip(servers.operational, servers.admin, servers.references, reals, strict=True)
    return {
        "status": [
            status(operational, admin, *reference, real.tracks)
            for operational, admin, reference, real in stands
        ],
        "weight": servers.weights,
        "uweight": servers.user_weights,
        "throttle": servers.throttles,
        "lastchg": servers.last_change,
        "hanafail": [
            None if real.observed is None else check.observed_failures if check is not None else 0
            for real, check in zip(reals, servers.checks, strict=True)
        ],
        "cookie": _NOTHING,
    }


def _checked(servers: Servers) -> dict[str, Column]:
    checks = servers.checks
    # In maintenance nobody checks.
    seen = [None if paused else check for check, paused in zip(checks, servers.paused, strict=True)]
    results = _results(
        seen, status="check_status", code="check_code", said="last_chk", about="check"
    )
    own: dict[str, Column] = dict.fromkeys(("chkfail", "chkdown", "downtime"), _NOTHING)
    if any(checks):
        own = {
            "chkfail": [check.failures if check is not None else None for check in checks],
            "chkdown": _where(checks, servers.downs),
            "downtime": _where(checks, servers.downtime),
        }
    return results | own


def _where(checks: Sequence[CheckStatus | None], column: Sequence[int]) -> list[int | None]:
    """*column* of those that are checked."""
    return [one if check is not None else None for check, one in zip(checks, column, strict=True)]


def _asked(agents: Sequence[CheckStatus | None]) -> dict[str, Column]:
    return _results(
        agents, status="agent_status", code="agent_code", said="last_agt", about="agent"
    )


def _results(
    checks: Sequence[CheckStatus | None], *, status: str, code: str, said: str, about: str
) -> dict[str, Column]:
    """What they came to, as the fields of these names; None: there is no check."""
    names = (
        *(status, code, f"{about}_duration", said, f"{about}_desc"),
        *(f"{about}_rise", f"{about}_fall", f"{about}_health"),
    )
    if not any(checks):
        return dict.fromkeys(names, _NOTHING)
    results = [_NO_RESULT if one is None else _result(one) for one in checks]
    return dict(zip(names, zip(*results, strict=True), strict=True))


_NO_RESULT: Final = (None,) * 8
_UNKNOWN: Final = Outcome.UNKNOWN


def _result(check: CheckStatus) -> tuple[Value, ...]:
    # Taken apart in one go: looking up its fields takes longer than all the rest.
    _, health, rise, fall, code, info, number, duration, _, running, _, _, _ = check
    return (
        f"* {code}" if running else code,
        number if code.has_number else None,
        None if duration < 0 or code.outcome is _UNKNOWN else duration,
        info,
        code.description,
        rise,
        fall,
        health,
    )


def _counted(counted: CountedColumns, now: float) -> dict[str, Column]:
    found = {name: _shown(counted.column(figure)) for name, figure in _FIGURES.items()}
    found |= {name: _shown(counted.averages(figure)) for name, figure in _AVERAGES.items()}
    last = counted.column("last")
    found["lastsess"] = [ago(now, one) for one in last] if last else Same(NEVER)
    return found


def _shown(figures: Figures) -> Column:
    return figures or _ZEROS
