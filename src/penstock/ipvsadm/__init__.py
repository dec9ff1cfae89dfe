# SPDX-License-Identifier: Apache-2.0
"""ipvsadm 1.31, word for word, on Penstock's daemon instead of the kernel's IPVS.

``popt`` and ``line`` read options, ``parse`` makes requests of command lines, ``listing`` and its
neighbours make texts of answers; all of these are pure. ``command`` runs requests, ``session`` is
the only one to touch the world.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

_SIGPIPE_STATUS = 141
_SIGINT_STATUS = 130


def main(argv: list[str]) -> int:
    """Run ``ipvsadm``; *argv* begins with the program's name. Returns the exit status."""
    from penstock.ipvsadm.command import run  # noqa: PLC0415
    from penstock.ipvsadm.session import Session  # noqa: PLC0415

    return _guarded(lambda: run(argv or ["ipvsadm"], Session()))


def save_main(argv: list[str]) -> int:
    """Run ``ipvsadm-save``."""
    from penstock.ipvsadm.command import save  # noqa: PLC0415
    from penstock.ipvsadm.session import Session  # noqa: PLC0415

    return _guarded(lambda: save(argv, Session()))


def restore_main(argv: list[str]) -> int:
    """Run ``ipvsadm-restore``, which takes no notice of its arguments."""
    from penstock.ipvsadm.command import restore  # noqa: PLC0415
    from penstock.ipvsadm.session import Session  # noqa: PLC0415

    return _guarded(lambda: restore(Session()))


def _guarded(program: Callable[[], int]) -> int:
    """What the signals would have ended the real program with."""
    try:
        return program()
    except BrokenPipeError:
        # Python flushes at its end, and must not meet the closed pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGPIPE_STATUS
    except KeyboardInterrupt:
        return _SIGINT_STATUS
