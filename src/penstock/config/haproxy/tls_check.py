# SPDX-License-Identifier: Apache-2.0
"""What HAProxy finds wrong about TLS once all lines are read; the files' contents are not read."""

from __future__ import annotations

from penstock.checks.model import Connect
from penstock.config.haproxy.draft import BindLine, ProxyDraft, ServerLine
from penstock.config.haproxy.report import Report
from penstock.config.haproxy.section_drafts import FileDraft
from penstock.config.haproxy.tls_words import bind_versions, server_versions
from penstock.proxied import TlsVerify

_NO_AUTHORITY = (
    "verify is enabled by default but no CA file specified. If you're running on a LAN where you're"
    " certain to trust the server's certificate, please set an explicit 'verify none' statement on"
    " the 'server' line, or use 'ssl-server-verify none' in the global section to disable"
    " server-side verifications by default."
)
_FIX = "Use only 'ssl-min-ver' and 'ssl-max-ver' to fix."


def check_binds(draft: FileDraft, report: Report, proxy: ProxyDraft) -> None:
    """Report faults of all bind lines with ``ssl``."""
    for bind in proxy.binds:
        if bind.ssl:
            _bind(draft, report, proxy, bind)


def speaks_tls(proxy: ProxyDraft, server: ServerLine) -> bool:
    """Whether to the server, or in its checks."""
    steps = [*proxy.checks.tcp_rules, *proxy.checks.http_rules]
    return (
        server.options.ssl
        or bool(server.options.check_ssl)
        or any(isinstance(one, Connect) and one.tls for one in steps)
    )


def _bind(draft: FileDraft, report: Report, proxy: ProxyDraft, bind: BindLine) -> None:
    where = f"bind '{bind.text}' at [{bind.origin}]"
    head = f"Proxy '{proxy.name}': "
    if not bind.certificate:
        if not bind.tls.strict_sni:
            report.error(
                bind.origin,
                f"{head}no SSL certificate specified for {where} (use 'crt').",
                parsing=False,
            )
            return
        report.warn(
            bind.origin,
            f"{head}no SSL certificate specified for {where}, ssl connections will fail"
            " (use 'crt').",
            parsing=False,
        )
    versions = bind_versions(bind.tls, draft.global_.tls.bind)
    if versions.ignored:
        report.warn(
            bind.origin,
            f"{head}no-sslv3/no-tlsv1x are ignored for {where}. {_FIX}",
            parsing=False,
        )
    if versions.low is None:
        report.error(
            bind.origin, f"{head}all SSL/TLS versions are disabled for {where}.", parsing=False
        )
    elif bind.tls.verify not in (None, TlsVerify.NONE) and bind.tls.ca_file is None:
        report.error(
            bind.origin,
            f"{head}verify is enabled but no CA file specified for {where}.",
            parsing=False,
        )


def check_server(draft: FileDraft, report: Report, proxy: ProxyDraft, server: ServerLine) -> None:
    """What a server with ssl lacks."""
    defaults, tls = draft.global_.tls, server.options.tls
    head = f"'server {proxy.name}/{server.name}' : "
    verify = tls.verify or defaults.server.verify or TlsVerify.REQUIRED
    versions = server_versions(tls, defaults.server)
    if versions.ignored:
        report.warn(
            server.origin,
            f"{head}no-sslv3/no-tlsv1x are ignored for this server. {_FIX}",
            parsing=False,
        )
    if versions.hole is not None:
        report.warn(
            server.origin,
            f"{head}proxy '{proxy.name}': SSL/TLS versions range not contiguous for server"
            f" '{server.name}'. Hole find for {versions.hole}. {_FIX}",
            parsing=False,
        )
    if versions.low is None:
        report.error(
            server.origin,
            f"{head}proxy '{proxy.name}': all SSL/TLS versions are disabled for server"
            f" '{server.name}'.",
            parsing=False,
        )
    elif tls.missing is not None:
        report.error(
            server.origin,
            f"{head}unable to stat SSL certificate from file '{tls.missing}' :"
            " No such file or directory.",
            parsing=False,
        )
    elif verify is TlsVerify.REQUIRED and tls.ca_file is None:
        report.error(server.origin, head + _NO_AUTHORITY, parsing=False)
