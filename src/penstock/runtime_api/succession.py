# SPDX-License-Identifier: Apache-2.0
"""What the next process asks of this one: its listening sockets, then its datapath.

``_getsocks`` is HAProxy's, for sockets with ``expose-fd listeners``; ``_release`` is ours.
"""

from __future__ import annotations

from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel


def _getsocks(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    context.session.hands_over = context.session.exposes_listeners
    context.session.closing = not context.session.hands_over
    return ""


def _release(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    released = context.session.exposes_listeners and context.runtime.release()
    return "released\n" if released else "kept\n"


COMMANDS = (
    command("_getsocks", "", _getsocks),
    command("_release", "", _release, AccessLevel.ADMIN),
)
