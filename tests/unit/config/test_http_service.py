# SPDX-License-Identifier: Apache-2.0
"""Sections of mode http that hold nothing but statistics, and those that hold more."""

from __future__ import annotations

import pytest

from penstock.config.haproxy import loads
from penstock.config.haproxy.loading import LoadResult
from penstock.control.refusal import refuse_unsupported
from penstock.errors import ConfigError
from penstock.http_service import HttpAction, HttpService

HEAD = "defaults\n timeout client 9s\n timeout server 9s\n timeout connect 9s\n"


def read(text: str) -> LoadResult:
    return loads(HEAD + text)


def service_of(text: str) -> HttpService:
    (service,) = read(text).configuration.http
    return service


def refusal_of(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        refuse_unsupported(read(text).configuration)
    (one,) = refused.value.diagnostics
    return f"{one.line - 4}: {one.message}"


def errors_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(text)
    return [one.message for one in refused.value.diagnostics]


def test_everything_that_stats_lines_say_is_kept() -> None:
    service = service_of(
        "listen s\n mode http\n bind 127.0.0.1:8404\n maxconn 10\n timeout http-request 2s\n"
        " stats enable\n stats uri /s\n stats realm A\\ B\n stats auth a:b:c\n stats auth d\n"
        " stats refresh 1m\n stats scope x\n stats scope .\n stats scope x\n stats hide-version\n"
        " stats show-legends\n stats show-modules\n stats show-node n1\n stats show-desc a b\n"
        " stats admin if TRUE\n stats admin unless { src 1.1.1.1 }\n"
    )
    page = service.front.page
    assert page is not None
    assert (page.uri, page.realm, page.refresh) == ("/s", "A B", 60)
    assert page.users == (("a", "b:c"), ("d", ""))
    assert page.scope == ("x", ".")
    assert page.hide_version
    assert page.legends
    assert page.modules
    assert (page.show_node, page.node) == (True, "n1")
    assert (page.show_description, page.description) == (True, "a b")
    assert len(page.admin) == 2
    assert (service.maxconn, service.request_timeout, service.client_timeout) == (10, 2000, 9000)
    assert service.front.back
    assert str(service.listeners[0].address) == "127.0.0.1"


def test_statistics_have_a_default_address() -> None:
    service = service_of("frontend f\n mode http\n bind :1\n stats enable\n")
    assert service.front.page is not None
    assert service.front.page.uri == "/haproxy?stats"
    assert not service.front.back


def test_the_description_may_be_the_processs() -> None:
    service = service_of(
        "global\n description hello\nlisten f\n mode http\n bind :1\n stats show-desc\n"
    )
    assert service.front.page is not None
    assert service.front.page.description == "hello"


@pytest.mark.parametrize(
    "line",
    [
        "stats uri /",
        "monitor-uri /up",
        "http-request use-service prometheus-exporter if { path /metrics }",
    ],
)
def test_any_of_these_makes_a_service(line: str) -> None:
    assert service_of(f"listen f\n mode http\n bind :1\n {line}\n").name == "f"


def test_own_lines_replace_what_the_defaults_say() -> None:
    one, other = read(
        "defaults d\n mode http\n timeout client 1s\n stats uri /d\n stats auth a:b\n"
        "listen a from d\n bind :1\nlisten b from d\n bind :2\n stats hide-version\n"
    ).configuration.http
    assert one.front.page is not None
    assert (one.front.page.uri, one.front.page.users) == ("/d", (("a", "b"),))
    assert other.front.page is not None
    assert (other.front.page.uri, other.front.page.users) == ("/haproxy?stats", ())


def test_the_lines_of_an_acl_add_up_wherever_they_stand() -> None:
    service = service_of(
        "frontend f\n mode http\n bind :1\n stats uri /\n acl a src 1.1.1.1\n"
        " http-request deny if a\n stats admin if a\n acl a src 2.2.2.2\n"
    )
    (rule,) = service.front.rules
    assert rule.action is HttpAction.DENY
    assert rule.condition is not None
    assert len(rule.condition.alternatives[0][0].criteria) == 2
    assert service.front.page is not None
    assert len(service.front.page.admin[0].alternatives[0][0].criteria) == 2


def test_other_proxies_run_beside_it() -> None:
    result = read(
        "listen s\n mode http\n bind :1\n stats uri /\nlisten t\n bind :2\n server a 127.0.0.1:3\n"
    )
    refuse_unsupported(result.configuration)
    assert [one.name for one in result.configuration.services] == ["t"]
    assert not result.warnings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "listen s\n mode http\n bind :1\n option forwardfor\n server a 127.0.0.1:3\n",
            "4: 's' cannot run because of 'option forwardfor': HTTP is routed.",
        ),
        (
            "listen s\n mode http\n bind :1\n stats uri /\n server a 127.0.0.1:3\n",
            "5: 's' cannot run because of 'server a': HTTP is routed, and not only statistics"
            " served.",
        ),
        (
            "frontend s\n mode http\n bind :1\n stats uri /\n default_backend b\n"
            "backend b\n mode http\n server a 127.0.0.1:3\n",
            "5: 's' cannot run because of 'server a': HTTP is routed, and not only statistics"
            " served.",
        ),
        (
            "listen s\n mode http\n bind :1\n stats uri /\n http-request set-path /x\n",
            "5: 's' cannot run because of 'http-request set-path': it is not carried out where"
            " penstock itself answers.",
        ),
        (
            "listen s\n mode http\n bind :1\n stats uri /\n"
            " http-request deny if { sc0_conn_cur gt 1 }\n",
            "5: 's' cannot run because of 'a condition': it looks at `sc0_conn_cur`, and there are"
            " no stick tables where penstock itself answers.",
        ),
        (
            "listen s\n mode http\n bind :1\n stats uri /\n stick-table type ip size 1k\n"
            " tcp-request connection track-sc0 src\n",
            "6: 's' cannot run because of 'a rule': it uses `track-sc0`, and there are no stick"
            " tables where penstock itself answers.",
        ),
        (
            "listen s\n mode http\n bind :1 accept-netscaler-cip 1\n stats uri /\n",
            "3: 's' cannot run because of 'bind :1 accept-netscaler-cip': the NetScaler protocol is"
            " read.",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_sentence(text: str, said: str) -> None:
    assert refusal_of(text) == said


def test_rules_for_answers_are_told_not_to_be_carried_out() -> None:
    result = read("listen s\n mode http\n bind :1\n stats uri /\n http-response set-header A b\n")
    (warning,) = result.warnings
    assert warning.message.startswith("'http-response' is not carried out")
    assert len(result.configuration.http) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("stats", "missing keyword in 'stats', expects 'admin', 'uri',"),
        ("stats foo", "unknown stats parameter 'foo', expects"),
        ("stats admin", "'stats admin' requires either 'if' or 'unless' followed by a condition."),
        (
            "stats admin if nope",
            "error detected while parsing a 'stats admin' rule : no such ACL : 'nope'.",
        ),
        ("stats show-node a/b", "'stats show-node' invalid node name"),
        (
            "http-request deny if nope",
            "error detected while parsing an 'http-request deny' condition : no such ACL : 'nope'.",
        ),
        (
            "stats auth a:b\n stats http-request deny",
            "proxy 's': stats 'auth'/'realm' and 'http-request' can't be used at the same time.",
        ),
        ("http-request nope", "'http-request' expects 'add-acl', "),
        (
            "http-request deny deny_status 418",
            "while parsing 'http-request deny' rule : status code '418' not handled by default",
        ),
        ("http-request return status 204 content-type a string b", "No body expected for 204"),
        ("http-request use-service nope", "'nope' unknown service name."),
        ("http-request set-log-level nope", "expects exactly 1 argument (log level name"),
        ("http-request deny nope", "expects either 'if' or 'unless' followed by a condition but"),
        ("http-request redirect", "redirection type expected ('prefix', 'location', or 'scheme')"),
        (
            "http-request set-header a %[nope]",
            "while parsing 'http-request set-header' rule : failed to parse sample expression"
            " <nope]> : unknown fetch method 'nope'.",
        ),
        ("http-request set-header a", "expects exactly 2 arguments."),
        ("http-request set-path", "expects exactly 1 argument <format>."),
        ("http-request replace-uri (b c", "failed to parse the regex : "),
        ("http-request set-var(a) src", "'http-request set-var(a)' rule : invalid variable name"),
        ("http-request track-sc0 nope", "rule : unknown fetch method 'nope'."),
        (
            "http-response set-header a b c",
            "'http-response set-header' expects either 'if' or 'unless' followed by a condition but"
            " found 'c'.",
        ),
        ("redirect location", "while parsing redirect rule : missing argument for 'location'."),
        ("redirect nope", "or 'append-slash' (was 'nope')."),
        ("http-request return status 1000", "Unexpected status code '1000'"),
        ("http-request redirect location /x code 300", "unsupported HTTP code '300'"),
    ],
)
def test_faults_are_told_as_haproxy_tells_them(line: str, message: str) -> None:
    (said,) = errors_of(f"listen s\n mode http\n bind :1\n {line}\n")
    assert message in said
