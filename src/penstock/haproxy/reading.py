# SPDX-License-Identifier: Apache-2.0
"""Reads the configuration that the command line names, and says what is wrong with it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from penstock.config.certificates import has_tls
from penstock.config.haproxy.command_line import CommandLine
from penstock.config.haproxy.loading import LoadResult, load
from penstock.config.system_names import system_resolve
from penstock.errors import ConfigError
from penstock.haproxy.arguments import Arguments
from penstock.haproxy.voice import Voice
from penstock.model import Configuration
from penstock.refusal import refuse_unsupported


def read(arguments: Arguments, voice: Voice) -> LoadResult | None:
    """What the files say; None where that is wrong, which has been said then."""
    try:
        loaded = _load(arguments)
    except ConfigError as error:
        for warning in error.warnings:
            voice.warning(f"config : {warning}")
        for diagnostic in error.diagnostics:
            voice.alert(f"config : {diagnostic}")
        for file in dict.fromkeys(one.file for one in error.diagnostics if one.parsing):
            voice.alert(f"config : Error(s) found in configuration file : {file}")
        voice.alert("config : Fatal errors found in configuration.")
        return None
    for warning in loaded.warnings:
        voice.warning(f"config : {warning}")
    if voice.warned and arguments.zero_warning:
        voice.alert("config : Some warnings were found and 'zero-warning' is set. Aborting.")
        return None
    os.environ["HAPROXY_CFGFILES"] = ";".join(arguments.files)
    return loaded


def _load(arguments: Arguments) -> LoadResult:
    """Raises ConfigError, also for what no engine can do."""
    loaded = load(
        tuple(map(Path, arguments.files)),
        environ=os.environ,
        resolve=system_resolve,
        command_line=CommandLine(
            arguments.local_peer, arguments.resolve_can_fail, arguments.trust_servers
        ),
    )
    refuse_unsupported(loaded.configuration)
    configuration = _limited(loaded.configuration, arguments)
    if has_tls(configuration):
        from penstock.engine.proxy.tls_files import check_files, with_digests  # noqa: PLC0415

        check_files(configuration)
        configuration = with_digests(configuration)
    return replace(loaded, configuration=configuration)


def _limited(configuration: Configuration, arguments: Arguments) -> Configuration:
    """-n counts more than the file, -N where the file says nothing."""
    if arguments.maxconn:
        settings = replace(configuration.settings, maxconn=arguments.maxconn)
        configuration = replace(configuration, settings=settings)
    if arguments.proxy_maxconn:
        services = tuple(
            one if one.maxconn else replace(one, maxconn=arguments.proxy_maxconn)
            for one in configuration.services
        )
        configuration = replace(configuration, services=services)
    return configuration


def say_valid(loaded: LoadResult, voice: Voice) -> int:
    """What ``-c`` ends with; the exit status."""
    if not voice.quiet:
        if voice.warned:
            print("Warnings were found.")
        if loaded.listens:
            print("Configuration file is valid")
        else:
            print("Configuration file has no error but will not start (no listener) => exit(2).")
    return 0 if loaded.listens else 2
