# SPDX-License-Identifier: Apache-2.0
"""userlist sections: who may see statistics, and with which password (manual 3.4)."""

from __future__ import annotations

from penstock.config.haproxy.draft import Account, Line, UserListDraft
from penstock.config.haproxy.lexer import invalid_char
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError, Report
from penstock.config.haproxy.section_drafts import FileDraft


def parse_userlist(context: Context, line: Line) -> None:
    """One line of a userlist section. Raises LineError."""
    lists = context.draft.userlists
    if line[0] == "userlist":
        _head(context, line)
        return
    if line[0] not in ("user", "group"):
        raise LineError(f"unknown keyword '{line[0]}' in 'users' section")
    if not line[1]:
        raise LineError(f"'{line[0]}' expects <name> as arguments.")
    if lists:
        (_user if line[0] == "user" else _group)(context, line, lists[-1])


def _head(context: Context, line: Line) -> None:
    name = line[1]
    if not name:
        raise LineError("'userlist' expects <name> as arguments.")
    if line[2]:
        raise LineError(f"'userlist' cannot handle unexpected argument '{line[2]}'.")
    if (char := invalid_char(name)) is not None:
        raise LineError(f"character '{char}' is not permitted in 'userlist' name '{name}'.")
    if any(one.name == name for one in context.draft.userlists):
        context.report.warn(line.origin, f"ignoring duplicated userlist '{name}'.")
    context.draft.userlists.append(UserListDraft(name, line.origin))


def _user(context: Context, line: Line, users: UserListDraft) -> None:
    name = line[1]
    if any(one.name == name for one in users.users):
        context.report.warn(
            line.origin, f"ignoring duplicated user '{name}' in userlist '{users.name}'."
        )
        return
    account = Account(name)
    at = 2
    while word := line[at]:
        match word:
            case "password" | "insecure-password":
                account.password, account.hashed = line[at + 1], word == "password"
            case "groups":
                account.groups += [one for one in line[at + 1].split(",") if one]
            case _:
                raise LineError(
                    "'user' only supports 'password', 'insecure-password' and 'groups' options."
                )
        at += 2
    users.users.append(account)


def _group(context: Context, line: Line, users: UserListDraft) -> None:
    name = line[1]
    if name in users.groups:
        context.report.warn(
            line.origin, f"ignoring duplicated group '{name}' in userlist '{users.name}'."
        )
        return
    if line[2] and line[2] != "users":
        raise LineError("'group' only supports 'users' option.")
    users.groups[name] = [one for one in line[3].split(",") if one]


def check_userlists(draft: FileDraft, report: Report) -> bool:
    """Whether users and groups name each other; the first fault is reported, as by HAProxy."""
    for one in draft.userlists:
        names = {user.name for user in one.users}
        faults = [
            f"no such group '{group}' specified in user '{user.name}'"
            for user in one.users
            for group in user.groups
            if group not in one.groups
        ]
        faults += [
            f"no such user '{user}' specified in group '{group}'"
            for group, users in one.groups.items()
            for user in users
            if user not in names
        ]
        if faults:
            report.error(one.origin, f"userlist '{one.name}': {faults[0]}", parsing=False)
            return False
    return True
