# SPDX-License-Identifier: Apache-2.0
"""HAProxy's checks of stick rules, tables and peers once everything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from penstock.config.haproxy.draft import ProxyDraft
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.section_drafts import FileDraft, PeersDraft
from penstock.rules.conditions import settle
from penstock.rules.expressions import CASTS
from penstock.rules.model import Criterion
from penstock.rules.vocabulary import Type
from penstock.stick.model import KeyType, StickKind, StickRule, Stored, TableSpec
from penstock.terms import Origin

KEY_TYPES: Final = {
    KeyType.IP: Type.IPV4,
    KeyType.IPV6: Type.IPV6,
    KeyType.INTEGER: Type.INT,
    KeyType.STRING: Type.STRING,
    KeyType.BINARY: Type.BINARY,
}
_SERVER = ("server_id", "server_key")  # what HAProxy adds to tables that stick rules use


def check_stick(
    draft: FileDraft, proxy: ProxyDraft, tables: Mapping[str, TableSpec], report: Report
) -> None:
    """Whether the tables that *proxy* names are there and suit its samples."""
    for line in proxy.sticks:
        wanted = proxy.name if line.rule.table is None else line.rule.table
        table = tables.get(wanted)
        fault = None
        if table is None:
            stored = line.rule.kind is StickKind.STORE_RESPONSE
            fault = f"unable to find {'store table' if stored else 'stick-table'} '{wanted}'."
        elif KEY_TYPES[table.key] not in CASTS[line.output]:
            fault = f"type of fetch not usable with type of stick-table '{wanted}'."
        if fault is not None:
            report.error(line.rule.origin, f"Proxy '{proxy.name}': {fault}", parsing=False)
    if proxy.stick_table is not None and proxy.stick_table.peers is not None:
        _sync(draft, proxy, proxy.stick_table.peers, proxy.stick_table.origin, report)


def _sync(draft: FileDraft, proxy: ProxyDraft, wanted: str, origin: Origin, report: Report) -> None:
    section = next((one for one in draft.peers if one.name == wanted), None)
    if section is None:
        report.error(
            origin, f"Proxy '{proxy.name}': unable to find sync peers '{wanted}'.", parsing=False
        )
    elif not section.disabled and not section.lines:
        report.error(
            origin,
            f"Proxy '{proxy.name}': unable to find local peer '{section.local}' in peers section"
            f" '{wanted}'.",
            parsing=False,
        )


def check_peers(draft: FileDraft, report: Report) -> None:
    """Warn of sections that HAProxy removes because they do not name this node."""
    for section in draft.peers:
        if not section.disabled and not complete(section):
            report.warn(
                section.origin,
                f"Removing incomplete section 'peers {section.name}' (no peer named"
                f" '{section.local}').",
                parsing=False,
            )


def complete(section: PeersDraft) -> bool:
    """Whether *section* says where this node listens for its peers."""
    return section.listen is not None and section.local_origin is not None


def tables_of(draft: FileDraft) -> dict[str, TableSpec]:
    """All that are written, by name."""
    tables = {one.stick_table.name: one.stick_table for one in draft.proxies if one.stick_table}
    for section in draft.peers:
        tables.update({table.name: table for table in section.tables})
    return tables


def settle_sticks(draft: FileDraft) -> None:
    """Complete stick rules with all lines of their ACLs, and their tables with what they store."""
    used: set[str] = set()
    for proxy in draft.proxies:
        proxy.sticks = [
            replace(line, rule=_settled(line.rule, proxy.acls)) for line in proxy.sticks
        ]
        used |= {
            proxy.name if line.rule.table is None else line.rule.table for line in proxy.sticks
        }
    for proxy in draft.proxies:
        if proxy.stick_table is not None and proxy.name in used:
            proxy.stick_table = _remembering(proxy.stick_table)
    for section in draft.peers:
        section.tables = [
            _remembering(table) if table.name in used else table for table in section.tables
        ]


def _settled(rule: StickRule, acls: Mapping[str, tuple[Criterion, ...]]) -> StickRule:
    if rule.condition is None:
        return rule
    return replace(rule, condition=settle(rule.condition, acls))


def _remembering(table: TableSpec) -> TableSpec:
    stored = {one.name for one in table.stored}
    missing = tuple(Stored(name) for name in _SERVER if name not in stored)
    return replace(table, stored=(*table.stored, *missing)) if missing else table
