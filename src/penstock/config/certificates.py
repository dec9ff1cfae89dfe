# SPDX-License-Identifier: Apache-2.0
"""Whether a configuration has certificates to look at. Pure."""

from __future__ import annotations

from penstock.model import Configuration, HealthCheck


def has_tls(configuration: Configuration) -> bool:
    """Whether a listener, a server or a check speaks TLS, for which much is loaded."""
    fronts = [one.front.listeners for one in configuration.services]
    fronts += [one.listeners for one in configuration.http]
    reals = [real for pool in configuration.pools for real in pool.reals]
    return (
        any(listener.tls is not None for front in fronts for listener in front)
        or any(real.link.tls is not None for real in reals)
        or any(real.check is not None and _checks_by_tls(real.check) for real in reals)
    )


def _checks_by_tls(check: HealthCheck) -> bool:
    steps = check.ruleset.steps if check.ruleset is not None else ()
    return check.link.tls is not None or any(getattr(step, "tls", False) for step in steps)
