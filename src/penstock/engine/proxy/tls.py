# SPDX-License-Identifier: Apache-2.0
"""TLS of listeners and towards servers: contexts made of the model, and what handshakes tell.

What HAProxy 2.6 does with OpenSSL is done here with Python's ssl, which lacks some of it: a context
cannot leave out cipher suites of TLS 1.3 before Python 3.15, nor have other versions, ciphers or
checks of clients for one certificate of a crt-list. Both are refused rather than ignored.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock.engine.proxy.crt import Entry, entries, fault, load
from penstock.proxied import ListenerTls, ServerTls, TlsSettings, TlsVerify
from penstock.terms import Origin
from penstock.wire.tlv import CLIENT_CERT_CONN, CLIENT_CERT_SESS, CLIENT_SSL, SslTlv
from penstock.wire.x509 import Certificate, NotACertificate, matches, parse

_VERSIONS: Final = {
    "SSLv3": ssl.TLSVersion.TLSv1,  # OpenSSL is built without it everywhere
    "TLSv1.0": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_OLDEST: Final = ("SSLv3", "TLSv1.0")  # no need to say so, and Python warns of those who do
_VERIFY: Final = {
    TlsVerify.NONE: ssl.CERT_NONE,
    TlsVerify.OPTIONAL: ssl.CERT_OPTIONAL,
    TlsVerify.REQUIRED: ssl.CERT_REQUIRED,
}
_SYSTEM: Final = "@system-ca"
_AUTHORITIES: Final = (".pem", ".crt", ".cer", ".crl")  # of a folder; HAProxy manual 5.1, "ca-file"


class AcceptedSocket(ssl.SSLSocket):
    """A client's connection; *sni* is the name it asked for, as soon as it is known."""

    sni: str | None = None


class ServerSocket(ssl.SSLSocket):
    """A connection to a server, whose name is verified at the end of the handshake."""

    def do_handshake(self, block: bool = False) -> None:
        """As SSLSocket's. Raises SSLCertVerificationError too if the name is not the server's."""
        super().do_handshake(block)
        context = self.context
        if context.verify_mode != ssl.CERT_REQUIRED:
            return
        wanted = self.server_hostname
        if wanted is None and isinstance(context, _ServerContext):
            wanted = context.verify_host
        certificate = _peer(self)
        if wanted is None or (certificate is not None and _is_for(certificate, wanted)):
            return
        raise ssl.SSLCertVerificationError(f"the server's certificate is not for {wanted}")


class _ListenerContext(ssl.SSLContext):
    """A context of one certificate."""

    certificate: Certificate | None = None
    sslsocket_class = AcceptedSocket


class _ServerContext(ssl.SSLContext):
    verify_host: str | None = None
    sslsocket_class = ServerSocket


def listener_context(tls: ListenerTls, origin: Origin = Origin()) -> ssl.SSLContext:
    """A context for ``bind … ssl``, which chooses certificates by the name clients ask for.

    Reads the files anew. Raises ConfigError; *origin* is where faults are said to be.
    """
    found: list[Entry] = []
    contexts: list[_ListenerContext] = []
    for entry in entries(tls, origin):
        _refuse_unlike(entry, tls.settings)
        twin = _twin(found, entry)
        if twin is not None:
            _load_key(contexts[twin], entry)
            continue
        found.append(entry)
        context = _ListenerContext(ssl.PROTOCOL_TLS_SERVER)
        _configure(context, tls.settings, origin)
        context.options |= ssl.OP_NO_RENEGOTIATION
        if tls.client_ciphers:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        else:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        _load_key(context, entry)
        if "alpn" in entry.options:
            context.set_alpn_protocols([one for one in entry.options["alpn"].split(",") if one])
        context.certificate = entry.certificate
        contexts.append(context)
    if contexts:
        first = contexts[0]
    else:  # strict-sni without certificates: nobody gets through
        first = _ListenerContext(ssl.PROTOCOL_TLS_SERVER)
        _configure(first, tls.settings, origin)

    # In OpenSSL the name comes before the choice of a certificate, so the context can be changed.
    def choose(sock: ssl.SSLSocket | ssl.SSLObject, name: str, _: ssl.SSLContext) -> int | None:
        if isinstance(sock, AcceptedSocket):
            sock.sni = name
        chosen = _choose(found, name.lower()) if name else None
        if chosen is not None:
            sock.context = contexts[chosen]
        elif tls.strict_sni:
            return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        return None

    # The callback's type says str, but without a name it gets None.
    first.sni_callback = choose
    return first


def _twin(found: list[Entry], entry: Entry) -> int | None:
    """An earlier certificate for the same names whose key is of another kind: clients choose."""
    for at, other in enumerate(found):
        if (
            other.names == entry.names
            and other.filters == entry.filters
            and (other.certificate.key or "")[:2] != (entry.certificate.key or "")[:2]
        ):
            return at
    return None


def _choose(found: list[Entry], name: str) -> int | None:
    for at, entry in enumerate(found):
        if entry.exact(name):
            return at
    for at, entry in enumerate(found):
        if entry.wild(name):
            return at
    return None


def server_context(tls: ServerTls, origin: Origin = Origin()) -> ssl.SSLContext:
    """A context for ``server … ssl``. Raises ConfigError; *origin* is where faults are said to be.

    Sockets wrapped in it verify the name they are given, else ``verifyhost``, if either is there.
    """
    context = _ServerContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # ServerSocket does, for it may be another name than SNI's
    _configure(context, tls.settings, origin)
    context.verify_host = tls.verify_host
    if tls.certificate is not None:
        _load_key(context, load(Path(tls.certificate), origin, tls.renewed))
    return context


def wrap_client(context: ssl.SSLContext, sock: socket.socket) -> ssl.SSLSocket:
    """A client's *sock* in a listener's context; the handshake is the caller's to drive."""
    return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)


def wrap_server(context: ssl.SSLContext, sock: socket.socket, sni: str | None) -> ssl.SSLSocket:
    """A connected *sock* in a server's context, asking for *sni*; the handshake as above."""
    return context.wrap_socket(sock, do_handshake_on_connect=False, server_hostname=sni or None)


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What a finished handshake with a client has shown."""

    version: str  # as TLSv1.3
    cipher: str
    bits: int  # of the cipher's key
    sni: str | None
    alpn: str | None
    certificate: Certificate | None  # the client's; it was verified, or the handshake had failed
    own: Certificate | None  # ours, that the client was shown
    resumed: bool

    @classmethod
    def of(cls, sock: ssl.SSLSocket) -> TlsInfo:
        """Of a socket whose handshake is over. Raises ValueError when it is not."""
        cipher, version = sock.cipher(), sock.version()
        if cipher is None or version is None:
            raise ValueError("the handshake is not over")
        context = sock.context
        return cls(
            version=version,
            cipher=cipher[0],
            bits=cipher[2],
            sni=sock.sni if isinstance(sock, AcceptedSocket) else sock.server_hostname,
            alpn=sock.selected_alpn_protocol(),
            certificate=_peer(sock),
            own=context.certificate if isinstance(context, _ListenerContext) else None,
            resumed=bool(sock.session_reused),
        )

    @property
    def common_name(self) -> str | None:
        return None if self.certificate is None else self.certificate.common_name

    def tlv(self) -> SslTlv:
        """For a PROXY protocol header; algorithms are those of our own certificate, as HAProxy."""
        client = CLIENT_SSL
        if self.certificate is not None:
            client |= CLIENT_CERT_SESS | (0 if self.resumed else CLIENT_CERT_CONN)
        return SslTlv(
            client,
            version=self.version,
            common_name=self.common_name,
            cipher=self.cipher,
            signature_algorithm=None if self.own is None else self.own.signature,
            key_algorithm=None if self.own is None else self.own.key,
        )


def _peer(sock: ssl.SSLSocket) -> Certificate | None:
    der = sock.getpeercert(binary_form=True)
    if der is None:
        return None
    try:
        return parse(der)
    except NotACertificate:  # OpenSSL took it; a name in it is in a form that we do not read
        return Certificate(None, (), (), None, None)


def _is_for(certificate: Certificate, name: str) -> bool:
    return any(matches(pattern, name) for pattern in certificate.names) or name in map(
        str, certificate.addresses
    )


def _configure(context: ssl.SSLContext, settings: TlsSettings, origin: Origin) -> None:
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    if settings.max_version is not None:
        context.maximum_version = _VERSIONS[settings.max_version]
    if settings.min_version not in (None, *_OLDEST):
        context.minimum_version = _VERSIONS[settings.min_version]
    context.options |= ssl.OP_NO_COMPRESSION
    if not settings.tickets:
        context.options |= ssl.OP_NO_TICKET
    try:
        context.set_ciphers(settings.ciphers or "DEFAULT")  # OpenSSL's, not Python's
    except ssl.SSLError:
        raise fault(origin, f"unable to set SSL cipher list to '{settings.ciphers}'.") from None
    if settings.ciphersuites is not None:
        _set_ciphersuites(context, settings.ciphersuites, origin)
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    context.verify_mode = _VERIFY[settings.verify]
    if settings.ca_file is not None:
        _load_authorities(context, settings.ca_file, "ca-file", origin)
    if settings.crl_file is not None and settings.verify is not TlsVerify.NONE:
        _load_authorities(context, settings.crl_file, "crl-file", origin)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _set_ciphersuites(context: ssl.SSLContext, text: str, origin: Origin) -> None:
    available = {one["name"] for one in context.get_ciphers() if one["name"].startswith("TLS_")}
    wanted = text.split(":")
    if hasattr(context, "set_ciphersuites"):  # Python 3.15
        try:
            context.set_ciphersuites(text)
        except ssl.SSLError:
            raise fault(origin, f"unable to set TLS 1.3 cipher suites to '{text}'.") from None
    elif any(not name.startswith("TLS_") for name in wanted):
        raise fault(origin, f"unable to set TLS 1.3 cipher suites to '{text}'.")
    elif left_out := sorted(available - set(wanted)):
        raise fault(
            origin,
            f"'ciphersuites {text}' leaves out {', '.join(left_out)}, which Python's ssl cannot"
            " do: name them as well, or limit the version to TLSv1.2.",
        )


def _load_authorities(context: ssl.SSLContext, text: str, option: str, origin: Origin) -> None:
    """Authorities, or lists of what they revoked: a file, or a folder of files."""
    if text == _SYSTEM:
        context.set_default_verify_paths()
        return
    path = Path(text)
    files = [path]
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix in _AUTHORITIES)
    for one in files:
        try:
            context.load_verify_locations(cafile=one)
        except (OSError, ssl.SSLError):
            raise fault(origin, f"'{option}' : unable to load {one}.") from None


@contextmanager
def in_memory(pem: str) -> Iterator[str]:
    """A file with *pem*, for OpenSSL takes certificates by way of Python's ssl from files alone."""
    with open(os.memfd_create("certificate", os.MFD_CLOEXEC), "wb", closefd=True) as file:
        file.write(pem.encode(errors="surrogateescape"))
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _load_key(context: ssl.SSLContext, entry: Entry) -> None:
    def no_password() -> str:
        raise ValueError

    try:
        if entry.pem is None:
            context.load_cert_chain(entry.path, entry.key, password=no_password)
        else:
            with in_memory(entry.pem) as path:
                context.load_cert_chain(path, password=no_password)
    except ValueError:
        raise fault(
            entry.origin, f"the private key in '{entry.key}' is protected by a password."
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise fault(
                entry.origin,
                "inconsistencies between private key and certificate loaded"
                f" '{entry.path}' and '{entry.key}'.",
            ) from None
        raise fault(entry.origin, f"unable to load certificate from file '{entry.path}'.") from None


def _refuse_unlike(entry: Entry, settings: TlsSettings) -> None:
    """What one certificate of a list asks for otherwise than its bind line, and cannot have."""
    same = {
        "verify": str(settings.verify),
        "ca-file": settings.ca_file,
        "crl-file": settings.crl_file,
        "ciphers": settings.ciphers,
        "ciphersuites": settings.ciphersuites,
        "ssl-min-ver": settings.min_version,
        "ssl-max-ver": settings.max_version,
    }
    for name, value in entry.options.items():
        if name in same and same[name] != value:
            raise fault(
                entry.origin,
                f"'{name} {value}' cannot be for one certificate alone: set it on the bind line.",
            )
