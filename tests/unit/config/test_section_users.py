# SPDX-License-Identifier: Apache-2.0
"""userlist sections, with HAProxy's words for what is wrong with them."""

from __future__ import annotations

import pytest

from penstock.config.haproxy import loads
from penstock.errors import ConfigError
from penstock.http_service import Account

HTTP = "listen s\n mode http\n bind :1\n timeout client 1s\n stats uri /\n"


def test_users_and_groups_name_each_other() -> None:
    result = loads(
        "userlist u\n group g users a\n group h\n user a insecure-password x\n"
        " user b password $5$x groups g,h\n user c\n" + HTTP
    )
    (service,) = result.configuration.http
    (users,) = service.users
    assert users.accounts == (
        Account("a", "x", groups=("g",)),
        Account("b", "$5$x", hashed=True, groups=("g", "h")),
        Account("c", ""),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("userlist u\n user\n", "'user' expects <name> as arguments."),
        ("userlist u\n group\n", "'group' expects <name> as arguments."),
        ("userlist u\n nope\n", "unknown keyword 'nope' in 'users' section"),
        (
            "userlist u\n user a foo b\n",
            "'user' only supports 'password', 'insecure-password' and 'groups' options.",
        ),
        ("userlist u\n group a foo\n", "'group' only supports 'users' option."),
        ("userlist\n", "'userlist' expects <name> as arguments."),
        ("userlist u\n group g users a\n", "userlist 'u': no such user 'a' specified in group 'g'"),
        ("userlist u\n user a groups g\n", "userlist 'u': no such group 'g' specified in user 'a'"),
        (
            HTTP + " http-request auth unless { http_auth(u) }\n",
            "unable to find userlist 'u' referenced in arg 1 of ACL keyword 'http_auth' in proxy"
            " 's'.",
        ),
    ],
)
def test_faults(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loads(text if "listen" in text else text + HTTP)
    assert [one.message for one in refused.value.diagnostics] == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("userlist u\nuserlist u\n", "ignoring duplicated userlist 'u'."),
        ("userlist u\n user a\n user a\n", "ignoring duplicated user 'a' in userlist 'u'."),
        ("userlist u\n group a\n group a\n", "ignoring duplicated group 'a' in userlist 'u'."),
    ],
)
def test_what_is_there_twice_counts_once(text: str, message: str) -> None:
    assert [one.message for one in loads(text + HTTP).warnings] == [message]
