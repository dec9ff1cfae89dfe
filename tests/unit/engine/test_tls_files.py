# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from penstock.engine.proxy.tls_files import check_files, with_digests
from penstock.errors import ConfigError
from penstock.model import (
    Bind,
    Configuration,
    Pool,
    PortMode,
    PortRange,
    Protocol,
    RealPort,
    RealServer,
    Service,
)
from penstock.proxied import Front, Link, Listener, ListenerTls, ServerTls, TlsSettings, TlsVerify
from penstock.stick.sections import Peer, PeersSpec
from penstock.terms import Origin

FILES = Path(__file__).parent / "certificates"
HERE = Origin("h.cfg", 7)
PLAIN = TlsSettings()
VERIFIED = TlsSettings(verify=TlsVerify.REQUIRED, ca_file=str(FILES / "ca.pem"))


def file(name: str) -> str:
    return str(FILES / name)


def configuration(tls: ListenerTls, towards: ServerTls) -> Configuration:
    address, ports = IPv4Address("192.0.2.1"), PortRange.single(443)
    listener = Listener(address, ports, tls=tls, origin=HERE)
    real = RealServer(
        "s",
        IPv4Address("192.0.2.2"),
        RealPort(PortMode.FIXED, 443),
        link=Link(tls=towards),
        origin=replace(HERE, line=9),
    )
    service = Service(
        "l", Protocol.TCP, (Bind(address, ports),), pool="l", front=Front(listeners=(listener,))
    )
    return Configuration((service,), (Pool("l", Protocol.TCP, (real,)),))


def test_all_files_are_checked_at_once() -> None:
    good = ListenerTls(PLAIN, (file("default.pem"),)), ServerTls(VERIFIED)
    check_files(configuration(*good))
    bad = ListenerTls(PLAIN, (file("ca.pem"),)), ServerTls(TlsSettings(ciphers="NOPE"))
    with pytest.raises(ConfigError) as caught:
        check_files(configuration(*bad))
    assert [one.line for one in caught.value.diagnostics] == [7, 9]


def test_a_renewed_file_makes_another_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("one.pem", "client.pem", "ca.pem"):
        shutil.copy(FILES / name, tmp_path / name)
    (tmp_path / "list").write_text("one.pem\n")
    shutil.copy(FILES / "wild.pem", folder)
    tls = ListenerTls(
        TlsSettings(ca_file=str(tmp_path / "ca.pem")),
        (str(folder),),
        (str(tmp_path / "list"),),
        certificate_base=str(tmp_path),
    )
    towards = ServerTls(PLAIN, str(tmp_path / "client.pem"))

    def noted() -> Configuration:
        return with_digests(configuration(tls, towards))

    seen = {noted()}
    assert noted() in seen
    for path, other in (
        (folder / "wild.pem", "named.pem"),
        (tmp_path / "one.pem", "default.pem"),
        (tmp_path / "ca.pem", "other-ca.pem"),
        (tmp_path / "client.pem", "stranger.pem"),
    ):
        shutil.copy(FILES / other, path)
        assert noted() not in seen
        seen.add(noted())


def test_files_of_peers_count_too(tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    shutil.copy(file("default.pem"), own)
    peer = Peer("b", IPv4Address("192.0.2.2"), 1024, HERE, ServerTls(PLAIN, str(own)))
    for section in (
        PeersSpec("ps", "a", peers=(peer,)),
        PeersSpec("ps", "a", tls=ListenerTls(PLAIN, (str(own),)), origin=HERE),
        PeersSpec("ps", "a", local_tls=ServerTls(PLAIN, str(own)), origin=HERE),
    ):
        found = Configuration(peers=(section,))
        shutil.copy(file("default.pem"), own)
        check_files(found)
        before = with_digests(found)
        assert before == with_digests(found)
        shutil.copy(file("ca.pem"), own)  # without a key
        assert before != with_digests(found)
        with pytest.raises(ConfigError, match=r"h\.cfg:7"):
            check_files(found)
        check_files(replace(found, peers=(replace(section, disabled=True),)))
