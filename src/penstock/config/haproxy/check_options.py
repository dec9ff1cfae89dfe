# SPDX-License-Identifier: Apache-2.0
"""``option httpchk``, ``option tcp-check`` and the other ways to check (HAProxy manual 4.2)."""

from __future__ import annotations

import re

from penstock.checks import ldap, mysql, pgsql, redis, smtp, spop, ssl_hello
from penstock.config.haproxy.check_draft import HttpRequest
from penstock.config.haproxy.check_words import Reader, encoded
from penstock.config.haproxy.draft import Line, ProxyDraft
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.syntax import at_most

_FIELD = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*\Z", re.DOTALL)


def parse_check_option(context: Context, proxy: ProxyDraft, line: Line) -> None:
    """Raises LineError."""
    checks, name = proxy.checks, line[1]
    match name:
        case "httpchk":
            at_most(line, 3, option=True)
            request = _request(context, line)
            checks.choose(name)
            checks.implicit = request
        case "mysql-check":
            _mysql(proxy, line)
        case "pgsql-check":
            _pgsql(proxy, line)
        case "smtpchk":
            at_most(line, 2, option=True)
            hello = line[2] if line[2] in ("EHLO", "HELO") and line[3] else ""
            fixed = smtp.ruleset(hello, line[3]) if hello else smtp.ruleset()
            checks.choose(name, fixed)
        case _:
            at_most(line, 0, option=True)
            make = _FIXED.get(name)
            checks.choose(name, None if make is None else make())


_FIXED = {
    "redis-check": redis.ruleset,
    "ldap-check": ldap.ruleset,
    "spop-check": spop.ruleset,
    "ssl-hello-chk": ssl_hello.ruleset,
}


def _mysql(proxy: ProxyDraft, line: Line) -> None:
    at_most(line, 3, option=True)
    if not line[2]:
        proxy.checks.choose(line[1], mysql.ruleset())
        return
    if line[2] != "user":
        raise LineError(
            f"'option mysql-check' only supports optional values: 'user' (got '{line[2]}')."
        )
    if not line[3]:
        raise LineError("'option mysql-check user' expects <username> as argument.")
    if line[4] not in ("", "post-41", "pre-41"):
        raise LineError(f"keyword 'user' only supports 'post-41' and 'pre-41' (got '{line[4]}').")
    proxy.checks.choose(line[1], mysql.ruleset(line[3], before_41=line[4] == "pre-41"))


def _pgsql(proxy: ProxyDraft, line: Line) -> None:
    at_most(line, 2, option=True)
    if not line[2] or not line[3]:
        raise LineError("'option pgsql-check' expects 'user <username>' as argument.")
    if line[2] != "user":
        raise LineError("'option pgsql-check' only supports optional values: 'user'.")
    proxy.checks.choose(line[1], pgsql.ruleset(line[3]))


def _request(context: Context, line: Line) -> HttpRequest:
    """``option httpchk [[<method>] <uri> [<version>]]``; headers may hide behind the version."""
    method, uri = (line[2], line[3]) if line[3] else ("", line[2])
    version, headers, body = _hidden(line[4])
    if headers or body is not None:
        context.report.warn(
            line.origin,
            "'option httpchk' : hiding headers or body at the end of the version string is"
            " deprecated. Please, consider to use 'http-check send' directive instead.",
        )
    reader = Reader(context, line)
    made = []
    for one in headers:
        field = _FIELD.match(one)
        if field is None:
            raise LineError(f"'option httpchk' : unable to parse the request '{one}")
        try:
            made.append((field[1], reader.plain_format(field[2])))
        except LineError as error:
            raise LineError(f"'option httpchk' : {error.message}.") from None
    return HttpRequest(
        0,
        method or None,
        uri or None,
        version or None,
        tuple(made),
        None if body is None else encoded(body),
    )


def _hidden(text: str) -> tuple[str, list[str], str | None]:
    """The version, headers and body of what stands in the version's place."""
    head, blank, body = text.partition("\r\n\r\n")
    version, _, headers = head.partition("\r\n")
    lines = [one for one in headers.split("\r\n") if one]
    return version, lines, body if blank else None
