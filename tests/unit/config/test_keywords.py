# SPDX-License-Identifier: Apache-2.0
"""Every keyword is known, is documented, and is never ignored in silence."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import haproxy_oracle as oracle
import pytest

from penstock.config.haproxy import keywords, loads
from penstock.config.haproxy.keywords import Status
from penstock.config.haproxy.keywords.document import renewed
from penstock.errors import ConfigError

# What files in the wild and the manual of HAProxy 2.6 use; a few words are of later versions.
KNOWN = {
    "global": """
daemon master-worker mworker-max-reloads nbthread cpu-map thread-groups nbproc maxconn maxconnrate
maxsessrate ulimit-n fd-hard-limit user group uid gid chroot pidfile log log-tag log-send-hostname
stats spread-checks max-spread-checks external-check insecure-fork-wanted server-state-base
server-state-file hard-stop-after grace close-spread-time setenv presetenv resetenv unsetenv node
description localpeer set-dumpable unix-bind strict-limits zero-warning quiet noepoll nosplice
nokqueue busy-polling tune.bufsize tune.maxaccept tune.rcvbuf.client tune.rcvbuf.server
tune.sndbuf.client tune.sndbuf.server ca-base crt-base ssl-default-bind-ciphers
ssl-default-bind-ciphersuites ssl-default-bind-options ssl-default-server-ciphers
ssl-default-server-options tune.ssl.default-dh-param tune.ssl.cachesize lua-load h1-case-adjust
""",
    "listen l": """
mode bind default_backend use_backend use-server balance server default-server server-template
dispatch transparent disabled enabled id description guid maxconn backlog fullconn rate-limit
timeout retries option log log-format log-format-sd error-log-format unique-id-format clitcpka-cnt
clitcpka-idle clitcpka-intvl srvtcpka-cnt srvtcpka-idle srvtcpka-intvl force-persist
ignore-persist stick-table stick acl tcp-request tcp-response http-check tcp-check external-check
email-alert load-server-state-from-file server-state-file-name source monitor-uri monitor
monitor-net stats http-request cookie errorfile capture compression reqadd rspadd contimeout
clitimeout srvtimeout filter hash-type hash-balance-factor persist retry-on
""",
    "listen l\n option": """
tcplog httplog dontlognull dontlog-normal logasap log-health-checks log-separate-errors tcpka
clitcpka srvtcpka splice-auto splice-request splice-response nolinger tcp-smart-accept
tcp-smart-connect abortonclose independent-streams contstats socket-stats allbackups persist
prefer-last-server redispatch transparent httpchk tcp-check mysql-check pgsql-check redis-check
smtpchk ldap-check ssl-hello-chk spop-check external-check forwardfor httpclose http-server-close
""",
    "listen l\n timeout": """
client server connect client-fin server-fin tunnel queue check http-request http-keep-alive tarpit
""",
    "listen l\n balance": """
roundrobin static-rr leastconn first source random random(3) hash rdp-cookie uri url_param hdr(x)
""",
    "listen l\n bind :80": """
name id interface namespace v4v6 v6only transparent maxconn backlog defer-accept tfo mss tcp-ut
nice thread process shards accept-proxy accept-netscaler-cip ssl crt ca-file verify alpn mode user
group uid gid level severity-output expose-fd
""",
    "listen l\n server s 1.1.1.1:1": """
check no-check inter fastinter downinter rise fall addr port check-ssl check-sni check-alpn
check-proto check-send-proxy check-via-socks4 weight backup disabled enabled maxconn minconn
maxqueue slowstart observe error-limit on-error on-marked-down on-marked-up track agent-check
agent-port agent-inter agent-addr agent-send send-proxy send-proxy-v2 send-proxy-v2-ssl
send-proxy-v2-ssl-cn proxy-v2-options set-proxy-v2-tlv-fmt ssl verify ca-file crt sni alpn source
usesrc namespace tcp-ut tfo socks4 resolvers resolve-prefer resolve-opts resolve-net init-addr
cookie id redir non-stick stick ws pool-low-conn pool-max-conn pool-purge-delay max-reuse proto
""",
    "resolvers r\n": """
nameserver parse-resolv-conf resolve_retries timeout hold accepted_payload_size
""",
    "peers p\n": "peer server table bind",
    "ring r\n": "format size maxlen server timeout",
    "log-forward f\n": "bind dgram-bind log",
    "mailers m\n": "mailer timeout",
    "udp-lb u\n": "dgram-bind server balance proxy-requests proxy-responses",
}


def _messages(text: str) -> list[str]:
    try:
        loads(text)
    except ConfigError as error:
        return [diagnostic.message for diagnostic in error.diagnostics]
    return []


@pytest.mark.parametrize(
    ("head", "keyword"),
    [(head, word) for head, listed in KNOWN.items() for word in listed.split()],
)
def test_a_keyword_is_known(head: str, keyword: str) -> None:
    start = head if head.count("\n") and not head.endswith("\n") else f"{head.rstrip()}\n"
    messages = _messages(f"{start} {keyword}\n")
    unknown = [
        text
        for text in messages
        if re.search(
            r"unknown (keyword|option|statement)|'timeout' supports.*got '[a-z]|balance only", text
        )
    ]
    assert not unknown


def test_a_word_that_is_no_keyword_is_not() -> None:
    assert "unknown keyword 'xyzzy'" in _messages("listen l\n xyzzy\n")[0]


# Arguments that make a line right, where the keyword alone is not.
_ARGUMENTS = {
    "acl": "a src 1.1.1.1",
    "cpu-map": "all 0",
    "default-path": "config",
    "h1-case-adjust": "host HOST",
    "ws": "auto",
    "profiling.tasks": "on",
    "thread-group": "1 1",
    "thread-groups": "1",
    "tune.h2.header-table-size": "4096",
    "tune.h2.max-frame-size": "16384",
    "tune.idle-pool.shared": "on",
    "retry-on": "none",
    "agent-inter": "1s",
    "backlog": "5",
    "capture": "request header x len 3",
    "cookie": "x",
    "email-alert": "to x",
    "errorfile": "503 /dev/null",
    "external-check": "command /bin/true",
    "force-persist": "if TRUE",
    "fullconn": "5",
    "hash-balance-factor": "150",
    "http-check": "expect status 200",
    "http-request": "deny",
    "http-response": "deny",
    "http-after-response": "allow",
    "http-reuse": "safe",
    "ignore-persist": "if TRUE",
    "load-server-state-from-file": "none",
    "log": "127.0.0.1 local0",
    "max-keep-alive-queue": "3",
    "maxconn": "3",
    "monitor": "fail if TRUE",
    "monitor-uri": "/x",
    "nbthread": "2",
    "observe": "layer4",
    "on-error": "fastinter",
    "error-limit": "10",
    "on-marked-down": "shutdown-sessions",
    "on-marked-up": "shutdown-backup-sessions",
    "persist": "rdp-cookie",
    "proto": "none",
    "rate-limit": "sessions 5",
    "retries": "3",
    "stats": "timeout 5s",
    "stick": "on src",
    "stick-table": "type ip size 1m",
    "tcp-check": "connect",
    "tcp-request": "content reject if { req.len gt 5 }",  # a first packet has no data
    "tcp-response": "content accept",
    "tcp-ut": "3s",
    "use-server": "s if TRUE",
    "use_backend": "b if TRUE",
    "ca-file": "/x",
    "crt": "/dev/null",
    "mss": "1400",
    "mode": "660",
    "ssl-max-ver": "TLSv1.3",
    "ssl-min-ver": "TLSv1.3",
    "verify": "none",
    "set-var": "proc.a str(x)",
    "set-var-fmt": "proc.a x",
    "uid": "5",
    "gid": "5",
    "ssl-default-bind-options": "no-tls-tickets",
    "ssl-default-server-options": "no-tls-tickets",
    "ssl-server-verify": "none",
    "accept-netscaler-cip": "5",
    "socks4": "1.1.1.1:1080",
    "proxy-v2-options": "ssl",
    "minconn": "3 maxconn 5",
}
_HEAD = "defaults\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n"
_LISTEN = "listen l\n bind :80\n server s 1.1.1.1:1"
_BACKEND = "backend b\n server s 1.1.1.1:1\n"


def _said(text: str) -> tuple[str, list[str], list[str]]:
    result = loads(_HEAD + text + _BACKEND, exists=lambda path: True)
    engine = "".join(service.engine for service in result.configuration.services)
    return engine, [w.message for w in result.warnings], [n.message for n in result.notes]


def _text(kind: str, name: str) -> str:
    argument = _ARGUMENTS.get(name, "x")
    match kind:
        case "proxy":
            if name == "stats":
                argument = "enable"
            return f"{_LISTEN}\n stick-table type ip size 1m\n {name} {argument}\n"
        case "option":
            needed = {"pgsql-check": "user a", "http-restrict-req-hdr-names": "preserve"}
            argument = needed.get(name, "")
            extra = " external-check command /bin/x\n" if name == "external-check" else ""
            prefix = "global\n external-check\n insecure-fork-wanted\n" if extra else ""
            return f"{prefix}{_LISTEN}\n option {name} {argument}\n{extra}"
        case "bind":
            count = keywords.BIND_ARGUMENTS.get(name, 0)
            more = " crt /dev/null" if name == "ssl" else ""
            return f"{_LISTEN}\n bind :81 {name} {argument if count else ''}{more}\n"
        case "server":
            count = keywords.SERVER_ARGUMENTS.get(name, 0)
            more = " verify none" if name == "ssl" else ""
            return f"{_LISTEN}\n server t 1.1.1.2:1 {name} {argument if count else ''}{more}\n"
    raise AssertionError(kind)


_TABLES = {
    "proxy": keywords.PROXY,
    "option": keywords.OPTIONS,
    "bind": keywords.BIND,
    "server": keywords.SERVER,
}
_JUDGED = (Status.LATER, Status.PROXY, Status.IGNORED)
# Words that only have a meaning in another place than the one tried here.
_ELSEWHERE = {
    ("proxy", "errorfiles"),
    ("proxy", "redirect"),
    ("proxy", "stick-table"),
    ("proxy", "transparent"),
    ("server", "redir"),
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind, table in _TABLES.items()
        for name, keyword in table.items()
        if keyword.status in _JUDGED and (kind, name) not in _ELSEWHERE
    ],
)
def test_nothing_is_ignored_in_silence(kind: str, name: str) -> None:
    keyword = _TABLES[kind][name]
    engine, warnings, notes = _said(_text(kind, name))
    match keyword.status:
        case Status.PROXY:
            assert engine == "proxy"
        case Status.LATER:
            assert any(keyword.text in warning for warning in warnings), warnings
        case Status.IGNORED:
            spoken = [*warnings, *notes]
            assert any(f"{name}" in one for one in spoken), spoken


@pytest.mark.parametrize(
    "name", [name for name, row in keywords.GLOBAL.items() if row.status in _JUDGED]
)
def test_nothing_global_is_ignored_in_silence(name: str) -> None:
    keyword = keywords.GLOBAL[name]
    tried = []
    for argument in ("", "5", _ARGUMENTS.get(name, "x")):
        try:
            _, warnings, notes = _said(f"global\n {name} {argument}\n{_LISTEN}\n")
        except ConfigError as error:
            tried.append(str(error))
            continue
        spoken = warnings if keyword.status is Status.LATER else notes
        assert any(name in one and keyword.text in one for one in spoken), spoken
        return
    raise AssertionError(tried)


def test_the_documentation_is_up_to_date() -> None:
    path = Path(__file__).parents[3] / "docs" / "haproxy.md"
    text = path.read_text()
    assert text == renewed(text), (
        "run: python -m penstock.config.haproxy.keywords.document docs/haproxy.md"
    )


@pytest.mark.skipif(oracle.PROGRAM is None, reason="haproxy is not installed: its keywords")
def test_every_keyword_that_haproxy_registers_is_in_the_tables() -> None:
    assert oracle.PROGRAM is not None
    listed = subprocess.run(
        [oracle.PROGRAM, "-dKall", "-q", "-c", "-f", "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    if oracle.version() != "2.6":
        pytest.skip("haproxy 2.6 is not installed: its keywords")
    _, _, configuration = listed.partition("# List of registered configuration keywords:\n")
    missing: list[str] = []
    section = ""
    for line in configuration.partition("\n# List")[0].splitlines():
        if not line.startswith("\t"):
            section = line.strip()
            continue
        words = [*line.split(), "", "", ""]
        table, name = keywords.GLOBAL, words[0]
        if section in keywords.OTHER:
            table = keywords.OTHER[section]
        elif section == "crt-list":
            table = keywords.BIND
        elif section != "global":
            table = keywords.PROXY
            if words[0] == "bind" and words[2]:
                table, name = keywords.BIND, words[2]
            elif words[0] == "server" and words[3]:
                table, name = keywords.SERVER, words[3]
            elif words[0] == "option" and words[1]:
                table, name = keywords.OPTIONS, words[1]
        if name not in table:
            missing.append(line.strip())
    assert missing == []
    assert len(configuration.splitlines()) > 300
