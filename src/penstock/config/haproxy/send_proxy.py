# SPDX-License-Identifier: Apache-2.0
"""``send-proxy`` and its kin on server lines (HAProxy manual 5.2)."""

from __future__ import annotations

from typing import Final

from penstock.config.haproxy.draft import ServerOptions
from penstock.config.haproxy.report import LineError
from penstock.proxied import HeaderVersion, SendProxy

_KEYWORDS: Final = {
    "send-proxy": frozenset({"v1"}),
    "send-proxy-v2": frozenset({"v2"}),
    "send-proxy-v2-ssl": frozenset({"v2", "ssl"}),
    "send-proxy-v2-ssl-cn": frozenset({"v2", "ssl", "cert-cn"}),
}
_OPTIONS: Final = {
    **{name: frozenset({name}) for name in ("ssl", "authority", "crc32c", "unique-id")},
    **{
        name: frozenset({"ssl", name}) for name in ("cert-cn", "ssl-cipher", "cert-sig", "cert-key")
    },
}


def read_header(options: ServerOptions, name: str, value: str) -> bool:
    """Take the option *name* if it is about the PROXY protocol. Raises LineError."""
    if name in _KEYWORDS:
        options.proxy_header |= _KEYWORDS[name]
    elif name.startswith("no-") and name[3:] in _KEYWORDS:
        options.proxy_header -= _KEYWORDS[name[3:]]
    elif name == "proxy-v2-options":
        for word in value.split(","):
            if word not in _OPTIONS:
                raise LineError(f"'{word}' : proxy v2 option not implemented")
            options.proxy_header |= _OPTIONS[word]
    else:
        return False
    return True


def send_proxy(header: frozenset[str]) -> SendProxy | None:
    """What a server is sent; version 2 wins. *options* name all that its header holds."""
    if "v2" not in header:
        return SendProxy(HeaderVersion.V1) if "v1" in header else None
    version = HeaderVersion.V2
    if "ssl" in header:
        version = HeaderVersion.V2_SSL_CN if "cert-cn" in header else HeaderVersion.V2_SSL
    return SendProxy(version, tuple(sorted(header - {"v1", "v2"})))
