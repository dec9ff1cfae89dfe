# SPDX-License-Identifier: Apache-2.0
"""What can only be said of health checks and alerts once a whole section is read."""

from __future__ import annotations

from penstock.checks.model import Connect
from penstock.config.haproxy.address import PortKind
from penstock.config.haproxy.draft import ProxyDraft, ServerLine
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.section_drafts import FileDraft


def check_section(draft: FileDraft, proxy: ProxyDraft, report: Report) -> None:
    """Report what is wrong with how *proxy* has its servers checked, and who is told."""
    name = f"{proxy.describe} '{proxy.name}'"
    rules, option = proxy.rules, proxy.checks.option
    if "http-check" in rules and option != "httpchk":
        report.warn(
            rules["http-check"],
            f"{name} uses http-check rules without 'option httpchk', so the rules are ignored.",
            parsing=False,
        )
    if option not in (None, "httpchk"):
        for word, said in (
            ("disable-on-404", proxy.checks.keep_404),
            ("send-state", proxy.checks.send_state),
        ):
            if said:
                report.warn(
                    proxy.origin,
                    f"'{word}' will be ignored for {name} (requires 'option httpchk').",
                    parsing=False,
                )
    if proxy.checks.lacks_request:
        report.note(
            rules["http-check"],
            f"{name} has http-check rules of its own, and so nothing of 'option httpchk' in"
            " the defaults section: no request is sent. Repeat the option here.",
        )
    if option == "external-check":
        _external_check(draft, proxy, report)
    alert = proxy.email_alert
    if alert is not None and not alert.is_complete:
        report.warn(
            alert.origin,
            f"'email-alert' will be ignored for {name} (the presence any of 'email-alert"
            " from', 'email-alert level' 'email-alert mailers', 'email-alert myhostname', or"
            " 'email-alert to' requires each of 'email-alert from', 'email-alert mailers' and"
            " 'email-alert to' to be present).",
            parsing=False,
        )
    for word in ("command", "path"):
        told = rules.get(f"external-check {word}")
        if told is not None and option != "external-check":
            report.warn(
                told,
                f"'external-check {word}' will be ignored for {name} (requires 'option"
                " external-check').",
                parsing=False,
            )
        command = proxy.external_command if word == "command" else None
        if command and not command.startswith("/") and "external-check path" not in rules:
            report.error(
                rules["external-check command"],
                f"Proxy '{proxy.name}': 'external-check command' does not have a leading '/' and"
                " 'external-check path' is not set.",
                parsing=False,
            )


def check_unused_steps(proxy: ProxyDraft, report: Report) -> None:
    """Warn of tcp-check lines that nothing asks for."""
    if "tcp-check" in proxy.rules and proxy.checks.option != "tcp-check":
        report.warn(
            proxy.rules["tcp-check"],
            f"{proxy.describe} '{proxy.name}' uses tcp-check rules without 'option tcp-check', so"
            " the rules are ignored.",
            parsing=False,
        )


def _external_check(draft: FileDraft, proxy: ProxyDraft, report: Report) -> None:
    origin = proxy.options.get("external-check", proxy.origin)
    wanted = {
        "global.external-check": not draft.global_.external_check,
        "external-check command": proxy.external_command is None,
    }
    for what, missing in wanted.items():
        if missing:
            report.error(
                origin,
                f"Proxy '{proxy.name}' : 'option external-check' unable to find required '{what}'.",
                parsing=False,
            )
    if not draft.global_.insecure_fork:
        report.warn(
            origin,
            f"Proxy '{proxy.name}' : 'insecure-fork-wanted' not enabled in the global section,"
            " 'option external-check' will likely fail.",
            parsing=False,
        )


def check_server_check(proxy: ProxyDraft, server: ServerLine, report: Report) -> None:
    """Whether *server* can be checked as it says."""
    _port(proxy, server, report)
    _protocol(proxy, server, report)


def _protocol(proxy: ProxyDraft, server: ServerLine, report: Report) -> None:
    proto = server.options.check_proto
    http = proxy.checks.option == "httpchk"
    if server.options.check and proto is not None and (proto != "none") is not http:
        report.error(
            server.origin,
            f"config: {proxy.describe} '{proxy.name}': server '{server.name}' uses an"
            " incompatible MUX protocol for the selected check type",
            parsing=False,
        )


def _port(proxy: ProxyDraft, server: ServerLine, report: Report) -> None:
    options, target = server.options, server.target
    if (
        not options.check
        or options.check_port
        or options.check_address_port
        or target.port_kind is PortKind.FIXED
    ):
        return
    if not any(
        one is not None and not one.is_unspecified
        for one in (target.address, options.check_address)
    ):
        return  # as HAProxy: names are not resolved yet, and any address is none
    wanted = _lacks_port(proxy)
    if wanted is not None:
        report.error(
            server.origin,
            f"config: {proxy.describe} '{proxy.name}': server '{server.name}' has neither"
            f" service port nor check port{wanted}.",
            parsing=False,
        )


def _lacks_port(proxy: ProxyDraft) -> str | None:
    """What of a check's steps says no port either; None: they say one."""
    ruleset = proxy.checks.finished()
    if ruleset is None:
        return ""
    connects = [one for one in ruleset.steps if isinstance(one, Connect)]
    told = [isinstance(one.port, int) or bool(one.address_port) for one in connects]
    if proxy.checks.option == "tcp-check" and not proxy.checks.tcp_rules:
        return ""
    # HAProxy looks while the option's request still stands before all.
    if not told[0] or proxy.checks.begins_with_request:
        return " nor tcp_check rule 'connect' with port information"
    if not all(told):
        return ", and a tcp_check rule 'connect' with no port information"
    return None
