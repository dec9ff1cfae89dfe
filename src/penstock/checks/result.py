# SPDX-License-Identifier: Apache-2.0
"""What a protocol's answer says of its server."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.checks.codes import CheckCode


@dataclass(frozen=True, slots=True)
class Result:
    """*info* in HAProxy's words, or the server's; *number* is the protocol's code of an error."""

    code: CheckCode
    info: str = ""
    number: int = 0
