# SPDX-License-Identifier: Apache-2.0
"""TLS, the PROXY protocol and UNIX sockets: what options mean, and HAProxy's messages."""

from __future__ import annotations

from pathlib import Path

import haproxy_oracle as oracle
import pytest

from penstock.config.haproxy.address import AddressError, Allow, Target, parse_address
from penstock.config.haproxy.send_proxy import send_proxy
from penstock.config.haproxy.tls_words import (
    BIND_FLAGS,
    TlsDefaults,
    TlsDraft,
    Versions,
    bind_versions,
    listener_tls,
    read_flags,
    read_version,
    server_tls,
    server_versions,
)
from penstock.proxied import HeaderVersion, ListenerTls, SendProxy, TlsSettings, TlsVerify

CERTIFICATES = Path(__file__).parents[1] / "engine" / "certificates"

# b: behind a bind line's address, s: behind a server's, g: a line of the global section.
# $C is the folder of certificates.
LINES = """
b ssl
b ssl crt /nonexistent.pem
b ssl crt nonexistent.pem
b ssl crt $C/default.pem
b crt $C/default.pem
b ssl crt $C/folder
b ssl crt-list /nonexistent
b ssl crt $C/default.pem ca-file /nonexistent
b ssl crt $C/default.pem ca-file $C/ca.pem verify required
b ssl crt $C/default.pem verify required
b ssl crt $C/default.pem verify optional
b ssl crt $C/default.pem verify maybe
b ssl crt $C/default.pem verify
b ssl crt $C/default.pem ca-file $C/ca.pem crl-file /nonexistent verify required
b ssl crt $C/default.pem ssl-min-ver TLSv1
b ssl crt $C/default.pem ssl-min-ver
b ssl crt $C/default.pem ssl-max-ver TLSv9
b ssl crt $C/default.pem ssl-min-ver TLSv1.3 ssl-max-ver TLSv1.2
b ssl crt $C/default.pem force-tlsv12 no-tlsv12
b ssl crt $C/default.pem force-tlsv12
b ssl crt $C/default.pem no-tlsv12
b ssl crt $C/default.pem no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13
b ssl crt $C/default.pem ssl-min-ver SSLv3
b ssl crt $C/default.pem force-sslv3
b ssl crt $C/default.pem alpn
b ssl crt $C/default.pem alpn h2,http/1.1
b ssl crt $C/default.pem strict-sni
b ssl strict-sni
b strict-sni crt $C/default.pem
b accept-netscaler-cip
b accept-netscaler-cip abc
b accept-netscaler-cip 0
b accept-netscaler-cip 0x1234
b accept-proxy accept-netscaler-cip 5
b mss abc
b mss 70000
b mss -5
b backlog 0
b backlog -1
b backlog
b mode
b mode 9
b mode 660
b uid
b uid abc
b user
b group
b ,unix@relative
b ,abns@name
b ,unix@/tmp/$X
b ,abns@$X
s ssl
s ssl verify
s ssl verify none
s ssl verify optional
s ssl verify required
s ssl ca-file
s ssl ca-file /nonexistent
s ssl ca-file $C/ca.pem
s ssl ca-file $C/folder
s ssl ca-file @system-ca
s ssl ca-file $C/ca.pem crl-file /nonexistent
s ssl verify none crt /nonexistent
s ssl verify none crt $C/client.pem
s crt /nonexistent
s ca-file /nonexistent
s verify required
s ssl verify none sni
s ssl verify none sni str(abc)
s sni nope
s ssl verify none sni str(abc)x
s ssl verify none sni str(abc),lower
s ssl verify none sni str(abc),nope
s ssl verify none sni res.len
s ssl verify none sni bc_src
s ssl verify none sni ssl_fc_sni
s ssl ca-file $C/ca.pem verifyhost
s ssl ca-file $C/ca.pem verifyhost a.example
s ssl verify none alpn
s ssl verify none ssl-min-ver TLSv1
s ssl verify none ssl-min-ver TLSv1.3 ssl-max-ver TLSv1.2
s ssl verify none force-tlsv12 no-tlsv12
s ssl verify none no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13
s ssl verify none no-tlsv12
s send-proxy-v2 proxy-v2-options
s send-proxy-v2 proxy-v2-options nope
s send-proxy-v2 proxy-v2-options ssl,nope
s send-proxy-v2 proxy-v2-options ssl,,crc32c
s proxy-v2-options ssl
s send-proxy no-send-proxy
s socks4
s socks4 127.0.0.1
s socks4 127.0.0.1:1080
s maxqueue
s maxqueue -1
g ca-base
g ca-base /x y
g ssl-default-bind-options
g ssl-default-bind-options nope
g ssl-default-bind-options ssl-min-ver
g ssl-default-bind-options ssl-min-ver TLSv9
g ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets prefer-client-ciphers
g ssl-default-bind-options force-tlsv12 strict-sni
g ssl-default-server-options nope
g ssl-default-server-options ssl-min-ver TLSv1.2
g ssl-default-bind-ciphers
g ssl-default-server-ciphers
g ssl-server-verify
g ssl-server-verify none
g ssl-server-verify nope
g crt-base /x y
g unix-bind
g unix-bind prefix
g unix-bind prefix /tmp/ mode 600 user root group root uid 0 gid 0
g unix-bind nope x
""".strip().split("\n")


@pytest.mark.skipif(oracle.PROGRAM is None, reason="haproxy is not installed: its messages")
@pytest.mark.parametrize("line", LINES)
def test_haproxy_says_the_same(line: str, tmp_path: Path) -> None:
    kind, _, rest = line.partition(" ")
    rest = rest.replace("$C", str(CERTIFICATES)).replace("$X", "x" * 120)
    said = {"b": "", "s": "", "g": ""} | {kind: rest if rest.startswith(",") else " " + rest}
    path = tmp_path / "h.cfg"
    path.write_text(
        f"global\n stats timeout 1s\n{said['g']}\n"
        "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
        f"listen l\n bind 127.0.0.1:20100{said['b']}\n server s 127.0.0.1:20101{said['s']}\n"
    )
    theirs, (mine, _) = oracle.ask(path), oracle.ours(path)
    assert oracle.differences(theirs, mine) == []


def test_versions_of_bind_lines() -> None:
    assert bind_versions(TlsDraft(), TlsDraft()) == Versions("TLSv1.2", "TLSv1.3")
    old = TlsDraft(min_version="TLSv1.0")
    assert bind_versions(TlsDraft(), old) == Versions("TLSv1.0", "TLSv1.3")
    assert bind_versions(TlsDraft(max_version="TLSv1.1"), TlsDraft()).low == "TLSv1.0"


def test_versions_of_servers() -> None:
    assert server_versions(TlsDraft(), TlsDraft()) == Versions("TLSv1.0", "TLSv1.3")
    hole = TlsDraft(refused=frozenset({"TLSv1.1"}))
    assert server_versions(hole, TlsDraft()) == Versions("TLSv1.2", "TLSv1.3", hole="TLSv1.1")


def test_defaults_fill_in_what_a_line_leaves_open() -> None:
    defaults = TlsDefaults(crt_base="/crt")
    read_flags(defaults.bind, "ssl-default-bind-options", ["ssl-min-ver", "TLSv1.3"], frozenset())
    defaults.bind.ciphers = "HIGH"
    line = TlsDraft(alpn=("h2",), certificates=("/a.pem",), ciphersuites="X", strict_sni=True)
    assert listener_tls(line, defaults) == ListenerTls(
        TlsSettings(
            alpn=("h2",),
            ciphers="HIGH",
            ciphersuites="X",
            min_version="TLSv1.3",
            max_version="TLSv1.3",
        ),
        ("/a.pem",),
        strict_sni=True,
        certificate_base="/crt",
    )


def test_servers_are_verified_unless_told_otherwise() -> None:
    line, defaults = TlsDraft(ca_file="/ca"), TlsDefaults()
    assert server_tls(line, defaults).settings.verify is TlsVerify.REQUIRED
    defaults.server.verify = TlsVerify.NONE
    assert server_tls(line, defaults).settings.verify is TlsVerify.NONE
    line.verify = TlsVerify.REQUIRED
    assert server_tls(line, defaults).settings.verify is TlsVerify.REQUIRED


def test_words_alone() -> None:
    defaults, line = TlsDefaults(), TlsDraft(lists=("/l",), lists_first=True)
    words = ["no-tls-tickets", "prefer-client-ciphers"]
    read_flags(defaults.bind, "ssl-default-bind-options", words, BIND_FLAGS)
    made = listener_tls(line, defaults)
    assert not made.settings.tickets
    assert made.client_ciphers
    assert made.lists_first
    assert server_tls(line, defaults).settings.tickets


def test_force_is_both_ends() -> None:
    line = TlsDraft()
    assert read_version(line, "force-tlsv12", "")
    assert (line.min_version, line.max_version) == ("TLSv1.2", "TLSv1.2")
    assert not read_version(line, "no-tls-tickets", "")


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        (set(), None),
        ({"ssl"}, None),  # proxy-v2-options alone send nothing
        ({"v1"}, SendProxy(HeaderVersion.V1)),
        ({"v1", "v2"}, SendProxy(HeaderVersion.V2)),
        ({"v2", "ssl"}, SendProxy(HeaderVersion.V2_SSL, ("ssl",))),
        ({"v2", "ssl", "cert-cn"}, SendProxy(HeaderVersion.V2_SSL_CN, ("cert-cn", "ssl"))),
        ({"v2", "crc32c"}, SendProxy(HeaderVersion.V2, ("crc32c",))),
    ],
)
def test_what_a_server_is_sent(header: set[str], sent: SendProxy | None) -> None:
    assert send_proxy(frozenset(header)) == sent


@pytest.mark.parametrize(
    ("text", "local", "name"),
    [
        ("/run/x.sock", "unix", "/pre/run/x.sock"),
        ("unix@run/x.sock", "unix", "/prerun/x.sock"),
        ("abns@name", "abns", "name"),
        ("fd@3", "fd", "3"),
    ],
)
def test_local_addresses(text: str, local: str, name: str) -> None:
    target = parse_address(text, Allow.SOCKET, {}, unix_prefix="/pre")
    assert target == Target(local=local, local_name=name)


def test_the_prefix_counts_for_the_length() -> None:
    assert parse_address("/" + "x" * 96, Allow.NOTHING, {}).local_name
    with pytest.raises(AddressError, match=r"too long \(max 93\)"):
        parse_address("/" + "x" * 96, Allow.NOTHING, {}, unix_prefix="/pre")
