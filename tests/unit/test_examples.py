# SPDX-License-Identifier: Apache-2.0
"""The files in examples/: read by penstock and by HAProxy, of nobody's addresses, and explained."""

from __future__ import annotations

import re
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from penstock.config.haproxy import loads

EXAMPLES = Path(__file__).parents[2] / "examples"
OF_HAPROXY = sorted((EXAMPLES / "haproxy").glob("*.cfg"))
ALL = sorted(EXAMPLES.rglob("*.cfg"))

# RFC 5737 and RFC 3849, RFC 1918, loopback and the wildcards.
PLACEHOLDERS = [
    ip_network(one)
    for one in (
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"),
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("127.0.0.0/8", "0.0.0.0/32", "::/128"),
    )
]


def _name(path: Path) -> str:
    return str(path.relative_to(EXAMPLES))


def test_there_are_many() -> None:
    assert len(OF_HAPROXY) >= 30


@pytest.mark.parametrize("path", ALL, ids=_name)
def test_it_is_valid(path: Path) -> None:
    loaded = loads(path.read_text(), name=str(path), exists=lambda _: True)
    assert loaded.listens
    assert loaded.configuration.services


@pytest.mark.parametrize("path", ALL, ids=_name)
def test_it_says_what_it_is_for(path: Path) -> None:
    licence, purpose = path.read_text().splitlines()[:2]
    assert licence == "# SPDX-License-Identifier: Apache-2.0"
    assert re.fullmatch(r"# [A-Z].{20,}", purpose)


@pytest.mark.parametrize("path", ALL, ids=_name)
def test_its_addresses_are_nobodys(path: Path) -> None:
    text = path.read_text()
    found = re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text) + re.findall(r"\[([0-9a-f:]+)\]", text)
    for address in map(ip_address, found):
        assert any(address in network for network in PLACEHOLDERS), address


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the one certificate that examples name."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key", folder / "certificate"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=example", "-days", "2"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    (folder / "mqtt.pem").write_text(key.read_text() + certificate.read_text())
    return folder


@pytest.mark.needs("haproxy", "openssl")
@pytest.mark.parametrize("path", OF_HAPROXY, ids=_name)
def test_haproxy_takes_it(path: Path, certificates: Path, tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(path.read_text().replace("/etc/penstock/tls", str(certificates)))
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
