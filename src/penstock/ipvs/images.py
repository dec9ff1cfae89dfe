# SPDX-License-Identifier: Apache-2.0
"""A virtual service as the datapath is to have it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.engine.api import ServiceImage
from penstock.ipvs import dh, mh, sh
from penstock.ipvs.model import Destination
from penstock.ipvs.table import Rule


def image(
    rule: Rule, dests: tuple[Destination, ...], *, fresh: bool, changed: bool
) -> ServiceImage:
    """The image of *rule*, with the weights that *dests* have now."""
    table = _TABLES.get(rule.service.scheduler, _none)
    return ServiceImage(
        service=rule.service,
        dests=dests,
        table=table(rule, dests),
        fresh=fresh,
        changed=changed,
    )


def _none(_rule: Rule, _dests: Sequence[Destination]) -> tuple[int, ...]:
    return ()


def _mh(rule: Rule, dests: Sequence[Destination]) -> tuple[int, ...]:
    return mh.table(
        tuple(
            # A check that fails must not move anybody else's clients: as a weight of 0.
            mh.Member(
                dest.address, dest.port, rule.last_weight(rule.dests[dest.address, dest.port])
            )
            for dest in dests
        )
    )


_TABLES: dict[str, Callable[[Rule, Sequence[Destination]], tuple[int, ...]]] = {
    "dh": lambda _rule, dests: dh.table(len(dests)),
    "sh": lambda _rule, dests: sh.table(tuple(dest.weight for dest in dests)),
    "mh": _mh,
}
