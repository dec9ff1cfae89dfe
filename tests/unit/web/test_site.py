# SPDX-License-Identifier: Apache-2.0
"""What services of mode http answer; each answer as HAProxy 2.6 gives it."""

from __future__ import annotations

import base64
import json

import pytest
from unit_web import Web, backend, body_of, field_of, frontend, server, status_of

from penstock.statistics.rows import Selected
from penstock.web.accounts import hashed

STATS = "listen s\n bind {d}/a\n stats enable\n stats uri /stats\n"
SECRET = "Authorization: Basic " + base64.b64encode(b"admin:secret").decode()


@pytest.fixture
def table(web: Web) -> Web:
    web.statistics.table += [
        frontend("f"),
        server("b1", "up", "UP 1/3"),
        server("b1", "down", "DOWN"),
        server("b1", "falling", "DOWN 1/2"),
        server("b1", "off", "MAINT (via x/y)"),
        server("b1", "plain", "no check"),
        backend("b1"),
        backend("b2"),
    ]
    return web


def names(answer: bytes) -> list[str]:
    """Proxies and names of a CSV's rows."""
    return [",".join(line.split(",")[:2]) for line in body_of(answer).splitlines()[1:]]


def test_csv_typed_json_and_schema_are_asked_for_in_the_uri(table: Web) -> None:
    table.follow(STATS)
    answer = table.get("/stats;csv")
    assert body_of(answer).startswith("# pxname,svname,qcur,")
    assert names(answer)[:2] == ["f,FRONTEND", "b1,up"]
    assert field_of(answer, "content-type") == "text/plain"
    assert body_of(table.get("/stats;typed")).startswith("F.1.1.0.pxname.1:KNS:str:f\n")
    answer = table.get("/stats;json")
    assert field_of(answer, "content-type") == "application/json"
    assert len(json.loads(body_of(answer))) == len(table.statistics.table)
    assert "$schema" in json.loads(body_of(table.get("/stats;json-schema")))
    assert field_of(table.get("/stats"), "content-type") == "text/html; charset=utf-8"
    assert field_of(table.get("/stats"), "cache-control") == "no-cache"


def test_refresh_is_said_unless_it_is_not_wanted(table: Web) -> None:
    table.follow(STATS + " stats refresh 7s\n")
    assert field_of(table.get("/stats;csv"), "refresh") == "7"
    assert field_of(table.get("/stats;csv;norefresh"), "refresh") is None


def test_servers_that_are_down_or_in_maintenance_can_be_left_out(table: Web) -> None:
    table.follow(STATS)
    table.get("/stats;csv;up;scope=b1")
    table.get("/stats;no-maint")
    assert table.statistics.asked == [
        Selected(usable_only=True, legends=False),
        Selected(in_service_only=True, legends=False),
    ]


def test_legends_show_addresses(table: Web) -> None:
    table.follow(STATS + " stats show-legends\n")
    table.get("/stats;csv")
    assert table.statistics.asked == [Selected(legends=True)]


def test_scope_limits_what_a_page_shows(table: Web) -> None:
    table.statistics.table.append(frontend("s"))
    table.follow(STATS + " stats scope b2\n stats scope .\n")
    assert names(table.get("/stats;csv")) == ["b2,BACKEND", "s,FRONTEND"]
    assert names(table.get("/stats;csv;scope=B")) == ["b2,BACKEND"]


def test_other_addresses_have_no_server(web: Web) -> None:
    web.follow(STATS)
    answer = web.get("/other")
    assert status_of(answer) == 503
    assert "No server is available to handle this request." in body_of(answer)
    assert status_of(web.get("/stats", method="PUT")) == 503


def test_a_head_has_the_fields_and_no_body(table: Web) -> None:
    table.follow(STATS)
    answer = table.get("/stats;csv", method="HEAD")
    assert status_of(answer) == 200
    assert answer.endswith(b"\r\n\r\n")


def test_a_password_is_asked_for(web: Web) -> None:
    web.follow(STATS + " stats realm My\\ Realm\n stats auth admin:secret\n")
    answer = web.get("/stats;csv")
    assert status_of(answer) == 401
    assert field_of(answer, "www-authenticate") == 'Basic realm="My Realm"'
    assert status_of(web.get("/stats;csv", SECRET)) == 200
    assert status_of(web.get("/stats;csv", SECRET.replace("Basic", "Bearer"))) == 401
    assert status_of(web.get("/other")) == 503


def test_a_realm_has_a_default(web: Web) -> None:
    web.follow(STATS + " stats auth admin:secret\n")
    assert field_of(web.get("/stats"), "www-authenticate") == 'Basic realm="HAProxy Statistics"'


# -- what operators do ----------------------------------------------------------------------


def post(web: Web, body: bytes, target: str = "/stats", *fields: str) -> tuple[int, str | None]:
    answer = web.get(target, *fields, method="POST", body=body)
    return status_of(answer), field_of(answer, "location")


def test_a_post_changes_servers_and_sends_the_browser_back(web: Web) -> None:
    web.follow(STATS + " stats admin if TRUE\n")
    assert post(web, b"s=a&s=b&action=drain&b=x") == (303, "/stats;st=DONE")
    assert web.statistics.ran == ["set server x/b state drain", "set server x/a state drain"]
    assert post(web, b"s=a&s=no&action=drain&b=x") == (303, "/stats;st=PART")
    assert post(web, b"s=no&action=drain&b=x") == (303, "/stats;st=ERRP")
    assert post(web, b"s=a&action=what&b=x") == (303, "/stats;st=ERRP")
    assert post(web, b"action=drain&b=x") == (303, "/stats;st=NONE")
    assert post(web, b"s=a&action=drain&b=x", "/stats;up;norefresh;scope=x") == (
        303,
        "/stats;st=DONE;up;norefresh;scope=x",
    )


def test_only_admins_change_anything(web: Web) -> None:
    web.follow(STATS + " stats admin if { hdr(x-role) admin }\n")
    assert post(web, b"s=a&action=drain&b=x") == (303, "/stats;st=DENY")
    assert not web.statistics.ran
    assert post(web, b"s=a&action=drain&b=x", "/stats", "X-Role: admin")[1] == "/stats;st=DONE"


def test_a_form_has_a_limit(web: Web) -> None:
    web.follow(STATS + " stats admin if TRUE\n")
    answer = web.get("/stats", "Content-Length: 99999", method="POST")
    assert field_of(answer, "location") == "/stats;st=EXCD"
    assert answer.endswith(b"<closed>")
    assert not web.statistics.ran


def test_a_page_for_admins_has_forms_and_for_others_none(table: Web) -> None:
    table.follow(STATS + " stats admin if { hdr(x-role) admin }\n")
    assert "<form" not in body_of(table.get("/stats"))
    assert '<form method="post" action="/stats">' in body_of(table.get("/stats", "X-Role: admin"))


# -- rules ----------------------------------------------------------------------------------

RULES = """
listen a
 bind {d}/a
 http-request set-log-level silent
 http-request allow if { path /stats;csv }
 http-request deny if { path /deny }
 http-request deny deny_status 404 if { path /deny404 }
 http-request auth realm X\\ Y if { path /auth }
 http-request auth if { path /auth2 }
 http-request redirect location /x if { path /redir }
 http-request redirect scheme https code 301 if { path /scheme }
 http-request redirect prefix /pre if { path /prefix }
 http-request return status 200 content-type text/plain string "ok" if { path /ret }
 http-request return status 200 if { path /ret0 }
 http-request reject if { path /reject }
 http-request deny status 418 content-type text/plain string "x" if { path /deny418 }
 redirect location /late if { path /late }
 stats uri /stats
 stats http-request deny if { hdr(x-a) deny }
 stats http-request auth realm Z unless { hdr(x-a) b }
 monitor-uri http://foo/mon
 monitor fail if { hdr(x-a) c }
"""


def test_rules_decide_before_the_statistics_do(web: Web) -> None:
    web.follow(RULES)
    assert status_of(web.get("/deny")) == 403
    assert status_of(web.get("/deny404")) == 404
    assert field_of(web.get("/auth"), "www-authenticate") == 'Basic realm="X Y"'
    assert field_of(web.get("/auth2"), "www-authenticate") == 'Basic realm="a"'
    assert field_of(web.get("/redir"), "location") == "/x"
    answer = web.get("/scheme?x=1")
    assert (status_of(answer), field_of(answer, "location")) == (301, "https://x/scheme?x=1")
    assert field_of(web.get("/prefix?x=1"), "location") == "/pre/prefix?x=1"
    answer = web.get("/ret")
    assert (body_of(answer), field_of(answer, "content-type")) == ("ok", "text/plain")
    assert body_of(web.get("/ret0")) == ""
    assert web.get("/reject") == b"<closed>"
    answer = web.get("/deny418")
    assert answer.startswith(b"HTTP/1.1 418 I'm a Teapot\r\n")
    assert body_of(answer) == "x"
    assert field_of(web.get("/late"), "location") == "/late"


def test_statistics_have_rules_of_their_own(web: Web) -> None:
    web.follow(RULES)
    assert field_of(web.get("/stats"), "www-authenticate") == 'Basic realm="Z"'
    assert status_of(web.get("/stats", "X-A: deny")) == 403
    assert status_of(web.get("/stats", "X-A: z, b")) == 200


def test_a_monitor_is_answered_before_anything_else(web: Web) -> None:
    web.follow(RULES + "frontend g\n bind {d}/g\n monitor-uri /up\n http-request deny\n")
    ask = b"GET http://foo/mon HTTP/1.1\r\nHost: foo\r\n"
    assert status_of(web.talk(ask + b"\r\n")) == 200
    assert status_of(web.talk(ask + b"X-A: c\r\n\r\n")) == 503
    assert status_of(web.get("/mon")) == 503
    answer = web.talk(b"GET /up HTTP/1.1\r\n\r\n", "g")
    assert "Service ready." in body_of(answer)
    assert status_of(web.talk(b"GET /up2 HTTP/1.1\r\n\r\n", "g")) == 403


def test_a_monitor_fails_with_the_servers_of_a_backend(web: Web) -> None:
    web.follow(
        "frontend g\n bind {d}/a\n monitor-uri /up\n acl dead nbsrv(b1) lt 1\n"
        " monitor fail if dead\n"
        "backend b1\n mode tcp\n server up 127.0.0.1:1\n"
    )
    assert status_of(web.get("/up")) == 503
    web.statistics.table.append(server("b1", "up"))
    assert status_of(web.get("/up")) == 200


def test_a_backend_may_hold_the_statistics(web: Web) -> None:
    web.follow(
        "frontend f\n bind {d}/a\n use_backend x if { path_beg /x }\n default_backend y\n"
        "backend x\n stats uri /x\n stats auth admin:secret\n"
        "backend y\n stats uri /\n"
    )
    assert status_of(web.get("/x;csv")) == 401
    assert status_of(web.get("/;csv")) == 200


def test_a_frontend_that_leads_nowhere_has_no_server(web: Web) -> None:
    web.follow("frontend f\n bind {d}/a\n http-request deny if { path /x }\n")
    assert status_of(web.get("/")) == 503
    assert status_of(web.get("/x")) == 403


def test_tcp_rules_close_connections(web: Web) -> None:
    web.follow(
        STATS.replace("listen s", "listen s\n tcp-request content reject if { path /never }")
        + "listen n\n bind {d}/n\n tcp-request connection reject\n stats uri /\n"
    )
    assert web.get("/never") == b"<closed>"
    assert status_of(web.get("/stats")) == 200
    assert web.talk(b"", "n") == b"<closed>"


def test_defaults_hand_statistics_down_until_a_section_has_its_own(web: Web) -> None:
    web.follow(
        "defaults x\n mode http\n timeout client 1s\n stats uri /d\n stats auth admin:secret\n"
        "listen a from x\n bind {d}/a\n"
        "listen b from x\n bind {d}/b\n stats uri /own\n"
    )
    assert status_of(web.get("/d")) == 401
    assert status_of(web.talk(b"GET /d HTTP/1.1\r\n\r\n", "b")) == 503
    assert status_of(web.talk(b"GET /own HTTP/1.1\r\n\r\n", "b")) == 200


# -- users -----------------------------------------------------------------------------------

USERS = """
userlist people
 group watchers users eve
 user eve insecure-password one
 user ann password HASH groups watchers
 user bob insecure-password three
listen s
 mode http
 bind {d}/a
 http-request auth unless { http_auth(people) }
 stats uri /
 stats admin if { http_auth_group(people) watchers }
"""


def login(name: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_lists_of_users_are_asked(web: Web) -> None:
    made = hashed("two", "$5$saltsalt$")
    web.follow(USERS.replace("HASH", made or "$5$none"))
    assert status_of(web.get("/;csv")) == 401
    assert status_of(web.get("/;csv", login("eve", "one"))) == 200
    assert status_of(web.get("/;csv", login("eve", "three"))) == 401
    assert status_of(web.get("/;csv", login("nobody", ""))) == 401
    if made is not None:
        assert status_of(web.get("/;csv", login("ann", "two"))) == 200
        assert status_of(web.get("/;csv", login("ann", made))) == 401
    body = b"s=a&action=drain&b=x"
    assert post(web, body, "/", login("eve", "one"))[1] == "/;st=DONE"
    assert post(web, body, "/", login("bob", "three"))[1] == "/;st=DENY"


def test_crypt_knows_what_it_is_given() -> None:
    if hashed("x", "$6$saltsalt$") is None:
        pytest.skip("needs libcrypt")
    made = hashed("secret", "$6$saltsalt$")
    assert made is not None
    assert made.startswith("$6$saltsalt$")
    assert hashed("secret", made) == made
    assert hashed("other", made) != made
    assert hashed("secret", "*0") is None
    assert hashed("sec\0ret", made) is None
