# SPDX-License-Identifier: Apache-2.0
"""The README's example, as it stands there, on a real datapath."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from penstock.lab.rig import Rig

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_example(rig: Rig) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    for number, real in enumerate(rig.site.reals, 1):
        example = example.replace("10.0.1.{n}", "10.71.{n}.2")
        assert real.v4 == f"10.71.{number}.2"
    head, body = example.rsplit("    print(", 1)
    # The program waits before it prints, so that there is something to count.
    program = rig.directory / "example.py"
    program.write_text(f"{head}    print('ready', flush=True)\n    input()\n    print({body}")
    process = subprocess.Popen(
        rig.site.balancer.namespace.command(sys.executable, str(program)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=rig.balancer.environment,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert rig.tcp(8080, 22) == {"r1": 20, "r2": 2}
        out, _ = process.communicate("\n", timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "total=22" in out
    assert not rig.balancer.paths.pins.exists()
