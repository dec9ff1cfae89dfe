# SPDX-License-Identifier: Apache-2.0
"""Reads the configuration that the command line names, and says what is wrong with it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from penstock.config.certificates import has_tls
from penstock.config.haproxy.command_line import CommandLine
from penstock.config.haproxy.loading import LoadResult, files_of, load
from penstock.config.system_names import system_resolve
from penstock.control.refusal import refuse_unsupported
from penstock.errors import ConfigError, Diagnostic, Stage
from penstock.haproxy.arguments import Arguments
from penstock.haproxy.voice import Voice
from penstock.model import Configuration

_SUMMARIES = {
    Stage.READING: "Fatal errors found in configuration.",
    Stage.WHOLE: "Fatal errors found in configuration.",
    Stage.NAMES: "Failed to initialize server(s) addr.",
}


def finds_files(arguments: Arguments) -> bool:
    """Whether there is a file, or a place where none can be looked for, which read() tells of."""
    try:
        return any(files_of(Path(one)) for one in arguments.files)
    except OSError:
        return True


def read(arguments: Arguments, voice: Voice) -> LoadResult | None:
    """What the files say; None where that is wrong, which has been said then."""
    try:
        loaded = _load(arguments)
        _say(loaded, arguments, voice)
        loaded = _runnable(loaded, arguments)
    except ConfigError as error:
        _say(error, arguments, voice)
        if error.stage in _SUMMARIES:
            voice.alert(f"config : {_SUMMARIES[error.stage]}")
        return None
    if voice.warned and arguments.zero_warning:
        voice.alert("config : Some warnings were found and 'zero-warning' is set. Aborting.")
        return None
    os.environ["HAPROXY_CFGFILES"] = ";".join(arguments.files)
    return loaded


def _say(told: LoadResult | ConfigError, arguments: Arguments, voice: Voice) -> None:
    """Errors, warnings and notes in the order in which they were found; which files are wrong."""
    said = [(one, voice.alert if one.label == "ALERT" else voice.warning) for one in told.warnings]
    said += [(one, voice.notice) for one in told.notes if one.label == "NOTICE"]
    if arguments.diagnose:
        said += [(one, voice.diagnosis) for one in told.notes if one.label == "DIAG"]
    by_file = False
    if isinstance(told, ConfigError) and told.stage is Stage.OPENING:
        for one in told.diagnostics:
            voice.alert(one.message if os.path.exists(one.file) else _nowhere(one))
        return
    if isinstance(told, ConfigError):
        said += [
            (one, voice.warning if one.label == "WARNING" else voice.alert)
            for one in told.diagnostics
        ]
        by_file = told.stage in (Stage.READING, Stage.STOPPED)
    wrong = ""  # the file that lines are from, once one of them is an error
    for one, say in sorted(said, key=lambda pair: pair[0].number):
        if wrong not in ("", one.file):
            voice.alert(f"config : Error(s) found in configuration file : {wrong}")
            wrong = ""
        if by_file and (say == voice.alert or one.label == "WARNING") and one.label != "ALERT":
            wrong = one.file
        say(f"config : {one}")
    if wrong:
        voice.alert(f"config : Error(s) found in configuration file : {wrong}")


def _nowhere(said: Diagnostic) -> str:
    """HAProxy words it another way where there is nothing of that name (src/haproxy.c)."""
    file = f"configuration file/directory {said.file}"
    return f"config : Cannot open {file} : {said.message.rpartition(' : ')[2]}"


def _load(arguments: Arguments) -> LoadResult:
    """Raises ConfigError."""
    return load(
        tuple(map(Path, arguments.files)),
        environ=os.environ,
        resolve=system_resolve,
        command_line=CommandLine(
            arguments.local_peer, arguments.resolve_can_fail, arguments.trust_servers
        ),
    )


def _runnable(loaded: LoadResult, arguments: Arguments) -> LoadResult:
    """*loaded* as it is run. Raises ConfigError for what no engine can do, or without its files."""
    said = loaded.configuration.settings.process
    if said.programs and not (arguments.master or said.master_worker):
        message = "Can't use a 'program' section without master worker mode."
        raise ConfigError((Diagnostic("", 0, message),))
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
