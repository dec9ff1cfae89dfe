# SPDX-License-Identifier: Apache-2.0
"""Servers given by name: which addresses they have as DNS changes (`resolvers` sections)."""

from penstock.names.dns import asker, sections
from penstock.names.follower import Changes, Follower, Question
from penstock.names.group import Failed, Found, Group, Member, Outcome, Place, Section
from penstock.names.ledger import Ledger
from penstock.names.placed import told, why_gone, with_places

__all__ = [
    "Changes",
    "Failed",
    "Follower",
    "Found",
    "Group",
    "Ledger",
    "Member",
    "Outcome",
    "Place",
    "Question",
    "Section",
    "asker",
    "sections",
    "told",
    "why_gone",
    "with_places",
]
