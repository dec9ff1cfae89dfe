# SPDX-License-Identifier: Apache-2.0
"""``set-var`` under conditions: what a variable is, and was, decides (HAProxy manual 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from penstock.rules.argument_values import check_conditions, check_variable
from penstock.rules.arguments import RuleError
from penstock.rules.samples import Sample
from penstock.rules.subject import Subject


def read_assignment(word: str, usage: str) -> tuple[str, tuple[str, ...]]:
    """Variable and conditions of an action like ``set-var(txn.a,ifexists)``. Raises RuleError."""
    base, opened, rest = word.partition("(")
    if not opened:
        raise RuleError(f"invalid or incomplete action '{word}'. {usage}")
    if not rest.endswith(")"):
        raise RuleError(f"incomplete argument after action '{word}'. {usage}")
    name, *others = rest[:-1].split(",")
    conditions = tuple(takewhile(bool, others))
    if conditions and base == "unset-var":
        raise RuleError(
            'unset-var does not expect parameters after the variable name. Only "set-var" and'
            ' "set-var-fmt" manage conditions'
        )
    check_conditions(conditions)
    try:
        check_variable(name)
    except RuleError as error:
        if "at char" not in error.message:
            raise
        raise RuleError(f"{error.message[:-1]}{rest[len(name) :]}'") from None
    return name, conditions


def assign(subject: Subject, name: str, sample: Sample, conditions: Sequence[str]) -> None:
    """Keep *sample* as variable *name*, if all *conditions* hold (src/vars.c, var_set())."""
    if not conditions or _hold(conditions, name, sample, subject.variable(name)):
        subject.set_variable(name, sample)


def _hold(conditions: Sequence[str], name: str, new: Sample, old: Sample | None) -> bool:
    # Those of the process are made as they are read of, without a value.
    exists = old is not None or name.startswith("proc.")
    text = isinstance(new, (str, bytes))
    refused = {
        "ifexists": not exists,
        "ifnotexists": exists,
        "ifset": old is None,
        "ifnotset": old is not None,
        "ifempty": not text or bool(new),
        "ifnotempty": text and not new,
    }
    if any(refused.get(word, False) for word in conditions):
        return False
    # Numbers alone are compared, and only where one is there.
    if type(new) is not int or type(old) is not int:
        return True
    return ("ifgt" not in conditions or old > new) and ("iflt" not in conditions or old < new)
