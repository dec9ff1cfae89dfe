# SPDX-License-Identifier: Apache-2.0
"""The proxy engine alone, without daemon and datapath: ``proxied.py FILE WORKERS``.

Every service of the haproxy.cfg runs on it until SIGTERM.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

from penstock.config.haproxy import loads
from penstock.control.desired import all_on_proxy, desired_state
from penstock.control.plan import diff
from penstock.engine.proxy import ProxyEngine
from penstock.model import EngineKind


def main(arguments: list[str]) -> None:
    file, workers = arguments
    loaded = loads(Path(file).read_text(encoding="utf-8"))
    configuration = all_on_proxy(loaded.configuration, "a benchmark")
    engine = ProxyEngine(int(workers))
    try:
        wanted = desired_state(configuration, {}, {}, EngineKind.PROXY)
        for step in diff(engine.observe(), wanted):
            engine.apply(step)
        while True:
            signal.pause()
    finally:
        engine.close(keep=False)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    main(sys.argv[1:])
