# SPDX-License-Identifier: Apache-2.0
"""docs/operating.md is carried out: its configuration, its commands, and what they answer."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from penstock.lab.network import until
from penstock.lab.rig import Rig

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
FOLDERS = ("/run/haproxy", "/var/lib/haproxy", "/etc/haproxy")


def blocks(kind: str) -> list[str]:
    """The page's blocks of one *kind*."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each command, and the lines that follow it."""
    for block in blocks("console"):
        for part in block.split("$ ")[1:] if block.startswith("$ ") else []:
            command, *lines = part.rstrip("\n").split("\n")
            yield command, lines


def agrees(wanted: list[str], said: list[str]) -> bool:
    """A line that is ``…`` stands for any number of lines, and ``…`` in one for any text."""
    pattern = "".join(
        r"(?:[^\n]*\n)*" if line == "…" else re.escape(line).replace("…", r"[^\n]*") + r"\n"
        for line in wanted
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in said)) is not None


class Stage:
    """Where the page is played: its addresses and folders are the rig's."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        r1, r2 = rig.site.reals
        self.names = {
            "192.0.2.10:443": f"{rig.vip(4)}:8443",
            "198.51.100.11:443": f"{r1.v4}:80",
            "198.51.100.12:443": f"{r2.v4}:80",
            "198.51.100.11": r1.v4,
            "198.51.100.12": r2.v4,
            "/etc/haproxy/haproxy.cfg": str(rig.balancer.file),
        }
        for folder in FOLDERS:
            made = rig.directory / folder.strip("/").replace("/", "-")
            made.mkdir()
            self.names[folder] = str(made)
        self.log = rig.directory / "syslog"

    def here(self, text: str) -> str:
        for name, there in self.names.items():
            text = text.replace(name, there)
        return text

    def start(self) -> None:
        with self.log.open("wb") as output:
            self.rig.site.balancer.namespace.start(
                "socat", "-u", "UDP-RECV:514", "STDOUT", output=output
            )
        # As a first `show servers state` leaves it; HAProxy warns of a file that is not there.
        Path(self.here("/var/lib/haproxy/state")).write_text("1\n")
        (text,) = blocks("haproxy")
        self.rig.start(self.here(text))
        until("both servers to be up", lambda: self.run(SEEN)[0].count("L4OK") == 2)

    def run(self, command: str) -> tuple[str, str]:
        """What it printed, and what it complained of."""
        folder = self.rig.directory / "bin"
        if not folder.exists():
            folder.mkdir()
            script = folder / "penstock"
            script.write_text(f'#!/bin/sh\nexec {sys.executable} -m penstock "$@"\n')
            script.chmod(0o755)
        environment = {
            **self.rig.balancer.environment,
            "PATH": f"{folder}:{os.environ['PATH']}:/usr/sbin:/sbin",
        }
        done = self.rig.site.balancer.namespace.run(
            "bash", "-c", self.here(command), check=False, env=environment
        )
        return done.stdout, done.stderr

    def answers(self, command: str, wanted: list[str]) -> bool:
        """Whether it prints what the page says; a test that fails shows what else."""
        said, complaints = self.run(command)
        lines = [line.rstrip("\r") for line in said.splitlines() if line.strip()]
        print(command, lines, complaints, sep="\n")
        return agrees(wanted, lines)


SEEN = "curl -s 'http://127.0.0.1:8404/stats;csv'"


def test_there_is_something_to_carry_out() -> None:
    assert len(list(commands())) > 20
    assert len(blocks("haproxy")) == 1


@pytest.mark.needs("socat", "curl")
def test_the_page_is_true(rig: Rig) -> None:
    stage = Stage(rig)
    stage.start()
    for command, lines in commands():
        wanted = [stage.here(line) for line in lines]
        shows = "show " in command or "curl -s '" in command or "--metrics" in command
        # What is only shown may be asked again: a server that has come back is checked first.
        until(
            f"{command!r} to answer {wanted}",
            partial(stage.answers, command, wanted),
            10.0 if shows else 0.0,
        )
    for line in "".join(blocks("log")).splitlines():
        pattern = re.escape(line).replace("…", ".*")
        assert re.search(pattern, stage.log.read_text(errors="replace")), line
