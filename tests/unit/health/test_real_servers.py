# SPDX-License-Identifier: Apache-2.0
"""Checks of the real PostgreSQL, MariaDB, Redis, OpenSMTPD, OpenLDAP and nginx: up, then down."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_servers import (
    Server,
    account,
    opensmtpd,
    owned,
    postgresql_programs,
    run,
    started,
    until,
)
from scripted import Seen, ours
from unit_ports import closed_port

_CERTIFICATES = Path(__file__).parent.parent / "engine" / "certificates"
_DOWN = Seen("L4CON", "", "Connection refused")


def check(port: int, option: str, server: str = "") -> Seen:
    text = (
        "defaults\n    mode tcp\n    timeout connect 10s\n    timeout check 10s\n"
        "    timeout server 10s\nbackend b\n"
        + "".join(f"    {line}\n" for line in option.split("|"))
        + f"    server s1 127.0.0.1:{port} check inter 10s {server}\n"
    )
    return ours(text)["b"]


@pytest.mark.needs("redis-server")
def test_redis(tmp_path: Path) -> None:
    port = closed_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with started(command, port, tmp_path) as redis:
        assert check(port, "option redis-check") == Seen("L7OK", "0", "Redis server is ok")
        ask = (
            "option tcp-check|tcp-check connect|tcp-check send info\\ replication\\r\\n"
            "|tcp-check expect min-recv 80 string role:{}|tcp-check send QUIT\\r\\n"
            "|tcp-check expect string +OK"
        )
        assert check(port, ask.format("master")).code == "L7OK"
        assert check(port, ask.format("slave")).code == "L7RSP"
        redis.kill()
        assert check(port, "option redis-check") == _DOWN


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("needs the program postgres")
    user = account("postgres")
    port = closed_port()
    with owned(user) as folder:
        (folder / "password").write_text("secret\n")
        (folder / "password").chmod(0o644)
        method = "-A", "scram-sha-256", "-U", "checker", "--pwfile", str(folder / "password")
        data = str(folder / "files")
        run([str(programs / "initdb"), "-D", data, "-N", *method], folder, user)
        command = [
            *(str(programs / "postgres"), "-D", data, "-p", str(port), "-F"),
            *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
            *("-c", "dynamic_shared_memory_type=mmap"),  # in its folder: it is killed
        ]
        with started(command, port, folder, user) as server:
            # It listens before it is ready to serve.
            ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            until(lambda: subprocess.run(ready, check=False).returncode == 0)
            yield server


def test_postgresql(postgresql: Server) -> None:
    """A request for a password is answer enough: it is up."""
    for user in ("checker", "nobody"):
        seen = check(postgresql.port, f"option pgsql-check user {user}")
        assert seen == Seen("L7OK", "0", "PostgreSQL server is ok")
    postgresql.kill()
    assert check(postgresql.port, "option pgsql-check user checker") == _DOWN


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Server]:
    user = account("mysql")
    port = closed_port()
    with owned(user) as folder:
        run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={folder}"),
                *("--skip-test-db", "--auth-root-authentication-method=normal"),
                *((f"--user={user}",) if user else ()),
            ],
            folder,
        )
        command = [
            *("mariadbd", "--no-defaults", f"--datadir={folder}", f"--port={port}"),
            *("--bind-address=127.0.0.1", f"--socket={folder}/socket"),
            *(f"--pid-file={folder}/pid", "--skip-name-resolve"),
        ]
        with started(command, port, folder, user) as server:
            yield server


@pytest.mark.needs("mariadbd", "mariadb-install-db")
def test_mariadb(mariadb: Server) -> None:
    port = mariadb.port
    greeted = check(port, "option mysql-check")
    assert (greeted.code, "MariaDB" in greeted.info) == ("L7OK", True)
    assert check(port, "option mysql-check user root").code == "L7OK"
    denied = check(port, "option mysql-check user nobody")
    assert (denied.code, denied.number, "nobody" in denied.info) == ("L7STS", "1045", True)
    mariadb.kill()
    assert check(port, "option mysql-check user root") == _DOWN


@pytest.mark.needs("slapd")
def test_openldap(tmp_path: Path) -> None:
    port = closed_port()
    (tmp_path / "slapd.conf").write_text(f"pidfile {tmp_path}/pid\nargsfile {tmp_path}/args\n")
    command = ["slapd", "-f", "slapd.conf", "-h", f"ldap://127.0.0.1:{port}", "-d", "0"]
    with started(command, port, tmp_path) as slapd:
        assert check(port, "option ldap-check") == Seen("L7OK", "0", "Success")
        slapd.kill()
        assert check(port, "option ldap-check") == _DOWN


@pytest.mark.root
@pytest.mark.needs("smtpd", "unshare")
def test_opensmtpd(tmp_path: Path) -> None:
    with opensmtpd(tmp_path) as smtpd:
        for option in ("option smtpchk", "option smtpchk EHLO lb.example"):
            seen = check(smtpd.port, option)
            assert (seen.code, seen.number) == ("L7OK", "221")
        smtpd.kill()
        assert check(smtpd.port, "option smtpchk") == _DOWN


@pytest.mark.needs("nginx")
def test_nginx_with_tls(tmp_path: Path) -> None:
    port = closed_port()
    (tmp_path / "nginx.conf").write_text(
        f"""
daemon off; master_process off; pid {tmp_path}/pid; error_log stderr;
events {{}}
http {{
    access_log off; client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path};
    fastcgi_temp_path {tmp_path}; uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {_CERTIFICATES}/named.pem; ssl_certificate_key {_CERTIFICATES}/named.pem;
        location = /up {{ add_header X-Role "primary, leader"; return 200 "alive\\n"; }}
        location = /role {{ return 503; }}
        location / {{ return 404; }}
    }}
}}
"""
    )
    with started(["nginx", "-c", str(tmp_path / "nginx.conf")], port, tmp_path) as nginx:
        get = "option httpchk|http-check send meth GET uri {} ver HTTP/1.1 hdr Host a.example"
        blind = "ssl verify none"
        assert check(port, get.format("/up"), blind) == Seen("L7OK", "200", "")
        assert check(port, get.format("/role"), blind) == Seen(
            "L7STS", "503", "Service Temporarily Unavailable"
        )
        for expect, code in (
            ("string alive", "L7OK"),
            ("! string alive", "L7RSP"),
            ("rstring ^al", "L7OK"),
            ("hdr name x-role value leader", "L7OK"),
            ("fhdr name x-role value leader", "L7STS"),
        ):
            lines = f"{get.format('/up')}|http-check expect {expect}"
            assert check(port, lines, blind).code == code, expect
        plain = check(port, get.format("/up"))
        assert (plain.code, plain.number) == ("L7STS", "400")
        authority = f"ssl verify required ca-file {_CERTIFICATES}/ca.pem"
        assert check(port, "", f"{authority} check-sni stranger.example") == Seen(
            "L6RSP", "", "Server presented an SSL certificate different from the expected one"
        )
        assert check(port, "", f"ssl verify required ca-file {_CERTIFICATES}/other-ca.pem") == (
            Seen("L6RSP", "", "SSL handshake failure")
        )
        assert check(port, "", f"{authority} verifyhost nobody.example") == Seen(
            "L6RSP", "", "Server presented an SSL certificate different from the configured one"
        )
        assert check(port, "", authority).code == "L6OK"
        nginx.kill()
        assert check(port, get.format("/up"), blind) == _DOWN


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_nginx_with_http2(tmp_path: Path, tls: bool) -> None:
    """It announces at once that it takes one request alone."""
    port = closed_port()
    (tmp_path / "nginx.conf").write_text(
        f"""
daemon off; master_process off; pid {tmp_path}/pid; error_log stderr;
events {{}}
http {{
    access_log off; client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path};
    fastcgi_temp_path {tmp_path}; uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};
    keepalive_requests 1;
    server {{
        listen 127.0.0.1:{port} {"ssl" if tls else ""} http2;
        ssl_certificate {_CERTIFICATES}/named.pem; ssl_certificate_key {_CERTIFICATES}/named.pem;
        location = /up {{ add_header X-Role "primary, leader"; return 200 "$server_protocol\\n"; }}
        location = /role {{ return 503; }}
        location / {{ return 404; }}
    }}
}}
"""
    )
    words = "check-ssl verify none check-alpn h2,http/1.1" if tls else "check-proto h2"
    command = ["nginx", "-c", f"{tmp_path}/nginx.conf", "-p", str(tmp_path)]
    with started(command, port, tmp_path) as nginx:

        def ask(uri: str, more: str = "") -> Seen:
            request = f"option httpchk|http-check send meth GET uri {uri} hdr Host a.example"
            return check(port, f"{request}{more}", words)

        assert ask("/up", "|http-check expect string HTTP/2.0") == Seen("L7OK", "200", "")
        header = "|http-check expect hdr name x-role value leader"
        assert ask("/up", header) == Seen("L7OK", "200", "")
        assert ask("/role") == Seen("L7STS", "503", "")
        assert ask("/other", "|http-check expect status 404") == Seen("L7OK", "404", "")
        nginx.kill()
        assert ask("/up") == _DOWN
