# SPDX-License-Identifier: Apache-2.0
"""email-alert lines and mailers sections: whole files as HAProxy judges them, and what is made."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import haproxy_oracle as oracle
import pytest

from penstock.config.haproxy import loads
from penstock.errors import ConfigError
from penstock.events import Level
from penstock.mail.model import EmailAlert, Mailer

_ADDRESSED = " email-alert from a\n email-alert to b\n"
_ALERT = f"{_ADDRESSED} email-alert mailers m\n"
_SERVER = " server s 127.0.0.1:1\n"
_MAILERS = "mailers m\n mailer x 127.0.0.1:25\n"
_TIMEOUTS = " timeout connect 1s\n timeout client 1s\n timeout server 1s\n"

FILES = {
    "whole": f"backend p\n{_ALERT}{_SERVER}{_MAILERS}",
    "incomplete": f"backend p\n{_ADDRESSED}{_SERVER}",
    "level alone": f"listen p\n bind :80\n email-alert level info\n{_SERVER}",
    "frontend": f"frontend p\n bind :80\n email-alert to b\n{_MAILERS}",
    "unknown": f"backend p\n{_ALERT}{_SERVER}mailers other\n",
    "unknown of a frontend": f"frontend p\n bind :80\n{_ALERT}",
    "no name": f'backend p\n{_ADDRESSED} email-alert mailers ""\n{_SERVER}{_MAILERS}',
    "disabled": f"backend p\n disabled\n email-alert to b\n{_SERVER}",
    "in parts": f"defaults\n{_ADDRESSED}{_TIMEOUTS}backend p\n email-alert mailers m\n{_SERVER}"
    f"{_MAILERS}backend q\n{_SERVER}",
    "twice": f"backend p\n{_ALERT}{_SERVER}{_MAILERS}{_MAILERS}",
    "nobody": f"backend p\n{_ALERT}{_SERVER}mailers m\n",
    "same mailer": f"backend p\n{_ALERT}{_SERVER}{_MAILERS} mailer x 127.0.0.1:25\n",
    "unnamed": f"mailers\n{_MAILERS}",
}


@pytest.mark.skipif(oracle.version() != "2.6", reason="haproxy 2.6 is not installed")
@pytest.mark.parametrize("name", FILES)
def test_haproxys_verdict(name: str, tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    text = FILES[name]
    path.write_text(text if "defaults" in text else f"defaults\n{_TIMEOUTS}{text}")
    assert oracle.differences(oracle.ask(path), oracle.ours(path)[0]) == []


def alerts(text: str) -> EmailAlert | None:
    return loads(text).configuration.pools[0].alerts


def test_what_is_left_unsaid() -> None:
    assert alerts(FILES["whole"]) == EmailAlert(
        "a",
        "b",
        (Mailer("x", ip_address("127.0.0.1"), 25),),
        level=Level.ALERT,
        hostname=None,
        patience=10_000,
    )


def test_what_can_be_said() -> None:
    text = (
        "backend p\n email-alert from x\n email-alert from a\n email-alert to b\n"
        " email-alert mailers m\n email-alert level debug\n email-alert myhostname lb\n"
        " source 127.0.0.9 interface lo\n server s 127.0.0.1:1\n"
        "mailers m\n timeout mail 3s\n mailer x [::1]:2525\n mailer y 10.0.0.1:25\n"
    )
    mailers = (Mailer("x", ip_address("::1"), 2525), Mailer("y", ip_address("10.0.0.1"), 25))
    assert alerts(text) == EmailAlert(
        "a",
        "b",
        mailers,
        level=Level.DEBUG,
        hostname="lb",
        patience=3000,
        source=ip_address("127.0.0.9"),
        interface="lo",
    )


@pytest.mark.parametrize("name", ["incomplete", "level alone", "disabled"])
def test_no_mails_without_all_that_they_need(name: str) -> None:
    assert alerts(FILES[name]) is None


def test_a_section_adds_to_its_defaults_and_no_other_sees_it() -> None:
    p, q = loads(FILES["in parts"]).configuration.pools
    assert p.alerts is not None
    assert (p.alerts.sender, p.alerts.recipient) == ("a", "b")
    assert q.alerts is None


def test_a_missing_section_is_told_at_the_line_that_names_it() -> None:
    with pytest.raises(ConfigError) as caught:
        loads(FILES["unknown"])
    (only,) = caught.value.diagnostics
    assert (only.line, only.message) == (4, "Proxy 'p': unable to find mailers 'm'.")
