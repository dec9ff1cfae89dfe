# SPDX-License-Identifier: Apache-2.0
"""How HAProxy 2.6 begins a message about a line: not always ``parsing [file:line] : ``."""

from __future__ import annotations

import re
from typing import Final

TIGHT: Final = "parsing {}: "
CAPITAL: Final = "Parsing {}: "

# As its sources write them; how the messages begin, by where they are from.
_CAPITAL: Final = (
    r"failed to parse (?:log-format|log-format-sd|error-log-format|unique-id|use_backend rule)\b",
    r".* has (?:the )?same name as ",
)
_TIGHT: Final = (
    # src/cfgparse.c: lines, words and blocks
    r"Missing LF|Stray NUL|Unexpected argument|forbidden first char|line too long|non-terminated",
    r"too many (?:fatal|words|nested)|truncated or invalid|unmatched (?:quote|brace)",
    r"'[^']*'\.$",  # what a directive has told
    r"unknown directive|unknown keyword '.*' (?:out of section|in 'users' section)",
    r"lone '\.|'\.el(?:if|se)' after|.* in '\.(?:el)?if' at position|failed to apply default-path",
    r"negation/default (?:currently supported|is not supported)",
    # users, groups and name spaces
    r"ignoring duplicated (?:userlist|group|user)|the encrypted password",
    r"'.*' only supports '(?:password|users)'|'(?:userlist|group)' expects <name>",
    r"character '.' is not permitted in '(?:namespace|userlist|group)' name",
    r"Namespace |Cannot open namespace",
    # durations, but for those of src/proxy.c
    r"(?:stick-table: )?timer \w+ in argument <.*> to (?:<\S+>|<timeout mail>|stats refresh)",
    r"timer \w+ in argument <.*> to <(?:timeout (?:resolve|retry)|hold \S*)>",
    r"unexpected character '.' in argument to (?!<\w+tcpka|<hard|<grace|<close)",
    r"unsupported character '.' in ",
    # src/cfgparse-listen.c
    r".* reuses same custom id as|custom id has to be > 0|'id' expects an integer",
    r"'(?:id|description)' not allowed in 'defaults'|'.*' expects (?:a string|an option name)",
    r".* overrides previous '.*' in 'defaults'|'stats show-node' invalid|previous '.*' action ",
    r"'(?:domain|maxidle|maxlife|attr)' expects <|domain '.*' contains no embedded dot",
    r"character '.*' is not permitted in (?:domain name|attribute value)",
    r"(?:an? \w+ section|frontends and backends|backend or defaults sections) cannot inherit",
    r"'.*' (?:has no effect, is|is) deprecated,? and will be removed in version 2\.7",
    r"(?:unknown )?stats \S+.*, expects 'admin'|'stats show-desc' requires a parameter",
    r"option '.*' is not supported|the '.*' keyword is not supported any more",
    # src/http_rules.c, tcpcheck.c, stick_table.c
    r"'http-(?:request|response|after-response)(?: \S+)?' expects (?!an action)",
    r"'option httpchk' : hiding headers|stick-table: store option '.*' already enabled",
    # src/cfgparse-global.c
    r"'(?:presetenv|resetenv|setenv|unsetenv)' (?:expects|failed)|'node' requires valid",
    r"spread-checks already|'spread-checks' needs|'(?:max-)?spread-checks' expects",
    # src/mworker-prog.c, cache.c
    r"'.*' expects a (?:command with|(?:group|user) name)|'.*' program section already",
    r"cache name is|Duplicate cache|\"total-max-size\"|(?:total-max-size|max-\S+) wrong value",
    r"'(?:max-age|max-object-size|max-secondary-entries|process-vary)' expects",
    # src/sample.c
    r".* in arg \d+ of .* proxy '|.*, referenced in arg \d+ of ",
)
_ANY_CAPITAL: Final = re.compile("|".join(_CAPITAL))
_ANY_TIGHT: Final = re.compile("|".join(_TIGHT))


def head_of(message: str) -> str:
    """What stands before *message*, {} for the place; "" for ``parsing {} : ``."""
    if _ANY_CAPITAL.match(message):
        return CAPITAL
    return TIGHT if _ANY_TIGHT.match(message) else ""
