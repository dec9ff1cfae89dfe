# SPDX-License-Identifier: Apache-2.0
"""Lines of "add server": what HAProxy 2.6 takes of them, and what it says of the others."""

from __future__ import annotations

import pytest

from penstock.config.haproxy import NewServer, loads
from penstock.errors import CommandRefused
from penstock.model import AdminState, PortMode, RealPort

TEXT = """
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
    default-server weight 50 check
frontend f
    bind :80
    default_backend b
backend b
    server s1 10.0.0.1:80
    server s2 10.0.0.2:80 no-check
"""


def read(text: str) -> NewServer:
    loaded = loads(TEXT, name="f.cfg")
    assert loaded.servers is not None
    return loaded.servers.read(loaded.configuration, "b", text.split(), None)


def test_one_is_read_as_in_a_file_but_for_default_server() -> None:
    made = read("s9 10.0.0.9:81 weight 7 backup maxconn 3")
    real = made.real
    assert (real.name, str(real.address), real.port) == (
        "s9",
        "10.0.0.9",
        RealPort(PortMode.FIXED, 81),
    )
    assert (real.weight, real.backup, real.maxconn, real.check) == (7, True, 3, None)
    assert real.dynamic
    assert made.proxied == ""


def test_it_is_in_maintenance_unless_its_line_enables_it() -> None:
    assert read("s9 10.0.0.9:81").real.admin is AdminState.MAINT
    assert read("s9 10.0.0.9:81 enabled").real.admin is AdminState.READY
    assert read("s9 10.0.0.9:81 enabled disabled").real.admin is AdminState.MAINT


def test_it_gets_the_smallest_id_or_its_own() -> None:
    assert read("s9 10.0.0.9:81").real.link.id == 3
    assert read("s9 10.0.0.9:81 id 40").real.link.id == 40


def test_checks_have_nothing_of_the_server_but_what_is_said_of_them() -> None:
    check = read("s9 10.0.0.9:81 send-proxy check").real.check
    assert check is not None
    assert check.link.send_proxy is None
    check = read("s9 10.0.0.9:81 send-proxy check check-send-proxy").real.check
    assert check is not None
    assert check.link.send_proxy is not None


def test_a_name_is_not_resolved() -> None:
    real = read("s9 nowhere.invalid:81").real
    assert (real.address, real.hostname) == (None, "nowhere.invalid")


def test_what_needs_the_proxy_engine_says_so() -> None:
    assert read("s9 10.0.0.9:81 send-proxy").proxied.startswith("'server s9 send-proxy'")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("s9", "'server' expects <name> and <addr>[:<port>] as arguments."),
        ("s9 1.1.1.1:1 foo", "unknown keyword 'foo'; did you mean 'tfo' maybe ?"),
        ("s9 1.1.1.1:1 check track s1", "unable to enable checks and tracking at the same time!"),
        ("s9 1.1.1.1:1 track foo", "unable to find required server 'foo' for tracking."),
        ("s9 1.1.1.1:1 track x/foo", "unable to find required proxy 'x' for tracking."),
        (
            "s9 1.1.1.1:1 track s2",
            "unable to use b/s2 for tracking as it does not have any check nor agent enabled.",
        ),
        ("s9 1.1.1.1 id 1", "'id' : custom id 1 already used at f.cfg:12 ('server s1')."),
        ("s9 1.1.1.1 id abc", "'id' : custom id has to be > 0."),
        ("s9 1.1.1.1:1 weight 300", "weight of server s9 is not within 0 and 256 (300).."),
        ("s9 1.1.1.1:1 cookie foo", "'cookie' option is not accepted for dynamic server"),
        ("s9 1.1.1.1:1 no-check", "'no-check' option is not accepted for dynamic server"),
        ("s9 1.1.1.1:1 inter 0", "invalid value 0 for argument 'inter' of server s9.."),
        ("s!7 1.1.1.1:1", "character '!' is not permitted in server name 's!7'."),
        ("s9 1.1.1.1:99999", "invalid port '99999'"),
        ("s9 1.1.1.1:1 usesrc client", "'usesrc' only allowed after a 'source' statement.."),
        (
            "s9 1.1.1.1 check",
            "config: backend 'b': server 's9' has neither service port nor check port nor tcp_check"
            " rule 'connect' with port information.",
        ),
    ],
)
def test_what_is_refused_is_refused_in_haproxys_words(words: str, said: str) -> None:
    with pytest.raises(CommandRefused) as refused:
        read(words)
    assert str(refused.value) == said


def test_reading_one_leaves_nothing_behind() -> None:
    loaded = loads(TEXT)
    assert loaded.servers is not None
    before = loaded.configuration
    for _ in range(2):
        loaded.servers.read(before, "b", ["s9", "10.0.0.9:81"], None)
    assert [real.name for real in before.pool("b").reals] == ["s1", "s2"]


NAMESAKES = """
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend web
    server s1 10.0.0.1:80
    server s2 10.0.0.2:80
    use-server s1 if { src 192.0.2.1 }
frontend web
    bind :80
    use_backend web if { srv_is_up(web/s2) }
    default_backend web
"""


def test_a_frontend_may_have_its_backends_name() -> None:
    loaded = loads(NAMESAKES)
    assert loaded.servers is not None
    made = loaded.servers.read(loaded.configuration, "web", ["s9", "10.0.0.9:80"], None)
    assert (made.real.name, made.real.link.id) == ("s9", 3)
    assert loaded.servers.is_pointed_at("web", "s1")
    assert loaded.servers.is_pointed_at("web", "s2")
    assert not loaded.servers.is_pointed_at("web", "s3")


@pytest.mark.parametrize("name", ["f", "gone"])
def test_a_backend_that_is_not_there_is_refused(name: str) -> None:
    """A file may have lost it since the server was added."""
    loaded = loads(TEXT)
    assert loaded.servers is not None
    with pytest.raises(CommandRefused, match="No such backend"):
        loaded.servers.read(loaded.configuration, name, ["s9", "10.0.0.9:80"], None)
