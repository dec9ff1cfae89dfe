# SPDX-License-Identifier: Apache-2.0
"""What the files said of health checks -> ``penstock.model.HealthCheck``."""

from __future__ import annotations

from dataclasses import replace

from penstock.checks.model import PLAIN_LINK, CheckLink, External, Ruleset
from penstock.config.haproxy.draft import Mode, ProxyDraft, ServerLine, ServerOptions
from penstock.config.haproxy.section_drafts import GlobalDraft
from penstock.config.haproxy.send_proxy import send_proxy
from penstock.config.haproxy.tls_words import server_tls
from penstock.model import CheckKind, HealthCheck
from penstock.proxied import ServerTls


def health_check(proxy: ProxyDraft, server: ServerLine, global_: GlobalDraft) -> HealthCheck | None:
    """How *server* is checked; None: it is not. Raises InvalidModel."""
    options = server.options
    if not options.check or options.track:
        return None
    check = HealthCheck(
        inter=options.inter,
        fastinter=options.fastinter,
        downinter=options.downinter,
        rise=options.rise,
        fall=options.fall,
        address=options.check_address,
        port=options.check_port or options.check_address_port,
        connect_timeout=proxy.timeout("connect"),
        check_timeout=proxy.timeout("check"),
        log="log-health-checks" in proxy.options,
    )
    if proxy.mode is Mode.UDP:
        return replace(check, kind=CheckKind.UDP, send=proxy.udp_send, expect=proxy.udp_expect)
    if proxy.checks.option == "external-check":
        return replace(check, external=_external(proxy))
    ruleset = proxy.checks.finished()
    return replace(
        check,
        ruleset=ruleset,
        link=_link(options, global_, ruleset),
        keep_404=proxy.checks.keep_404,
        send_state=proxy.checks.send_state,
    )


def speaks_tls(options: ServerOptions) -> bool:
    """Whether checks do without being told step by step: as the server, unless aimed elsewhere."""
    if options.check_ssl is not None:
        return options.check_ssl
    return options.ssl and not _is_aimed(options)


def _is_aimed(options: ServerOptions) -> bool:
    """Whether checks have nothing of the server's own but what is said of them.

    So have those of a server that is added at run time (HAProxy's src/check.c, init_srv_check()).
    """
    elsewhere = options.check_port is not None or options.check_address is not None
    return elsewhere or options.dynamic


def _link(options: ServerOptions, global_: GlobalDraft, ruleset: Ruleset | None) -> CheckLink:
    header = send_proxy(options.proxy_header)
    always = send_proxy(options.proxy_header | {"v1"})
    inherited = header if not _is_aimed(options) else None
    tls = _tls(options, global_)
    link = CheckLink(
        tls=tls if speaks_tls(options) else None,
        sni=options.check_sni,
        send_proxy=always if options.check_send_proxy else inherited,
        via_socks4=options.check_via_socks4 and options.socks4 is not None,
        tls_settings=tls,
        header=always,
        socks4=options.socks4,
        proto=options.check_proto,
        alpn_decides=bool(options.check_alpn),
    )
    return PLAIN_LINK if ruleset is None and link.plain else link


def _tls(options: ServerOptions, global_: GlobalDraft) -> ServerTls:
    made = server_tls(options.tls, global_.tls)
    settings = made.settings
    if options.check_alpn:
        settings = replace(settings, alpn=options.check_alpn)
    return replace(made, settings=settings, sni=None)


def _external(proxy: ProxyDraft) -> External:
    return External(
        proxy.external_command or "", proxy.checks.external_path, _first_listener(proxy)
    )


def _first_listener(proxy: ProxyDraft) -> tuple[str, str]:
    """Address and port; a socket's path and nothing; or nothing at all."""
    for bind in proxy.binds:
        for target in bind.targets:
            if target.address is not None:
                return str(target.address), str(target.low)
            if target.local in ("unix", "abns"):
                return target.local_name, ""
    return "", ""
