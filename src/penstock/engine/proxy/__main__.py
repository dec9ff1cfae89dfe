# SPDX-License-Identifier: Apache-2.0
"""A worker as a program: ``python -m penstock.engine.proxy FD NUMBER WORKERS UID GID``.

For a daemon inside another program, which cannot be forked.
"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Serve until the daemon that started it is gone."""
    gc.disable()  # what is loaded stays; the worker looks for cycles once it has all of it
    from penstock.engine.proxy import worker  # noqa: PLC0415

    worker.main(sys.argv[1:])


if __name__ == "__main__":
    main()
