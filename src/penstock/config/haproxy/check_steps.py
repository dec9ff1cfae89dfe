# SPDX-License-Identifier: Apache-2.0
"""``tcp-check`` and ``http-check``: connect, send, set-var (HAProxy manual 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.c_numbers import atol
from penstock.checks.model import Connect, Format, Send, SetVar
from penstock.config.haproxy.address import Allow, PortKind
from penstock.config.haproxy.check_draft import Comment, HttpRequest, Rule
from penstock.config.haproxy.check_words import Reader, encoded
from penstock.config.haproxy.endpoint import read_endpoint
from penstock.config.haproxy.report import LineError
from penstock.config.haproxy.tls_words import names
from penstock.rules.arguments import RuleError
from penstock.rules.assignment import read_assignment
from penstock.rules.model import Expression
from penstock.terms import Address

_VARIABLE_USAGE = (
    "Expects 'set-var(<var-name>)', 'set-var-fmt(<var-name>)' or 'unset-var(<var-name>)'"
)
_HTTP_MUXES = frozenset({"h1", "h2", "fcgi"})
_MUXES = _HTTP_MUXES | {"none"}
_SIZED = frozenset({"content-length", "transfer-encoding"})


def read_connect(reader: Reader, before: Sequence[Rule], number: int) -> Connect:
    """A ``connect`` that comes after *before*. Raises LineError."""
    _refuse_after_others(before)
    line = reader.line
    said: dict[str, str] = {}
    flags: set[str] = set()
    address: Address | None = None
    address_port: int | None = None
    port: int | Expression | None = None
    at = 2
    while word := line[at]:
        value = line[at + 1]
        at += 2
        match word:
            case "default" | "send-proxy" | "via-socks4" | "linger" | "ssl":
                flags.add(word)
                at -= 1
            case "addr":
                address, address_port = _address(reader, value)
            case "port":
                port = _port(reader, value)
            case "proto":
                said[word] = _proto(line[0], value)
            case "comment" | "sni":
                if not value:
                    raise LineError(f"'{word}' expects a string as argument.")
                said[word] = value
            case "alpn":
                if not value:
                    raise LineError("'alpn' : missing the comma-delimited ALPN protocol suite")
                said[word] = value
            case _:
                raise LineError(
                    "expects 'comment', 'port', 'addr', 'send-proxy', 'ssl', 'sni', 'alpn' or"
                    f" 'via-socks4', 'linger', 'default' but got '{word}' as argument."
                )
    return Connect(
        number,
        address=address,
        port=port,
        address_port=address_port,
        default="default" in flags,
        send_proxy="send-proxy" in flags,
        via_socks4="via-socks4" in flags,
        linger="linger" in flags,
        tls="ssl" in flags,
        sni=said.get("sni"),
        alpn=names(said.get("alpn", "")),
        proto=said.get("proto"),
        comment=said.get("comment"),
    )


def _refuse_after_others(before: Sequence[Rule]) -> None:
    for rule in before:
        if isinstance(rule, Connect):
            return
        if not isinstance(rule, Comment | SetVar):
            raise LineError(
                "first step MUST also be a 'connect', optionally preceded by a 'set-var', an"
                " 'unset-var' or a 'comment', when there is a 'connect' step in the tcp-check"
                " ruleset"
            )


def _address(reader: Reader, value: str) -> tuple[Address | None, int | None]:
    if not value:
        raise LineError("'addr' expects <ipv4|ipv6> as argument.")
    target = read_endpoint(reader.context, value, Allow.PORT, "'addr'")
    if target.local is not None:
        raise LineError("'addr' : checks of another UNIX socket are not carried out.")
    return target.address, target.low if target.port_kind is PortKind.FIXED else None


def _port(reader: Reader, value: str) -> int | Expression:
    if not value:
        raise LineError("'port' expects a port number or a sample expression as argument.")
    if value.isascii() and value.isdigit():
        if not 1 <= atol(value) <= 65535:
            raise LineError(
                "expects a valid TCP port (from range 1 to 65535) or a sample expression, got"
                f" {value}."
            )
        return atol(value)
    return reader.sample(value, "error detected while parsing port expression : ")


def _proto(keyword: str, value: str) -> str:
    if not value:
        raise LineError("'proto' expects a MUX protocol as argument.")
    if value not in _MUXES:
        raise LineError(f"'proto' : unknown MUX protocol '{value}'.")
    if (value in _HTTP_MUXES) is not (keyword == "http-check"):
        raise LineError(f"'proto' : invalid MUX protocol '{value}' for {keyword}")
    if value == "fcgi":
        raise LineError(f"'proto {value}' : checks in this protocol are not carried out.")
    return value


def read_send(reader: Reader, number: int) -> Send:
    """``send``, ``send-lf``, ``send-binary`` or ``send-binary-lf``. Raises LineError."""
    line, kind = reader.line, reader.line[1]
    if not line[2]:
        what = "binary string" if kind == "send-binary" else "string"
        raise LineError(f"'{what}' expects a {kind} as argument")
    comment = _comment(reader, 3)
    data: bytes | Format
    if kind == "send-binary":
        try:
            data = reader.binary(line[2])
        except LineError as bad:
            raise LineError(f"'{line[2]}' invalid binary string ({bad.message}).") from None
    elif kind == "send":
        data = encoded(line[2])
    else:
        data = reader.format(line[2])
    return Send(number, data, hexadecimal=kind == "send-binary-lf", comment=comment)


def _comment(reader: Reader, at: int) -> str | None:
    """A comment that may stand there, and nothing else."""
    comment = None
    while word := reader.line[at]:
        if word != "comment":
            raise LineError(f"expects 'comment' but got '{word}' as argument.")
        comment = reader.line[at + 1]
        if not comment:
            raise LineError("'comment' expects a string as argument.")
        at += 2
    return comment


def read_http_send(reader: Reader, number: int) -> HttpRequest:
    """An ``http-check send``. Raises LineError."""
    line = reader.line
    said: dict[str, str] = {}
    headers: list[tuple[str, str]] = []
    at = 2
    while word := line[at]:
        match word:
            case "meth" | "uri" | "uri-lf" | "ver" | "body" | "body-lf" | "comment":
                if not line[at + 1]:
                    raise LineError(f"'{word}' expects a string as argument.")
                for other in (word.removesuffix("-lf"), f"{word.removesuffix('-lf')}-lf"):
                    said.pop(other, None)
                said[word] = line[at + 1]
                at += 2
            case "hdr":
                _add_header(headers, line[at + 1], line[at + 2])
                at += 3
            case _:
                raise LineError(
                    "expects 'comment', 'meth', 'uri', 'uri-lf', 'ver', 'hdr', 'body' or"
                    f" 'body-lf' but got '{word}' as argument."
                )
    uri: str | Format | None = said.get("uri")
    if "uri-lf" in said:
        uri = reader.format(said["uri-lf"])
    body: bytes | Format | None = encoded(said["body"]) if "body" in said else None
    made = tuple((name, reader.plain_format(value)) for name, value in headers)
    if "body-lf" in said:
        body = reader.format(said["body-lf"])
    return HttpRequest(
        number, said.get("meth"), uri, said.get("ver"), made, body, said.get("comment")
    )


def _add_header(headers: list[tuple[str, str]], name: str, value: str) -> None:
    if not name or not value:
        raise LineError("'hdr' expects <name> and <value> as arguments")
    if name.lower() == "host":
        for other, before in headers:
            if other.lower() == "host":
                raise LineError(f"'{name}' header already defined (previous value is '{before}')")
    if name.lower() not in _SIZED:
        headers.append((name, value))


def read_comment(reader: Reader) -> Comment:
    if not reader.line[2]:
        raise LineError("expects a string as argument")
    return Comment(reader.line[2])


def read_variable(reader: Reader) -> SetVar:
    """``set-var``, ``set-var-fmt`` or ``unset-var``. Raises LineError."""
    line, word = reader.line, reader.line[1]
    base = word.partition("(")[0]
    head = f"'{base}' : "
    try:
        name, conditions = read_assignment(word, _VARIABLE_USAGE)
    except RuleError as error:
        raise LineError(f"{head}{error.message}") from None
    try:
        match base:
            case "unset-var":
                return SetVar(name, None)
            case "set-var-fmt":
                return SetVar(name, reader.plain_format(line[2]), conditions)
            case _:
                return SetVar(name, reader.sample(line[2], "", named=word), conditions)
    except LineError as error:
        raise LineError(head + error.message) from None
