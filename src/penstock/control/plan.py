# SPDX-License-Identifier: Apache-2.0
"""What must be done to make an engine hold the desired state: ordered steps. Pure.

Additions come before removals, and things before what refers to them: were a pool switched to a
table with a real server that the engine does not know yet, or a real forgotten while a table
still names it, the new flows in between would go to whoever gets that number next. Going down
the list, traffic sees the old state, then each service's new state, and never a mixture within
one service.
"""

from __future__ import annotations

from penstock.engine.api import (
    DatapathState,
    ObservedState,
    PutPool,
    PutReal,
    PutService,
    RemovePool,
    RemoveService,
    RetireReal,
    SetMaxconn,
    SetPeers,
    SetTables,
    Step,
    fingerprint,
)


def diff(observed: ObservedState, desired: DatapathState) -> tuple[Step, ...]:
    """The steps from *observed* to *desired*, in the order to apply them; none when equal."""
    steps: list[Step] = []
    if observed.maxconn != desired.maxconn:
        steps.append(SetMaxconn(desired.maxconn))
    if observed.peers != desired.peers:  # before the tables that are shared with them
        steps.append(SetPeers(desired.peers))
    if observed.tables != desired.tables:  # before the rules that name them
        steps.append(SetTables(desired.tables))
    steps += [
        PutReal(state) for key, state in desired.reals.items() if observed.reals.get(key) != state
    ]
    steps += [
        PutPool(pool)
        for name, pool in desired.pools.items()
        if observed.pools.get(name) != fingerprint(pool)
    ]
    steps += [
        PutService(service)
        for name, service in desired.services.items()
        if observed.services.get(name) != fingerprint(service)
    ]
    steps += [RemoveService(name) for name in observed.services if name not in desired.services]
    steps += [RemovePool(name) for name in observed.pools if name not in desired.pools]
    steps += [RetireReal(key) for key in observed.reals if key not in desired.reals]
    return tuple(steps)
