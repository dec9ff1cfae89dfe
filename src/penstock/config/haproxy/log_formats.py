# SPDX-License-Identifier: Apache-2.0
"""Log formats of all sections, read once it is known which section uses which."""

from __future__ import annotations

from penstock.config.haproxy.draft import FRONT, FormatLine, Mode, ProxyDraft
from penstock.config.haproxy.parser import Context
from penstock.config.haproxy.rules import sources
from penstock.logs.format import FormatError, Reading, read_format
from penstock.logs.line import unsupported
from penstock.logs.model import Format, Journal, Naming, SessionLog, Shape, UniqueId
from penstock.rules.vocabulary import Checkpoint

# What a format is called in messages about it, in the order in which HAProxy reads them.
_CALLED = {
    "log-format": "log-format",
    "log-format-sd": "log-format-sd",
    "unique-id-format": "unique-id",
    "error-log-format": "error-log-format",
}


def read_formats(context: Context, proxy: ProxyDraft) -> None:
    """Read those that HAProxy reads; reports the faults of each.

    Of sections that take no connections it reads some all the same, and makes nothing of them.
    """
    if proxy.mode is Mode.HTTP:
        return
    for keyword in _CALLED:
        said = proxy.log_formats.get(keyword)
        if said is None:
            continue
        wanted = proxy.capability & FRONT or keyword in ("error-log-format", "unique-id-format")
        made = _read(context, keyword, said) if wanted else None
        if made is not None:
            proxy.formats[keyword] = made


def _read(context: Context, keyword: str, said: FormatLine) -> Format | None:
    names = keyword == "unique-id-format"
    reading = Reading(
        (Checkpoint.FRONT_HEADERS if names else Checkpoint.LOG,),
        sources(context, said.origin),
        Shape.ENCODED if names else Shape.MANDATORY,
        lambda message: context.report.warn(said.origin, message),
    )
    try:
        made = read_format(said.text, reading)
    except FormatError as error:
        context.report.error(said.origin, f"failed to parse {_CALLED[keyword]} : {error}.")
        return Format(()) if error.begun else None
    for name in unsupported(made):
        context.report.warn(
            said.origin, f"'{keyword}' says nothing where it asks for '{name}'.", own=True
        )
    return made


def journal(proxy: ProxyDraft) -> Journal:
    """Where *proxy* logs to."""
    return Journal(tuple(proxy.log_targets), proxy.log_tag)


def session_log(proxy: ProxyDraft, naming: Naming) -> SessionLog | None:
    """How a frontend's connections are logged; None: they are not."""
    if not proxy.log_targets or not proxy.capability & FRONT:
        return None
    return SessionLog(
        journal(proxy),
        naming,
        proxy.formats.get("log-format"),
        proxy.formats.get("log-format-sd"),
        proxy.formats.get("error-log-format"),
        early="logasap" in proxy.options,
        failures_only="dontlog-normal" in proxy.options,
        failures_apart="log-separate-errors" in proxy.options,
        silent_too="dontlognull" not in proxy.options,
    )


def unique_id(proxy: ProxyDraft) -> UniqueId | None:
    """What names a frontend's connections; None: nothing does."""
    made = proxy.formats.get("unique-id-format")
    return UniqueId(made, proxy.unique_id_header) if made is not None else None
