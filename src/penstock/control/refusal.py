# SPDX-License-Identifier: Apache-2.0
"""What a configuration says that is valid, and that no engine of this version runs."""

from __future__ import annotations

from penstock.errors import ConfigError, Diagnostic
from penstock.model import Configuration


def refuse_unsupported(configuration: Configuration) -> None:
    """Raises ConfigError naming every service that no engine of this version can run."""
    refused = tuple(
        Diagnostic(
            file=service.engine_origin.file,
            line=service.engine_origin.line,
            message=f"'{service.name}' cannot run because of {service.engine_reason}.",
            parsing=False,
        )
        for service in configuration.services
        if service.unsupported and not service.disabled
    )
    if refused:
        raise ConfigError(refused)
