# SPDX-License-Identifier: Apache-2.0
"""Certificates renewed at run time: HAProxy 2.6's answers, and what clients are shown then."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from unit_ports import closed_port
from unit_rig import Rig
from unit_runtime import ask, pieces, runtime_of, terminal_of
from unit_side_by_side import both

from penstock.config.haproxy import loads
from penstock.engine.api import fingerprint
from penstock.engine.proxy.tls import listener_context, server_context, wrap_client, wrap_server
from penstock.engine.proxy.tls_files import with_digests
from penstock.model import EngineKind
from penstock.proxied import ListenerTls, ServerTls

MADE = Path(__file__).parents[1] / "engine" / "certificates"
TEXT = """
frontend f
    bind 127.0.0.1:{port} ssl crt {folder}/default.pem crt {folder}/many
    bind 127.0.0.1:{other} ssl crt-list {folder}/list strict-sni
    default_backend b
backend b
    server s1 127.0.0.1:1 ssl verify none crt {folder}/client.pem
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Certificates that a test may replace."""
    for name in ("default.pem", "client.pem", "one.pem", "named.pem", "wild.pem", "stranger.pem"):
        shutil.copy(MADE / name, tmp_path / name)
    (tmp_path / "many").mkdir()
    shutil.copy(MADE / "wild.pem", tmp_path / "many" / "wild.pem")
    shutil.copy(MADE / "split" / "one.crt", tmp_path / "split")
    shutil.copy(MADE / "split" / "one.crt.key", tmp_path / "split.key")
    (tmp_path / "list").write_text(f"{tmp_path}/one.pem\n{tmp_path}/split [alpn h2] some.name\n")
    return tmp_path


def configured(folder: Path) -> str:
    return TEXT.format(port=closed_port(), other=closed_port(), folder=folder)


def lines_in(folder: Path) -> Iterator[str]:
    """Payloads end with an empty line."""
    pem = {one.name: one.read_text().strip() for one in folder.iterdir() if one.is_file()}
    key = (folder / "split.key").read_text().strip()
    yield "show ssl cert"
    for name in ("default.pem", "many/wild.pem", "one.pem", "split", "client.pem", "stranger.pem"):
        yield f"show ssl cert {folder}/{name}"
    yield f"show ssl cert *{folder}/default.pem"
    yield from (f"{verb} ssl cert" for verb in ("set", "commit", "abort"))
    yield from (f"{verb} ssl cert {folder}/default.pem" for verb in ("set", "commit", "abort"))
    yield f"set ssl cert {folder}/stranger.pem <<\n{pem['one.pem']}\n"
    yield f"set ssl cert {folder}/default.pem <<\nnonsense\n"
    yield f"set ssl cert {folder}/default.pem.key <<\nnonsense\n"
    yield f"set ssl cert {folder}/default.pem <<\n{pem['stranger.pem']}\n"
    yield "show ssl cert"
    yield f"show ssl cert *{folder}/default.pem"
    yield f"show ssl cert {folder}/default.pem"
    yield f"set ssl cert {folder}/default.pem <<\n{pem['one.pem']}\n"
    yield f"commit ssl cert {folder}/client.pem"
    yield f"abort ssl cert {folder}/client.pem"
    yield f"commit ssl cert {folder}/default.pem"
    yield f"commit ssl cert {folder}/default.pem"
    yield "show ssl cert"
    yield f"show ssl cert {folder}/default.pem"
    yield f"set ssl cert {folder}/one.pem <<\n{pem['split']}\n"  # without a key
    yield f"commit ssl cert {folder}/one.pem"
    yield f"set ssl cert {folder}/one.pem.key <<\n{key}\n"
    yield f"commit ssl cert {folder}/one.pem"
    yield f"show ssl cert {folder}/one.pem"
    yield f"set ssl cert {folder}/split.key <<\n{pem['one.pem']}\n"  # which is another one's
    yield f"commit ssl cert {folder}/split"
    yield f"abort ssl cert {folder}/split"
    yield f"set ssl cert {folder}/client.pem <<\n{pem['wild.pem']}\n{pem['stranger.pem']}\n"
    yield f"commit ssl cert {folder}/client.pem"
    yield f"show ssl cert {folder}/client.pem"  # one with a chain


@pytest.mark.needs("haproxy")
def test_answers_are_haproxys(folder: Path) -> None:
    for line, theirs, ours in both(folder, configured(folder), list(lines_in(folder))):
        assert ours == theirs, line


class Operator:
    """Of a daemon with the configuration above."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        loaded = loads("defaults\n mode tcp\n timeout connect 1s\n" + configured(folder))
        self.rig = Rig(with_digests(loaded.configuration), folder, kind=EngineKind.PROXY)

    def __call__(self, *lines: str) -> str:
        terminal = terminal_of(runtime_of(self.rig.controller))
        return "".join(ask(terminal, line) for line in lines)

    def put(self, file: str, pem: str) -> str:
        """The answer to the last step of having *pem* in the place of *file*."""
        self(f"set ssl cert {self.folder}/{file} <<\n{(self.folder / pem).read_text().strip()}\n")
        return self(f"commit ssl cert {self.folder}/{file}")

    def fronts(self) -> list[ListenerTls]:
        services = self.rig.engine.services.values()
        found = [one.tls for service in services for one in service.front.listeners]
        return [tls for tls in found if tls is not None]

    def server(self) -> ServerTls:
        tls = self.rig.engine.reals[self.rig.key("s1", "b")].link.tls
        assert tls is not None
        return tls

    def shown(self, name: str | None = None) -> bytes | None:
        """The certificate that a client is shown who asks for *name* at the first listener."""
        return _shown(listener_context(self.fronts()[0]), name)


def _shown(ours: ssl.SSLContext, name: str | None) -> bytes | None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname = False
    theirs.verify_mode = ssl.CERT_NONE
    one, other = socket.socketpair()
    with wrap_client(ours, one) as accepted, wrap_server(theirs, other, name) as connected:
        with ThreadPoolExecutor(1) as thread:
            done = thread.submit(accepted.do_handshake)
            connected.do_handshake()
            done.result()
        return connected.getpeercert(binary_form=True)


def _der(path: Path) -> bytes:
    text = path.read_text()
    return ssl.PEM_cert_to_DER_cert(text[: text.index("-----END CERT") + 26])


@pytest.fixture
def says(folder: Path) -> Operator:
    return Operator(folder)


def test_clients_are_shown_what_was_committed(says: Operator, folder: Path) -> None:
    assert says.shown() == _der(folder / "default.pem")
    before = [fingerprint(one) for one in says.rig.engine.services.values()]
    assert says.put("default.pem", "one.pem").endswith("default.pem.\nSuccess!\n\n")
    assert says.shown() == says.shown("one.example") == _der(folder / "one.pem")
    assert says.shown("a.wild.example") == _der(folder / "wild.pem")
    assert [fingerprint(one) for one in says.rig.engine.services.values()] != before
    says.put("many/wild.pem", "stranger.pem")
    assert says.shown("a stranger") == _der(folder / "stranger.pem")
    says.put("default.pem", "default.pem")
    assert says.shown() == _der(folder / "default.pem")


def test_names_of_a_list_stay(says: Operator, folder: Path) -> None:
    says.put("split", "stranger.pem")
    listed = listener_context(says.fronts()[1])
    assert _shown(listed, "some.name") == _der(folder / "stranger.pem")
    assert _shown(listed, "one.example") == _der(folder / "one.pem")


def test_servers_are_shown_it_too(says: Operator) -> None:
    before = says.server()
    says.put("client.pem", "one.pem")
    assert says.server() != before
    server_context(says.server())


def test_keys_are_not_shown(says: Operator, folder: Path) -> None:
    says.put("default.pem", "one.pem")
    assert "PRIVATE" not in repr(says.fronts()) + says(f"show ssl cert {folder}/default.pem")


def test_a_reload_reads_the_files_again(says: Operator, folder: Path) -> None:
    says.put("default.pem", "one.pem")
    says(f"set ssl cert {folder}/default.pem.key <<\nEC PRIVATE KEY-----\n")
    says.rig.controller.reload()
    assert says.shown() == _der(folder / "default.pem")
    assert says("show ssl cert").startswith("# filename")


def test_what_the_engine_refuses_changes_nothing(says: Operator, folder: Path) -> None:
    says.rig.engine.refuse = "f"
    assert says.put("default.pem", "one.pem").endswith("Failed!\n\n")
    says.rig.engine.refuse = None
    says.rig.controller.tick()
    assert says.shown() == _der(folder / "default.pem")
    assert says("show ssl cert").startswith("# transaction")
    assert says(f"commit ssl cert {folder}/default.pem").endswith("Success!\n\n")
    assert says.shown() == _der(folder / "one.pem")


def test_a_key_that_openssl_does_not_read(says: Operator, folder: Path) -> None:
    broken = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----"
    says(f"set ssl cert {folder}/default.pem.key <<\n{broken}\n")
    assert f"Can't commit {folder}/default.pem!" in says(f"commit ssl cert {folder}/default.pem")
    assert says.shown() == _der(folder / "default.pem")


def test_one_transaction_at_a_time(says: Operator, folder: Path) -> None:
    """HAProxy 2.6 would put the second file's in the place of the first one's."""
    pem = (folder / "one.pem").read_text().strip()
    says(f"set ssl cert {folder}/default.pem <<\n{pem}\n")
    answer = says(f"set ssl cert {folder}/one.pem <<\n{pem}\n")
    assert answer.startswith(f"The ongoing transaction is about '{folder}/default.pem'")


@pytest.mark.parametrize("what", ["ocsp", "sctl", "issuer"])
def test_what_lies_beside_certificates_is_taken(says: Operator, folder: Path, what: str) -> None:
    assert "created" in says(f"set ssl cert {folder}/one.pem.{what} <<\nany\n")
    assert "Success!" in says(f"commit ssl cert {folder}/one.pem")


def test_a_file_that_has_gone(says: Operator, folder: Path) -> None:
    (folder / "one.pem").unlink()
    assert "unable to stat" in says(f"show ssl cert {folder}/one.pem")
    assert "unable to stat" in says(f"set ssl cert {folder}/one.pem.key <<\nPRIVATE KEY-----\n")


def test_comments_are_in_any_encoding(says: Operator, folder: Path) -> None:
    pem = (folder / "one.pem").read_text().strip()
    terminal = terminal_of(runtime_of(says.rig.controller))
    terminal.receive(
        f"set ssl cert {folder}/default.pem <<\nName: Z\u00fcrich ".encode()
        + b"\xff\n"
        + f"{pem}\n\ncommit ssl cert {folder}/default.pem\n".encode()
    )
    assert "Success!" in "".join(pieces(terminal))
    assert says.shown() == _der(folder / "one.pem")


def test_a_chain_that_is_broken(says: Operator, folder: Path) -> None:
    with (folder / "one.pem").open("a") as file:
        file.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert "unable to load certificate chain" in says(f"show ssl cert {folder}/one.pem")
    assert "Can't load the payload" in says.put("default.pem", "one.pem") + says(
        f"set ssl cert {folder}/default.pem <<\n{(folder / 'one.pem').read_text().strip()}\n"
    )
