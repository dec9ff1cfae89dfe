# SPDX-License-Identifier: Apache-2.0
"""`resolvers` sections as the follower knows them.

What asks name servers is imported with the first question: it takes its time, and most
configurations have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from penstock.config.haproxy import Resolvers
from penstock.config.haproxy.address import AddressFamilyPreference
from penstock.model import Address
from penstock.names.follower import Ask, Question
from penstock.names.group import Failed, Found, Outcome, Place, Section
from penstock.names.ledger import Count, Ledger


def sections(resolvers: Sequence[Resolvers]) -> tuple[Section, ...]:
    """What they say of time."""
    return tuple(
        Section(
            name=one.name,
            retry_after=one.timeout_resolve,
            hold_valid=one.hold["valid"],
            hold=one.hold,
        )
        for one in resolvers
    )


def asker(resolvers: Sequence[Resolvers], ledger: Ledger) -> Ask:
    """Asks the name servers of a question's section; *ledger* is told how they answer."""
    by_name = {one.name: one for one in resolvers}

    def ask(question: Question) -> Outcome:
        from penstock.config.resolve import ResolutionError, query, query_srv  # noqa: PLC0415

        preference = (
            AddressFamilyPreference.PREFER_IPV4
            if question.ipv4_first
            else AddressFamilyPreference.PREFER_IPV6
        )
        section = by_name[question.section]
        count = partial(ledger.count, section.name)
        try:
            if not question.is_srv:
                return Found(
                    tuple(map(Place, query(section, question.hostname, preference, count)))
                )
            return Found(
                tuple(
                    Place(address, record.port, record.weight)
                    for record in query_srv(section, question.hostname, count)
                    for address in _first(section, record.target, preference, count)
                )
            )
        except ResolutionError as error:
            return Failed(error.kind, str(error))

    return ask


def _first(
    section: Resolvers, host: str, preference: AddressFamilyPreference, count: Count
) -> tuple[Address, ...]:
    """The address of an SRV record's host; none when it has none, which is that server's affair."""
    from penstock.config.resolve import ResolutionError, query  # noqa: PLC0415

    try:
        return query(section, host, preference, count)[:1]
    except ResolutionError:
        return ()
