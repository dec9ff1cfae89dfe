# SPDX-License-Identifier: Apache-2.0
"""Line by line: HAProxy and the proxy engine log the same scenes, and the same formats, alike."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit_haproxy import HaproxyRig
from unit_log_scenes import SCENES, Receiver, Stage, play
from unit_proxy import ProxyRig

from penstock.logs.format import VARIABLES

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")

# What HAProxy 2.6.12 has left behind, for machines that have none.
EXPECTED = {
    "both_end_well": ["<134>127.0.0.1:PORT [DATE] fe be/s1 T/T/T 10 -- 1/1/0/0/0 0/0"],
    "nothing_is_said": ["<134>127.0.0.1:PORT [DATE] fe be/s1 T/T/T 2 -- 1/1/0/0/0 0/0"],
    "the_client_resets": ["<134>127.0.0.1:PORT [DATE] fe be/s1 T/T/T 10 CD 1/1/0/0/0 0/0"],
    "the_server_resets": ["<134>127.0.0.1:PORT [DATE] fe be/s1 T/T/T 10 SD 1/1/0/0/0 0/0"],
    "the_client_is_silent": ["<134>127.0.0.1:PORT [DATE] fe be/s1 T/T/T 10 cD 1/1/0/0/0 0/0"],
    "the_server_is_silent": ["<134>127.0.0.1:PORT [DATE] fe be/s1 T/T/T 10 sD 1/1/0/0/0 0/0"],
    "the_server_refuses": ["<134>127.0.0.1:PORT [DATE] fe be/s1 T/-1/T 0 SC 1/1/0/0/1 0/0"],
    "another_server_takes_over": ["<134>127.0.0.1:PORT [DATE] fe be/s2 T/T/T 10 -- 1/1/0/0/+1 0/0"],
    "the_server_does_not_answer": ["<134>127.0.0.1:PORT [DATE] fe be/s1 T/-1/T 0 sC 1/1/0/0/0 0/0"],
    "there_is_no_server": ["<134>127.0.0.1:PORT [DATE] fe be/<NOSRV> -1/-1/T 0 SC 1/1/0/0/0 0/0"],
    "a_rule_rejects_the_content": [
        "<134>127.0.0.1:PORT [DATE] fe fe/<NOSRV> -1/-1/T 0 PR 1/1/0/0/0 0/0"
    ],
    "the_queue_is_too_slow": [
        "<134>127.0.0.1:PORT [DATE] fe be/<NOSRV> T/-1/T 0 sQ 2/2/1/0/0 0/1",
        "<134>127.0.0.1:PORT [DATE] fe be/s1 T/T/T 10 -- 1/1/0/0/0 0/0",
    ],
    "logged_as_soon_as_possible": [
        "<134>127.0.0.1:PORT [DATE] fe be/s1 T/T/+T +0 -- 1/1/1/1/0 0/0"
    ],
    "without_a_format": ["<134>Connect from 127.0.0.1:PORT to 127.0.0.1:PORT (fe/TCP)"],
    "failures_are_errors": ["<131>127.0.0.1:PORT [DATE] fe be/s1 T/T/T 10 SD 1/1/0/0/0 0/0"],
    "a_header_that_does_not_come": [
        "<134>unix:1 [DATE] other/lis: Received something which does not look like a PROXY"
        " protocol header",
        "<134>unix:1 [DATE] other/lis: Connection closed while waiting for PROXY protocol header",
    ],
}

Made = Callable[[Path], ProxyRig]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def lines_of(name: str, make: Made, directory: Path, receiver: Receiver) -> list[str]:
    directory.mkdir()
    rig = make(directory)
    try:
        return play(name, Stage(rig, receiver))
    finally:
        rig.close()


@pytest.mark.parametrize("name", SCENES)
def test_a_scene(name: str, tmp_path: Path, receiver: Receiver) -> None:
    got = lines_of(name, ProxyRig, tmp_path / "p", receiver)
    if name in EXPECTED:
        assert got == EXPECTED[name]
    if shutil.which("haproxy") is not None:
        assert got == lines_of(name, HaproxyRig, tmp_path / "h", receiver)


# -- formats ---------------------------------------------------------------------------------

FLAGS = ("", "{+Q}", "{+X}", "{+E}", "{-M}", "{+Q,+E}", "{+Q,+X,-Q}")
SAMPLES = (
    *("src", "src_port", "dst", "dst_port", "fe_name", "be_name", "srv_name"),
    *("srv_id", "so_id", "so_name", "src,ipmask(8)", "str(a]b),upper", r"str(a\"b)"),
    *("int(10),add(5)", "always_true", "fe_defbe", "nbsrv", "bc_dst", "bin(4142)", "str()"),
    *("hostname,length", "var(txn.none)", "var(txn.set)", "wait_end", "ssl_fc"),
    *("fc_rcvd_proxy", "uuid,length", "rand(1)", "fe_conn", "be_conn", "srv_conn(s1)", "stopping"),
)
# Of which only the kind is compared.
_NUMBERS = (
    *("Tc", "Td", "Th", "Tt", "Tu", "Tw", "Ts", "ms", "T", "Tl", "t", "cp", "fp", "bp", "sp"),
    *("pid", "rt", "lc"),
)


def _formats() -> list[str]:
    made = [
        "|".join(
            f"{name}=%{flag}{name}"
            for flag in FLAGS
            # HAProxy breaks the line off where a UNIX socket's address is to be hexadecimal.
            if not (name in ("ci", "fi") and "X" in flag)
        )
        for name in sorted(VARIABLES)
    ]
    made += ["|".join(f"%{flag}[{sample}]" for flag in FLAGS) for sample in SAMPLES]
    made += [
        "  %ci  %%  %hr %s   %hrl .",
        "%{+Q}o %ci %b %{-Q}s %B %ts %[src]",
        "a%b%f-%-%%%%",
        "%{+E}[str(x)]%{+X}o %pid %Ts|%cp",
    ]
    return made


def _quoted(text: str) -> str:
    return "'" + text + "'" if "'" not in text else '"' + text.replace("\\", "\\\\") + '"'


def _kinds(line: str) -> str:
    line = re.sub(r"^<\d+>\w{3} [ \d]\d [\d:]{8} \S+?\[\d+\]: ", "", line).rstrip("\n")
    line = re.sub(r"\b[0-9A-F]{4,}\b", "N", line)
    parts = [
        re.sub(r"\+?\b[0-9A-F]+\b", "N", part) if part.partition("=")[0] in _NUMBERS else part
        for part in line.split("|")
    ]
    return "|".join(parts)


def _logged(make: Made, directory: Path, receiver: Receiver, formats: list[str]) -> list[str]:
    directory.mkdir()
    rig = make(directory)
    try:
        server = rig.server()
        text = ""
        for at, one in enumerate(formats):
            text += (
                f"listen l{at}\n bind {rig.path(f'l{at}')} name x\n"
                " tcp-request content set-var(txn.set) str(v)\n"
                f" log {receiver.where} local0\n log-format {_quoted(one)}\n"
                f" server s1 {server.where}\n"
            )
        rig.run(text)
        got = []
        for at in range(len(formats)):
            with rig.connect(f"l{at}") as client, server.accept() as conn:
                client.sendall(b"abc")
                assert conn.recv(3) == b"abc"
            got.append(_kinds(receiver.line()))
        return got
    finally:
        rig.close()


TCP_FORMATS = [
    "|".join(f"%{flag}{name}" for flag in FLAGS for name in ("ci", "cp", "fi", "fp", "bi", "si")),
    "%[src]|%[src_port]|%[dst]|%[dst_port]|%[bc_src]|%[bc_dst]|%[fc_src]",
    "%{+X}o %ci:%cp_%fi:%fp_%Ts_%rt:%pid",
]


@needs_haproxy
@pytest.mark.parametrize("made", TCP_FORMATS)
def test_addresses(made: str, tmp_path: Path, receiver: Receiver) -> None:
    def logged(make: Made) -> str:
        directory = tmp_path / make.__name__
        directory.mkdir()
        rig = make(directory)
        stage = Stage(rig, receiver)
        try:
            server = rig.server()
            stage.run(f"log-format {_quoted(made)}", f"server s1 {server.where}")
            with stage.client() as client, server.accept() as conn:
                client.sendall(b"abc")
                assert conn.recv(3) == b"abc"
            # Ports and numbers differ, and are never as long as an address.
            return re.sub(
                r"(?<![0-9A-Za-z])(?!7F000001)[0-9A-F]{1,8}(?![0-9A-Za-z])",
                "N",
                _kinds(receiver.line()),
            )
        finally:
            rig.close()

    assert logged(HaproxyRig) == logged(ProxyRig)


@needs_haproxy
def test_formats(tmp_path: Path, receiver: Receiver) -> None:
    formats = _formats()
    theirs = _logged(HaproxyRig, tmp_path / "h", receiver, formats)
    ours = _logged(ProxyRig, tmp_path / "p", receiver, formats)
    differ = [
        f"{one}\n  haproxy:  {their}\n  penstock: {our}"
        for one, their, our in zip(formats, theirs, ours, strict=True)
        if their != our
    ]
    assert not differ, "\n".join(differ)
