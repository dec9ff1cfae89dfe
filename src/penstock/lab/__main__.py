# SPDX-License-Identifier: Apache-2.0
"""``python -m penstock.lab [DIRECTORY]``: the demonstration, in about half a minute.

Where this machine cannot have a lab (not root), a smaller one on loopback, without DIRECTORY.

Exit status: 0 when everything it showed was true, 1 when something was not, 130 or 143 when it was
interrupted. Nothing is left behind.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from rich.console import Console

from penstock.errors import PenstockError
from penstock.lab import edges, loopback, network
from penstock.lab.balancer import Balancer
from penstock.lab.network import LabError, Network
from penstock.lab.show import Screen
from penstock.lab.story import Finding, Story

_EXAMPLE = Path("examples/cdn-edge")


def main(arguments: list[str]) -> int:
    """Run the demonstration on the directory named, or on the example of this repository."""
    console = Console(highlight=False)
    lacks = network.missing()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        if lacks is None:
            findings = _demonstrate(Path(arguments[0]) if arguments else _EXAMPLE, console)
        else:
            console.print(f"on loopback, without the lab: {lacks}\n")
            findings = loopback.demonstrate(console)
    except KeyboardInterrupt:
        console.print("interrupted; nothing of the lab is left")
        return 128 + signal.SIGINT
    except PenstockError as error:
        console.print(f"[bold red]failed:[/] {error}")
        return error.exit_status
    except OSError as error:
        console.print(f"[bold red]failed:[/] {error}")
        return 1
    return _summarise(findings, console)


def _demonstrate(directory: Path, console: Console) -> list[Finding]:
    files = sorted(directory.glob("*.cfg"))
    if not files:
        raise LabError(f"{directory} holds no *.cfg files")
    for file in files:
        console.print(f"[bold]{file}[/]")
        console.print(file.read_text().rstrip() + "\n", style="dim", markup=False)
    console.print(f"[bold]penstock run {directory}[/]\n")
    with tempfile.TemporaryDirectory(prefix="penstock-lab-") as scratch, Network() as lab:
        site = edges.build(lab)
        balancer = Balancer(site.balancer, Path(scratch), directory.absolute())
        balancer.launch()
        balancer.wait_ready()
        with Screen(console) as screen:
            screen.say(f"client {site.client.name}, load balancer {site.balancer.name}, 3 edges")
            story = Story(site, balancer, screen)
            story.tell()
        for line in balancer.said().splitlines():
            if line.startswith("Server ") or " is DOWN" in line or " is UP" in line:
                console.print(line, style="dim", markup=False)
        story.findings.append(
            Finding("penstock ends cleanly and takes its datapath down", _left(balancer))
        )
        return story.findings


def _left(balancer: Balancer) -> bool:
    return balancer.stop() == 0 and not balancer.paths.pins.exists()


def _summarise(findings: list[Finding], console: Console) -> int:
    console.print("\n[bold]what was shown[/]")
    for finding in findings:
        mark = "[green]true [/]" if finding.true else "[bold red]FALSE[/]"
        seen = f" [dim]({finding.seen})[/]" if finding.seen else ""
        console.print(f"  {mark} {finding.claim}{seen}")
    return 0 if all(finding.true for finding in findings) else 1


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
