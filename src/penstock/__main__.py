# SPDX-License-Identifier: Apache-2.0
"""The program's entry: ``penstock``, ``python -m penstock`` and, by symbolic links, others' names.

Scripts start ipvsadm for every rule, so its way from here passes by nothing of the command line,
the model or the library; ``haproxy`` has a command line of its own.
"""

from __future__ import annotations

import gc
import sys

_LINKS = ("ipvsadm", "ipvsadm-save", "ipvsadm-restore")  # `penstock install-ipvsadm` makes them


def main() -> None:
    """Run the command that the program's name and first argument ask for, and exit."""
    called = sys.argv[0].rpartition("/")[2]
    if called in _LINKS:
        sys.exit(_ipvsadm(called, sys.argv[1:]))
    if sys.argv[1:2] == ["ipvsadm"]:
        sys.exit(_ipvsadm("ipvsadm", sys.argv[2:]))
    if called == "haproxy":  # `penstock install-haproxy` makes that link
        sys.exit(_haproxy(sys.argv[1:]))
    if sys.argv[1:2] == ["haproxy"]:
        sys.exit(_haproxy(sys.argv[2:]))
    if sys.argv[1:2] == ["run"]:
        # structlog would load it for colours that are not used, and that takes its time.
        sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
        gc.disable()  # what is read and loaded stays; the daemon looks for cycles later
    from penstock import cli  # noqa: PLC0415

    cli.main()


def _ipvsadm(name: str, arguments: list[str]) -> int:
    from penstock import ipvsadm  # noqa: PLC0415

    gc.disable()  # a hundred thousand records and no cycle among them; it ends soon
    program = {"ipvsadm-save": ipvsadm.save_main, "ipvsadm-restore": ipvsadm.restore_main}
    return program.get(name, ipvsadm.main)([name, *arguments])


def _haproxy(arguments: list[str]) -> int:
    import signal  # noqa: PLC0415

    # Until it listens to signals they end it as they end HAProxy: without a word of Python's.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from penstock import haproxy  # noqa: PLC0415

    return haproxy.main(arguments)


if __name__ == "__main__":
    main()
