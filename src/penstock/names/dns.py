# SPDX-License-Identifier: Apache-2.0
"""`resolvers` sections as the follower knows them."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.config.haproxy import Resolvers
from penstock.config.haproxy.address import AddressFamilyPreference
from penstock.config.resolve import ResolutionError, query
from penstock.names.follower import Ask, Question
from penstock.names.group import Failed, Found, Outcome, Section


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


def asker(resolvers: Sequence[Resolvers]) -> Ask:
    """Asks the name servers of a question's section."""
    by_name = {one.name: one for one in resolvers}

    def ask(question: Question) -> Outcome:
        preference = (
            AddressFamilyPreference.PREFER_IPV4
            if question.ipv4_first
            else AddressFamilyPreference.PREFER_IPV6
        )
        try:
            return Found(query(by_name[question.section], question.hostname, preference))
        except ResolutionError as error:
            return Failed(error.kind, str(error))

    return ask
