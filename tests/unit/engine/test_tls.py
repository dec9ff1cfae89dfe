# SPDX-License-Identifier: Apache-2.0
"""Handshakes over socket pairs, driven as the engine drives them."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from penstock.engine.api import ServiceState
from penstock.engine.proxy.board import Board
from penstock.engine.proxy.loop import Loop
from penstock.engine.proxy.tls import (
    TlsInfo,
    listener_context,
    server_context,
    wrap_client,
    wrap_server,
)
from penstock.engine.proxy.world import World
from penstock.errors import ConfigError
from penstock.model import Protocol
from penstock.proxied import Front, Listener, ListenerTls, ServerTls, TlsSettings, TlsVerify
from penstock.terms import Origin, PortRange
from penstock.wire.tlv import SslTlv

FILES = Path(__file__).parent / "certificates"
HERE = Origin("h.cfg", 7)
CA = str(FILES / "ca.pem")
PLAIN = TlsSettings()
VERIFIED = TlsSettings(verify=TlsVerify.REQUIRED, ca_file=CA)


def file(name: str) -> str:
    return str(FILES / name)


def listener(*names: str, settings: TlsSettings = PLAIN, strict: bool = False) -> ssl.SSLContext:
    return listener_context(ListenerTls(settings, tuple(map(file, names)), strict_sni=strict), HERE)


def server(
    settings: TlsSettings = VERIFIED, certificate: str | None = None, verify_host: str | None = None
) -> ssl.SSLContext:
    path = None if certificate is None else file(certificate)
    return server_context(ServerTls(settings, path, verify_host=verify_host), HERE)


@contextmanager
def handshake(
    ours: ssl.SSLContext, theirs: ssl.SSLContext, sni: str | None = None
) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """A client's connection to us and its other end, after the handshake. Raises ssl.SSLError."""
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    with wrap_client(ours, one) as accepted, wrap_server(theirs, other, sni) as connected:
        left = [connected, accepted]
        for _ in range(20):
            for sock in list(left):
                try:
                    sock.do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    continue
                left.remove(sock)
        assert not left
        yield accepted, connected


def shown(ours: ssl.SSLContext, sni: str | None) -> str | None:
    """The common name of the certificate that a client who asks for *sni* is shown."""
    with handshake(ours, server(), sni) as (accepted, _):
        info = TlsInfo.of(accepted)
        assert info.sni == sni
        assert info.own is not None
        return info.own.common_name


@pytest.mark.parametrize(
    ("sni", "name"),
    [
        ("one.example", "one.example"),
        ("ALSO-ONE.example", "one.example"),
        ("a.wild.example", "*.wild.example"),
        ("named.example", "named.example"),  # has a common name only
        (None, "default.example"),
    ],
)
def test_the_name_decides_the_certificate(sni: str | None, name: str) -> None:
    ours = listener("default.pem", "one.pem", "wild.pem", "named.pem")
    assert shown(ours, sni) == name


@pytest.mark.parametrize("sni", ["other.example", "a.b.wild.example", "wild.example"])
def test_other_names_get_the_default(sni: str) -> None:
    ours = listener("default.pem", "wild.pem")
    with handshake(ours, server(TlsSettings()), sni) as (accepted, _):
        own = TlsInfo.of(accepted).own
        assert own is not None
        assert own.common_name == "default.example"


@pytest.mark.parametrize("sni", ["other.example", None])
def test_strict_sni_refuses_them(sni: str | None) -> None:
    ours = listener("default.pem", "one.pem", strict=True)
    with (
        pytest.raises(ssl.SSLError, match=r"CALLBACK_FAILED|UNRECOGNIZED"),
        handshake(ours, server(), sni),
    ):
        pass
    assert shown(ours, "one.example") == "one.example"


def test_strict_sni_without_certificates_refuses_all() -> None:
    ours = listener_context(ListenerTls(PLAIN, strict_sni=True), HERE)
    with pytest.raises(ssl.SSLError), handshake(ours, server(), "one.example"):
        pass


def test_a_folder_and_a_key_beside_its_certificate() -> None:
    assert shown(listener("folder"), "x.wild.example") == "*.wild.example"
    assert shown(listener("split/one.crt"), "one.example") == "one.example"


def test_a_list_of_certificates(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(
        "# the default comes first\n"
        "default.pem\n\n"
        "one.pem [alpn mqtt,h2 verify none] one.example *.sub.example !not.sub.example\n"
        "wild.pem not.wild.example\n"
        "named.pem !named.example\n"
    )
    tls = ListenerTls(TlsSettings(alpn=("h2",)), (), (str(path),), certificate_base=str(FILES))
    ours = listener_context(tls, HERE)
    anybody = server(TlsSettings(alpn=("mqtt", "h2")))

    def asked(sni: str) -> tuple[str | None, str | None]:
        with handshake(ours, anybody, sni) as (accepted, _):
            info = TlsInfo.of(accepted)
            assert info.own is not None
            return info.own.common_name, info.alpn

    assert asked("one.example") == ("one.example", "mqtt")
    assert asked("a.sub.example") == ("one.example", "mqtt")
    assert asked("not.sub.example") == ("default.example", "h2")
    assert asked("also-one.example") == ("default.example", "h2")  # filters replace its names
    assert asked("not.wild.example") == ("*.wild.example", "h2")
    assert asked("named.example") == ("default.example", "h2")


def test_a_list_may_come_before_certificates(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("one.pem\n")
    tls = ListenerTls(
        PLAIN,
        (file("default.pem"),),
        (str(tmp_path / "list"),),
        lists_first=True,
        certificate_base=str(FILES),
    )
    assert shown(listener_context(tls), None) == "one.example"


def test_tickets_and_whose_order_of_ciphers_counts() -> None:
    usual = listener("default.pem").options
    assert usual & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert not usual & ssl.OP_NO_TICKET
    tls = ListenerTls(TlsSettings(tickets=False), (file("default.pem"),), client_ciphers=True)
    other = listener_context(tls).options
    assert not other & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert other & ssl.OP_NO_TICKET


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nothing.pem", "unable to stat SSL certificate from file"),
        ("one.pem [verify required]", "cannot be for one certificate alone"),
        ("one.pem [nonsense]", "unknown ssl keyword 'nonsense'"),
        ("one.pem [alpn h2", "without its"),
    ],
)
def test_a_fault_in_a_list_names_its_line(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(f"default.pem\n{line}\n")
    tls = ListenerTls(PLAIN, (), (str(path),), certificate_base=str(FILES))
    with pytest.raises(ConfigError, match=message) as caught:
        listener_context(tls, HERE)
    assert caught.value.diagnostics[0].line == 2
    assert caught.value.diagnostics[0].file == str(path)


def test_a_client_with_a_certificate() -> None:
    ours = listener("default.pem", settings=replace(VERIFIED, alpn=("mqtt",)))
    theirs = server(replace(VERIFIED, alpn=("mqtt",)), "client.pem")
    with handshake(ours, theirs, "localhost") as (accepted, _):
        info = TlsInfo.of(accepted)
    assert (info.version, info.alpn, info.common_name) == ("TLSv1.3", "mqtt", "a client")
    assert info.tlv() == SslTlv(
        7,
        version="TLSv1.3",
        common_name="a client",
        cipher="TLS_AES_256_GCM_SHA384",
        signature_algorithm="ecdsa-with-SHA256",
        key_algorithm="EC256",
    )


def test_a_client_without_one() -> None:
    optional = listener("default.pem", settings=replace(VERIFIED, verify=TlsVerify.OPTIONAL))
    with handshake(optional, server(), "localhost") as (accepted, _):
        info = TlsInfo.of(accepted)
    assert info.certificate is None
    assert info.tlv().client == 1


def test_clients_are_verified_whichever_certificate_they_are_shown() -> None:
    ours = listener("default.pem", "one.pem", settings=OLD)
    with handshake(ours, server(OLD, "client.pem"), "one.example") as (accepted, _):
        assert TlsInfo.of(accepted).common_name == "a client"
    with pytest.raises(ssl.SSLError), handshake(ours, server(OLD), "one.example"):
        pass


def test_a_session_that_is_resumed() -> None:
    """The certificate is known from the session, and not of this connection."""
    ours = listener("default.pem", settings=OLD)
    theirs = server(OLD, "client.pem")
    with handshake(ours, theirs, "localhost") as (_, connected):
        session = connected.session
    one, other = socket.socketpair()
    with (
        wrap_client(ours, one) as accepted,
        theirs.wrap_socket(
            other, do_handshake_on_connect=False, server_hostname="localhost", session=session
        ) as connected,
    ):
        thread = threading.Thread(target=connected.do_handshake)
        thread.start()
        accepted.do_handshake()
        thread.join()
        info = TlsInfo.of(accepted)
    assert info.resumed
    assert info.common_name == "a client"
    assert info.tlv().client == 5


OLD = replace(VERIFIED, max_version="TLSv1.2")  # where the client learns at once what we think


@pytest.mark.parametrize("certificate", [None, "stranger.pem"])
def test_a_client_that_is_not_trusted(certificate: str | None) -> None:
    ours = listener("default.pem", settings=OLD)
    theirs = server(TlsSettings(max_version="TLSv1.2"), certificate)
    with pytest.raises(ssl.SSLError), handshake(ours, theirs):
        pass


def test_revoked_clients() -> None:
    ours = listener("default.pem", settings=replace(OLD, crl_file=file("revoked.crl")))
    with handshake(ours, server(OLD, "client.pem"), "localhost") as (accepted, _):
        assert TlsInfo.of(accepted).common_name == "a client"
    with pytest.raises(ssl.SSLError), handshake(ours, server(OLD, "revoked.pem"), "localhost"):
        pass


def test_authorities_in_a_folder(tmp_path: Path) -> None:
    shutil.copy(FILES / "ca.pem", tmp_path / "one.pem")
    shutil.copy(FILES / "other-ca.pem", tmp_path / "other.pem")
    (tmp_path / "README").write_text("not one of them")
    ours = listener("default.pem", settings=replace(OLD, ca_file=str(tmp_path)))
    for name, common in (("client.pem", "a client"), ("stranger.pem", "a stranger")):
        with handshake(ours, server(OLD, name), "localhost") as (accepted, _):
            assert TlsInfo.of(accepted).common_name == common


def test_what_a_server_is_verified_for() -> None:
    ours = listener("one.pem")
    with handshake(ours, server(), "one.example") as (_, connected):
        assert TlsInfo.of(connected).sni == "one.example"
    with handshake(ours, server(verify_host="also-one.example")):
        pass
    with handshake(ours, server()):  # no name at all: the chain alone
        pass
    with handshake(ours, server(PLAIN), "wrong.example"):  # verify none
        pass
    for theirs, sni in (
        (server(), "wrong.example"),
        (server(verify_host="wrong.example"), None),
        (server(replace(VERIFIED, ca_file=file("other-ca.pem"))), "one.example"),
    ):
        with pytest.raises(ssl.SSLCertVerificationError), handshake(ours, theirs, sni):
            pass


@pytest.mark.parametrize(
    ("low", "high", "version"),
    [(None, None, "TLSv1.3"), (None, "TLSv1.2", "TLSv1.2"), ("TLSv1.3", None, "TLSv1.3")],
)
def test_versions(low: str | None, high: str | None, version: str) -> None:
    ours = listener("default.pem", settings=TlsSettings(min_version=low, max_version=high))
    with handshake(ours, server(PLAIN)) as (accepted, _):
        assert TlsInfo.of(accepted).version == version


def test_versions_that_do_not_meet() -> None:
    ours = listener("default.pem", settings=TlsSettings(min_version="TLSv1.3"))
    with pytest.raises(ssl.SSLError), handshake(ours, server(TlsSettings(max_version="TLSv1.2"))):
        pass


def test_ciphers() -> None:
    cipher = "ECDHE-ECDSA-AES128-GCM-SHA256"
    ours = listener("default.pem", settings=TlsSettings(ciphers=cipher, max_version="TLSv1.2"))
    with handshake(ours, server(PLAIN)) as (accepted, _):
        info = TlsInfo.of(accepted)
        assert (info.cipher, info.bits) == (cipher, 128)


ALL = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (TlsSettings(ciphers="NOPE"), "unable to set SSL cipher list to 'NOPE'"),
        (TlsSettings(ciphersuites="NOPE"), "unable to set TLS 1.3 cipher suites to 'NOPE'"),
        (TlsSettings(verify=TlsVerify.REQUIRED, ca_file="/nope"), "'ca-file' : unable to load"),
        (replace(VERIFIED, crl_file="/nope"), "'crl-file' : unable to load /nope"),
        (replace(VERIFIED, ca_file=file("make.sh")), "'ca-file' : unable to load"),
    ],
)
def test_faults_of_settings(settings: TlsSettings, message: str) -> None:
    for make in (lambda: listener("default.pem", settings=settings), lambda: server(settings)):
        with pytest.raises(ConfigError, match=message) as caught:
            make()
        assert (caught.value.diagnostics[0].file, caught.value.diagnostics[0].line) == ("h.cfg", 7)


def test_cipher_suites_that_name_all_there_are_change_nothing() -> None:
    assert listener("default.pem", settings=TlsSettings(ciphersuites=ALL)) is not None


@pytest.mark.skipif(
    hasattr(ssl.SSLContext, "set_ciphersuites"), reason="this Python's ssl can leave them out"
)
def test_cipher_suites_cannot_be_left_out() -> None:
    with pytest.raises(ConfigError, match="leaves out TLS_AES_256_GCM_SHA384"):
        listener("default.pem", settings=TlsSettings(ciphersuites="TLS_AES_128_GCM_SHA256"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.pem", "unable to stat SSL certificate from file"),
        ("ca.pem", "No Private Key found in '.*ca.pem.key'"),
        ("make.sh", "unable to load certificate from file"),
        ("revoked.crl", "unable to load certificate from file"),
    ],
)
def test_faults_of_certificates(name: str, message: str) -> None:
    for make in (lambda: listener(name), lambda: server(PLAIN, name)):
        with pytest.raises(ConfigError, match=message) as caught:
            make()
        assert caught.value.diagnostics[0].line == 7


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    shutil.copy(FILES / "split" / "one.crt", tmp_path / "one.crt")
    key = (FILES / "default.pem").read_text()
    (tmp_path / "one.crt.key").write_text(key[key.index("-----BEGIN EC PRIVATE") :])
    with pytest.raises(ConfigError, match="inconsistencies between private key and certificate"):
        listener_context(ListenerTls(PLAIN, (str(tmp_path / "one.crt"),)), HERE)


def test_a_handshake_that_is_not_over_tells_nothing() -> None:
    one, other = socket.socketpair()
    with (
        other,
        wrap_client(listener("default.pem"), one) as accepted,
        pytest.raises(ValueError, match="not over"),
    ):
        TlsInfo.of(accepted)


def test_contexts_of_another_configuration_are_let_go() -> None:
    """With every renewed certificate there is another one."""
    world = World(Loop(), Board.create(1), 0, 1)
    plain = ServiceState("front", Protocol.TCP, (), None)
    world.put_service(plain, 0)
    world.tls._listeners[ListenerTls(PLAIN)] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    world.put_service(replace(plain, maxconn=5), 0)
    assert world.tls._listeners
    other = Listener(ip_address("127.0.0.1"), PortRange.single(443))
    world.put_service(replace(plain, front=Front(listeners=(other,))), 0)
    assert not world.tls._listeners
