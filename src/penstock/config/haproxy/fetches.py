# SPDX-License-Identifier: Apache-2.0
"""Names of the sample fetches and ACL criteria that HAProxy 2.6 knows (manual 7.3)."""

from __future__ import annotations

from penstock.rules.vocabulary import ACL_KEYWORDS
from penstock.rules.vocabulary import FETCHES as _SIGNATURES

FETCHES = frozenset({*_SIGNATURES, *ACL_KEYWORDS})
