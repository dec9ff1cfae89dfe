# SPDX-License-Identifier: Apache-2.0
"""Reads the configuration that the command line names, and says what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

from penstock import daemon
from penstock.config.haproxy import LoadResult
from penstock.errors import ConfigError
from penstock.haproxy.arguments import Arguments
from penstock.haproxy.voice import Voice


def read(arguments: Arguments, voice: Voice) -> LoadResult | None:
    """What the files say; None where that is wrong, which has been said then."""
    try:
        loaded = daemon.load_files(tuple(map(Path, arguments.files)), daemon.Options())
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
