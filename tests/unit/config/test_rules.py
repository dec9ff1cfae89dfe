# SPDX-License-Identifier: Apache-2.0
"""Rules in a file: what the draft holds of them, and errors beside the installed haproxy's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import haproxy_oracle as oracle
import pytest

from penstock.config.haproxy import loads, rules
from penstock.config.haproxy.address import AddressFamilyPreference
from penstock.config.haproxy.loading import _SECTIONS
from penstock.config.haproxy.parser import Context, Parser
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.errors import ConfigError
from penstock.proxied import ProcessRates
from penstock.rules.model import Call, IntRange, Stage
from penstock.terms import Address

_WANTED = "2.6"


def draft(text: str, files: dict[str, str] | None = None) -> FileDraft:
    """What the files said, before it is checked as a whole."""
    report = Report()

    def resolve(name: str, family: AddressFamilyPreference) -> Address | None:
        return None

    texts = (files or {}).get
    context = Context(report, {}, resolve, lambda _: True, texts, lambda _kind, _name: None)
    Parser(context, _SECTIONS).read("f", text)
    assert report.errors == []
    rules.settle(context)
    return context.draft


def test_everything_is_kept() -> None:
    read = draft(
        """\
frontend f
    bind :80
    acl inside src -f networks
    tcp-request inspect-delay 5s
    tcp-request connection reject if inside
    tcp-request content accept if { req.len gt 3 }
    acl inside src 192.0.2.1
    use_backend b if inside
    use_backend c
backend b
    tcp-request content track-sc0 src table t
    tcp-response inspect-delay 3s
    tcp-response content close if { res.len gt 9 }
    server s 192.0.2.9:1
    use-server s unless TRUE
    force-persist if TRUE
    ignore-persist if FALSE
""",
        {"networks": "10.0.0.0/8\n172.16.0.0/12\n"},
    )
    front, back = read.proxies
    assert [str(one) for criterion in front.acls["inside"] for one in criterion.patterns] == [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.0.2.1/32",
    ]
    assert (front.inspect_delay, back.response_delay) == (5000, 3000)
    reject, accept = front.tcp_rules
    assert reject.stage is Stage.CONNECTION
    assert reject.condition is not None
    # The second line of the ACL counts, too, though it comes later.
    assert reject.condition.alternatives[0][0].criteria == front.acls["inside"]
    assert accept.condition is not None
    assert accept.condition.alternatives[0][0].criteria[0].patterns == (IntRange(4, None),)
    assert [(rule.name, rule.condition is None) for rule in front.use_backends] == [
        ("b", False),
        ("c", True),
    ]
    track, close = back.tcp_rules
    assert (track.action, track.table) == (Call("track-sc0"), "t")
    assert close.stage is Stage.RESPONSE
    assert [(rule.server, rule.condition.unless) for rule in back.use_servers] == [("s", True)]
    assert [rule.force for rule in back.persist_rules] == [True, False]


def test_defaults_hand_rules_down_and_keep_their_acls() -> None:
    text = """\
defaults d
    acl inside src 10.0.0.0/8
    tcp-request inspect-delay 2s
    tcp-request connection reject if inside
    tcp-request content accept
frontend f from d
    bind :80
    acl inside src 192.0.2.1
    tcp-request connection accept if inside
"""
    (front,) = draft(text).proxies
    assert front.inspect_delay == 2000
    inherited, _, own = front.tcp_rules
    for rule, network in ((inherited, "10.0.0.0/8"), (own, "192.0.2.1/32")):
        assert rule.condition is not None
        (criterion,) = rule.condition.alternatives[0][0].criteria
        assert str(criterion.patterns[0]) == network


_NAMED = """\
defaults d
    mode http
    http-request set-header a %[srv_conn(s)]
    http-request set-header a %[src,table_gpc0]
    http-request set-path /%[be_conn(nope)] if { srv_conn(s) gt 1 }
    http-request track-sc0 src
    http-response set-header a %[srv_conn(s)]
    http-request set-var(txn.a) srv_conn(b/nope)
    http-request set-map(f) %[be_conn] %[srv_conn(b/s)]
frontend f from d
    bind :80
    http-request replace-path (.*) %[srv_conn(s)]
    http-request track-sc1 src table none
backend b from d
    server s 192.0.2.1:80
"""


def test_names_in_http_rules_are_looked_for_once_in_the_section_that_holds_them() -> None:
    with pytest.raises(ConfigError) as raised:
        loads(_NAMED)
    said = [(one.line, one.message.strip()) for one in raised.value.diagnostics]
    expression = "in http-request expression in proxy"
    assert sorted(said) == [
        (
            3,
            "backend name must be set in arg 1 of sample fetch keyword 'srv_conn'"
            f" {expression} 'd'.",
        ),
        (
            4,
            "table name must be set in arg 1 of conversion keyword 'table_gpc0' for sample fetch"
            f" keyword 'src' {expression} 'd'.",
        ),
        (5, "backend name must be set in arg 1 of ACL keyword 'srv_conn' in proxy 'd'."),
        (
            5,
            "unable to find backend 'nope' referenced in arg 1 of sample fetch keyword 'be_conn'"
            f" {expression} 'd'.",
        ),
        (6, "Proxy 'd': unable to find table 'd' referenced by track-sc0."),
        (
            7,
            "backend name must be set in arg 1 of sample fetch keyword 'srv_conn' in http-response"
            " response in proxy 'd'.",
        ),
        (
            8,
            "unable to find server 'nope' in proxy 'b', referenced in arg 1 of sample fetch keyword"
            f" 'srv_conn' {expression} 'd'.",
        ),
        (
            12,
            "unable to find server 's' in proxy 'f', referenced in arg 1 of sample fetch keyword"
            f" 'srv_conn' {expression} 'f'.",
        ),
        (13, "Proxy 'f': unable to find table 'none' referenced by track-sc1."),
    ]


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(ConfigError) as raised:
        loads("frontend f\n    bind :80\n    acl a src -f /nowhere/at/all\n")
    assert "failed to open pattern file </nowhere/at/all>" in raised.value.diagnostics[0].message


def _lines(name: str) -> Iterator[str]:
    path = Path(__file__).parent / "files" / name
    yield from (line for line in path.read_text().split("\n") if line and line[0] != "#")


_HEADS = {
    "rules-frontend.lines": "frontend f\n    mode tcp\n    bind :1999\n",
    "rules-backend.lines": "backend b\n    mode tcp\n    server s 127.0.0.1:9\n",
}


@pytest.mark.skipif(
    oracle.version() != _WANTED, reason=f"haproxy {_WANTED} is not installed: nothing to compare"
)
@pytest.mark.parametrize("name", _HEADS)
def test_each_line_as_haproxy(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rules.cfg"
    problems = []
    for line in _lines(name):
        said = line.replace(r"\N", "\n    ")
        path.write_text(f"{_HEADS[name]}    {said}\n")
        theirs, mine = oracle.ask(path), oracle.ours(path)[0]
        problems += [f"{line}: {one}" for one in oracle.differences(theirs, mine)]
    assert problems == []


def test_rules_that_look_for_contents_without_a_delay() -> None:
    """As ``haproxy -c`` warns."""
    loaded = loads(
        """
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
listen l
    bind :1
    stick-table type string size 10
    server s 127.0.0.1:2
    tcp-request content capture src len 4
    tcp-request content capture hdr(host) len 4
    tcp-request content track-sc0 req.ssl_sni
"""
    )
    without = (
        "depending on request contents without any 'tcp-request inspect-delay' setting. This means"
        " that this rule will randomly find its contents. This can be fixed by setting the"
        " tcp-request inspect-delay."
    )
    assert [(one.line, one.message) for one in loaded.warnings] == [
        (12, f"proxy 'l' : a 'tcp-request capture' rule explicitly {without}"),
        (13, f"proxy 'l' : a 'tcp-request content track-sc*' rule explicitly {without}"),
    ]


def test_rates_of_the_process_are_said_once() -> None:
    loaded = loads("global\n maxconnrate 5\n maxconnrate 6\n maxsessrate -1\n maxsslrate 7\n")
    assert loaded.configuration.settings.rates == ProcessRates(5, 0, 7)
    assert [one.message for one in loaded.warnings] == [
        "'maxconnrate' already specified. Continuing."
    ]
