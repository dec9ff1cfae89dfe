# SPDX-License-Identifier: Apache-2.0
"""set-var and set-var-fmt of the global section (manual 3.1): their faults.

They are not carried out. Only what needs no connection may stand in them.
"""

from __future__ import annotations

from penstock.config.haproxy.draft import Line
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.rules import sources
from penstock.config.haproxy.section_drafts import GlobalDraft
from penstock.rules.argument_values import check_variable
from penstock.rules.arguments import RuleError
from penstock.rules.expressions import read_expression
from penstock.rules.formats import read_format
from penstock.rules.vocabulary import Checkpoint


def parse_variable(context: Context, settings: GlobalDraft, line: Line) -> None:
    """One line of the two. Raises LineError."""
    kind, name = line[0], line[1]
    formatted = kind == "set-var-fmt"
    settings.seen.setdefault(kind, line.origin)
    if not name or not line[2]:
        what = "a format string" if formatted else "a sample expression"
        raise LineError(
            f"'{kind}' requires a process-wide variable name ('proc.<name>') and {what}."
        )
    try:
        check_variable(name)
        if formatted:
            read_format(line[2], sources(context, line.origin))
        else:
            _expression(context, line)
    except RuleError as error:
        raise LineError(error.message) from None
    if not name.startswith("proc."):
        raise LineError(
            f"'{kind}': cannot set variable '{name}', only scope 'proc' is permitted in the global"
            " section."
        )


def _expression(context: Context, line: Line) -> None:
    read = read_expression(line.words, 2, sources(context, line.origin))
    if not read.signature.at(Checkpoint.CONFIGURATION):
        source = read.signature.source or "client address"  # which connections always have
        raise RuleError(
            f"fetch method 'set-var({line[1]})' extracts information from '{source}', none of which"
            " is available here"
        )
