# SPDX-License-Identifier: Apache-2.0
"""Lines about health checks: HAProxy's verdict and words, and what is made of them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import haproxy_oracle as oracle
import pytest
from check_vocabulary import EXPECTS, RULESETS, STEPS, bodies

from penstock.checks.codes import CheckCode
from penstock.checks.model import (
    Comparison,
    Connect,
    Expect,
    External,
    Family,
    Formatted,
    Header,
    Regex,
    Ruleset,
    Send,
    SendHttp,
    SetVar,
    Statuses,
    Step,
    Text,
    Wanted,
)
from penstock.config.haproxy import loads
from penstock.errors import ConfigError
from penstock.model import HealthCheck
from penstock.proxied import HeaderVersion, TlsVerify
from penstock.rules.model import Call, Expression

_HEAD = "backend b\n    timeout connect 1s\n    timeout server 1s\n"
_FOUND = oracle.version()


@pytest.mark.skipif(
    _FOUND != "2.6", reason=f"haproxy 2.6 is not installed (found {_FOUND or 'none'})"
)
@pytest.mark.parametrize("text", [STEPS, EXPECTS, RULESETS], ids=["steps", "expects", "rulesets"])
def test_haproxys_verdict(tmp_path: Path, text: str) -> None:
    path = tmp_path / "checks.cfg"
    problems = []
    for body in bodies(text):
        path.write_text(_HEAD + body)
        found = oracle.differences(oracle.ask(path), oracle.ours(path)[0])
        problems += [f"{body.strip()}: {problem}" for problem in found]
    assert problems == []


# -- what is made of them ----------------------------------------------------------------

_SERVER = "    server s1 192.0.2.1:80 check\n"


def check_of(lines: str, server: str = _SERVER, above: str = "") -> HealthCheck:
    """The check of a backend with *lines* (between bars) below a defaults section with *above*."""

    def indented(text: str) -> str:
        return "".join(f"    {one}\n" for one in text.split("|") if one)

    text = (
        "global\n    external-check\n    insecure-fork-wanted\n"
        f"defaults\n    mode tcp\n{indented(above)}"
        f"backend b\n    timeout connect 1s\n    timeout server 1s\n{indented(lines)}{server}"
    )
    check = loads(text, environ={}).configuration.pool("b").reals[0].check
    assert check is not None
    return check


def steps(lines: str, above: str = "") -> tuple[Step, ...]:
    ruleset = check_of(lines, above=above).ruleset
    assert ruleset is not None
    return ruleset.steps


def test_without_an_option_a_connection_is_enough() -> None:
    check = check_of("")
    assert (check.ruleset, check.link.plain, check.log) == (None, True, False)
    assert check_of("option log-health-checks").log


def test_steps_of_a_tcp_check() -> None:
    assert steps(
        "option tcp-check|tcp-check connect port 81 linger|tcp-check comment c|tcp-check send a\\ b"
        "|tcp-check expect min-recv 3 ! rstring ^x on-error no%[be_name] error-status L7STS"
    ) == (
        Connect(1, port=81, default=False, linger=True),
        Send(3, b"a b", comment="c"),
        Expect(
            4,
            Regex("^x"),
            negated=True,
            min_recv=3,
            on_error=("no", Expression(Call("be_name"))),
            error=CheckCode.L7STS,
        ),
    )


def test_a_comment_goes_with_all_steps_of_one_kind() -> None:
    assert [
        one.comment
        for one in steps(
            "option tcp-check|tcp-check comment c|tcp-check expect string a"
            "|tcp-check expect string b comment own|tcp-check send x|tcp-check expect string d"
        )
        if not isinstance(one, SetVar)
    ] == [None, "c", "own", None, None]


def test_variables() -> None:
    assert steps(
        "option tcp-check|tcp-check set-var(check.a) int(3)|tcp-check unset-var(check.a)"
    ) == (
        Connect(),
        SetVar("check.a", Expression(Call("int", ("3",)))),
        SetVar("check.a", None),
    )


def test_the_request_of_option_httpchk() -> None:
    implied = Expect(2, Statuses(((200, 399),)))
    for line, request in (
        ("option httpchk", SendHttp(0)),
        ("option httpchk /a", SendHttp(0, uri="/a")),
        ("option httpchk GET /a", SendHttp(0, "GET", "/a")),
        ("option httpchk GET /a HTTP/1.1", SendHttp(0, "GET", "/a", "HTTP/1.1")),
        (
            "option httpchk GET /a HTTP/1.1\\r\\nHost:\\ x\\r\\n\\r\\nbody",
            SendHttp(0, "GET", "/a", "HTTP/1.1", (("Host", ("x",)),), b"body"),
        ),
    ):
        assert steps(line) == (Connect(), request, implied), line


def test_a_request_that_is_written_out_adds_to_the_options() -> None:
    assert steps(
        "option httpchk GET /a|http-check send hdr Host x ver HTTP/1.1 body-lf %[be_name]"
    )[1] == SendHttp(
        1,
        "GET",
        "/a",
        "HTTP/1.1",
        (("Host", ("x",)),),
        (Expression(Call("be_name")),),
    )
    # Behind the first connect, where one is written.
    made = steps("option httpchk GET /a|http-check connect linger")
    assert [type(one) for one in made] == [Connect, SendHttp, Expect]


def test_headers_of_answers() -> None:
    (expect,) = steps("option httpchk|http-check expect hdr name -m beg X- value-lf a%[str(b)]")[2:]
    assert isinstance(expect, Expect)
    assert expect.pattern == Header(
        Wanted(Comparison.BEG, "X-"),
        Wanted(Comparison.STR, ("a", Expression(Call("str", ("b",))))),
    )
    body = steps("option httpchk|http-check expect string-lf x")[2]
    assert isinstance(body, Expect)
    assert body.pattern == Formatted(("x",), http=True)


def test_own_rules_replace_those_of_the_defaults() -> None:
    above = "option tcp-check|tcp-check send a"
    assert steps("", above) == steps("option tcp-check", above) == (Connect(), Send(1, b"a"))
    assert steps("tcp-check send b", above) == (Connect(), Send(1, b"b"))
    assert steps("option redis-check", above)[1] != Send(1, b"a")
    assert steps("option tcp-check", "tcp-check send a") == (Connect(),)  # nobody asked for it


def test_own_http_rules_lose_the_request_of_the_defaults() -> None:
    """As in HAProxy, where nothing is sent then; penstock says so."""
    above = "option httpchk GET /a"
    assert steps("", above)[1] == SendHttp(0, "GET", "/a")
    assert steps("http-check expect status 500", above) == (
        Connect(),
        Expect(1, Statuses(((500, 500),))),
    )
    result = loads(
        f"defaults\n mode tcp\n {above}\n timeout connect 1s\n timeout server 1s\n"
        f"backend b\n http-check expect status 500\n{_SERVER}",
        environ={},
    )
    assert any("no request is sent" in note.message for note in result.notes)


@pytest.mark.parametrize(
    ("line", "family"),
    [
        ("option mysql-check", Family.MYSQL),
        ("option mysql-check user u", Family.MYSQL),
        ("option pgsql-check user u", Family.PGSQL),
        ("option redis-check", Family.REDIS),
        ("option smtpchk EHLO x", Family.SMTP),
        ("option ldap-check", Family.LDAP),
        ("option ssl-hello-chk", Family.SSL_HELLO),
        ("option spop-check", Family.SPOP),
    ],
)
def test_protocols(line: str, family: Family) -> None:
    ruleset = check_of(line).ruleset
    assert isinstance(ruleset, Ruleset)
    assert ruleset.family is family


def test_a_program() -> None:
    check = check_of("option external-check|external-check command x|external-check path /bin")
    assert check.external == External("x", "/bin")
    text = (
        "global\n external-check\n insecure-fork-wanted\nlisten l\n bind 127.0.0.1:81\n"
        " timeout connect 1s\n timeout server 1s\n timeout client 1s\n option external-check\n"
        f" external-check command /x\n{_SERVER}"
    )
    inside = loads(text, environ={}).configuration.pool("l").reals[0].check
    assert inside is not None
    assert inside.external == External("/x", listener=("127.0.0.1", "81"))


@pytest.mark.parametrize(
    ("words", "tls", "header"),
    [
        ("", False, None),
        ("ssl verify none", True, None),
        ("ssl verify none no-check-ssl", False, None),
        ("ssl verify none port 81", False, None),
        ("ssl verify none addr 192.0.2.9", False, None),
        ("ssl verify none port 81 check-ssl", True, None),
        ("verify none check-ssl", True, None),
        ("send-proxy", False, HeaderVersion.V1),
        ("send-proxy-v2", False, HeaderVersion.V2),
        ("send-proxy port 81", False, None),
        ("send-proxy-v2 port 81 check-send-proxy", False, HeaderVersion.V2),
        ("check-send-proxy", False, HeaderVersion.V1),
        ("check-send-proxy no-check-send-proxy", False, None),
    ],
)
def test_checks_speak_as_their_server_unless_aimed_elsewhere(
    words: str, tls: bool, header: HeaderVersion | None
) -> None:
    link = check_of("", f"    server s1 192.0.2.1:80 check {words}\n").link
    assert (link.tls is not None) is tls
    assert (link.send_proxy.version if link.send_proxy else None) is header


def test_names_and_protocols_of_tls_are_the_checks_own() -> None:
    server = (
        "    server s1 192.0.2.1:80 check ssl verify none sni str(a) alpn h2 check-sni b"
        " check-alpn foo,bar socks4 192.0.2.9:1080 check-via-socks4\n"
    )
    link = check_of("", server).link
    assert link.tls is not None
    assert (link.sni, link.tls.sni, link.tls.settings.alpn) == ("b", None, ("foo", "bar"))
    assert link.tls.settings.verify is TlsVerify.NONE
    assert link.via_socks4
    assert not check_of("", _SERVER.replace("check", "check check-via-socks4")).link.via_socks4


def test_a_port_of_its_own_counts_before_that_of_an_address() -> None:
    for words, port in (("addr 192.0.2.9:81", 81), ("port 82 addr 192.0.2.9:81", 82)):
        assert check_of("", f"    server s1 192.0.2.1:80 check {words}\n").port == port


@pytest.mark.parametrize(
    "line",
    [
        "http-check connect proto fcgi",
        "tcp-check send-lf %[nbsrv]",
        "tcp-check expect string a on-error %[srv_conn(b/s1)]",
        "tcp-check set-var(check.a) str(x),table_conn_cur(b)",
        "tcp-check connect addr unix@/x",
    ],
)
def test_what_is_not_carried_out_is_refused_with_the_line(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_of(line)
    (wrong,) = caught.value.diagnostics
    assert "not carried out" in wrong.message
    assert wrong.line == 9


def test_a_string_is_bytes() -> None:
    made = steps("option tcp-check|tcp-check send-binary 00ff|tcp-check expect binary ff00")
    assert made[1:] == (Send(1, b"\0\xff"), Expect(2, Text(b"\xff\0", binary=True)))


@pytest.mark.parametrize(
    "line",
    [
        "tcp-check connect port {}",
        "http-check expect status {}",
        "log /dev/log sample 1:{} local0",
        "log fd@{} local0",
    ],
)
def test_numbers_of_thousands_of_digits_are_no_crash(line: str) -> None:
    """Python refuses to read them, and the author of a file is told in HAProxy's words or not."""
    text = f"backend b\n mode tcp\n {line.format('9' * 5000)}\n server s1 192.0.2.1:80\n"
    with contextlib.suppress(ConfigError):
        loads(text)
