# SPDX-License-Identifier: Apache-2.0
"""Words that tcp-check and http-check lines have in common: formats, samples, bytes."""

from __future__ import annotations

import re

from penstock.checks.model import Format
from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.rules import sources
from penstock.rules.arguments import RuleError
from penstock.rules.expressions import read_expression
from penstock.rules.formats import read_format
from penstock.rules.http_samples import is_of_answer
from penstock.rules.model import Expression
from penstock.rules.support import refuse_expression
from penstock.rules.vocabulary import FETCHES, Checkpoint

# What only those know through whom traffic passes.
_OF_TRAFFIC = re.compile(
    r"(?:fe|be|srv|sc[0-9]?|src|table)_|in_table\Z|connslots\Z|nbsrv\Z|queue\Z|avg_queue\Z|dst_conn\Z"
)
_KNOWN = frozenset({"be_id", "be_name", "srv_id", "srv_name", "src_port", "src_is_local"})


class Reader:
    """One line's samples and formats. Raises LineError, with a message to go behind a head."""

    def __init__(self, context: Context, line: Line) -> None:
        self.context = context
        self.line = line
        self.sources = sources(context, line.origin)

    def sample(self, text: str, what: str, named: str | None = None) -> Expression:
        """*what* is the beginning of a message; *named* is what it calls the sample."""
        try:
            read = read_expression([text], 0, self.sources)
        except RuleError as error:
            raise LineError(f"{what}{error.message}") from None
        if not read.signature.at(Checkpoint.CHECK):
            raise LineError(
                f"{what}{'' if named else ' '}fetch method '{named or text}' extracts information"
                f" from '{read.signature.source}', none of which is available here."
            )
        self.refuse(read.expression)
        return read.expression

    def format(self, text: str) -> Format:
        """A log format."""
        try:
            return self.plain_format(text)
        except LineError as error:
            raise LineError(f"'{text}' invalid log-format string ({error.message}).") from None

    def plain_format(self, text: str, named: str | None = None) -> Format:
        """A log format whose faults are told without it."""
        try:
            parts = read_format(text, self.sources)
        except RuleError as error:
            raise LineError(error.message) from None
        for part in parts:
            if isinstance(part, Expression):
                signature = FETCHES[part.fetch.name]
                if not signature.at(Checkpoint.CHECK):
                    shown = text[text.index("%[") + 2 :]
                    raise LineError(
                        f"sample fetch <{shown}> may not be reliably used here because it needs"
                        f" '{signature.source or 'frontend'}' which is not available here"
                    )
                self.refuse(part)
        return parts

    def refuse(self, expression: Expression) -> None:
        """What HAProxy can look at in a check, and penstock cannot."""
        name = expression.fetch.name
        calls = [name, *(one.name for one in expression.converters)]
        for one in calls:
            if one not in _KNOWN and _OF_TRAFFIC.match(one):
                raise LineError(f"`{one}` is not carried out in health checks.")
        if is_of_answer(name):
            return
        refusal = refuse_expression(expression, self.line.origin)
        if refusal is not None:
            raise LineError(f"{refusal.reason.removeprefix('it uses ')} in health checks.")

    @staticmethod
    def binary(text: str) -> bytes:
        if len(text) % 2:
            raise LineError("an even number of hex digit is expected")
        for char in text:
            if char not in "0123456789abcdefABCDEF":
                raise LineError(f"an hex digit is expected (found '{char}')")
        return bytes.fromhex(text)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
