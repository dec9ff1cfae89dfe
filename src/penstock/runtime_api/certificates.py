# SPDX-License-Identifier: Apache-2.0
"""``show``, ``set``, ``commit`` and ``abort ssl cert``: certificates renewed without a reload.

Management guide, 9.3; HAProxy's src/ssl_ckch.c. What is changed holds until the next reload, which
reads the files again.
"""

from __future__ import annotations

from typing import Final

from penstock.control.certificates import Transaction
from penstock.engine.proxy.crt import certificates_in, has_key, without_keys
from penstock.errors import ConfigError, PenstockError
from penstock.events import Level
from penstock.runtime_api.context import Context
from penstock.runtime_api.registry import Answer, CommandFailed, Message, command
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel
from penstock.wire.x509_shown import shown

_KEY: Final = "key"
# What may be sent of a certificate besides itself, by the end of the file's name. Answers of OCSP
# and lists of SCTs are not shown to clients here, from files or otherwise: they change nothing.
_BESIDE: Final = ("crt", _KEY, "ocsp", "sctl", "issuer")
_UNUSED: Final = _BESIDE[2:]


def _show(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    certificates, name = context.controller.certificates, arguments[3]
    transaction = certificates.transaction
    if not name:
        begun = [] if transaction is None else ["# transaction", f"*{transaction.file}"]
        return "".join(f"{line}\n" for line in (*begun, "# filename", *certificates))
    if transaction is not None and name == f"*{transaction.file}":
        return _details(name, transaction.pem, "Unused")
    if name not in certificates:
        raise CommandFailed(
            "Can't display the certificate: Not found or the certificate is a bundle!"
        )
    try:
        return _details(name, certificates.pem(name), "Used")
    except ConfigError as error:
        reason = error.diagnostics[0].message
    except ValueError:  # of its chain
        reason = f"unable to load certificate chain from file '{name}'."
    raise CommandFailed(f"Can't display the certificate: {reason}")


def _details(name: str, pem: str, status: str) -> str:
    """Raises ValueError where something in *pem* is no certificate."""
    own, *chain = certificates_in(pem)
    head = f"Filename: {name}\nStatus: {status}\n"
    return f"{head}{shown(own, chain)}OCSP Response Key: \n"


def _set(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    if not arguments[3] or not payload:
        raise CommandFailed("'set ssl cert expects a filename and a certificate as a payload")
    certificates, asked = context.controller.certificates, arguments[3]
    file, dot, what = asked.rpartition(".")
    if not dot or what not in _BESIDE:
        file, what = asked, ""
    before = certificates.transaction
    if before is not None and before.file != file:
        raise _not_updated(_about(before, "set", file), asked)
    if file not in certificates:
        raise _not_updated(
            "Can't replace a certificate which is not referenced by the configuration!", asked
        )
    try:
        pem = before.pem if before is not None else certificates.pem(file)
    except ConfigError as error:
        raise _not_updated(error.diagnostics[0].message, asked) from None
    certificates.transaction = Transaction(file, _with(pem, what, payload, file, asked))
    done = "created" if before is None else "updated"
    return Message(f"Transaction {done} for certificate {file}!\n", Level.NOTICE)


def _with(pem: str, what: str, payload: str, file: str, asked: str) -> str:
    """*pem* with its part *what* from *payload*."""
    if what in _UNUSED:
        return pem
    if what == _KEY:
        if not has_key(payload):
            raise _not_updated(
                f"unable to load private key from file '{file}'.\nCan't load the payload", asked
            )
        return f"{without_keys(pem)}{payload}\n"
    try:
        own, *chain = certificates_in(payload)
        shown(own, chain)
    except ValueError:
        raise _not_updated(
            f"unable to load certificate from file '{file}'.\nCan't load the payload", asked
        ) from None
    return f"{payload}\n"


def _not_updated(reason: str, asked: str) -> CommandFailed:
    return CommandFailed(f"{reason}\nCan't update {asked}!\n")


def _commit(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    file = arguments[3]
    if not file:
        raise CommandFailed("'commit ssl cert expects a filename")
    certificates = context.controller.certificates
    transaction = certificates.transaction
    if transaction is None:
        raise _not_committed("No ongoing transaction! !", file)
    if transaction.file != file:
        raise _not_committed(_about(transaction, "set", file), file)
    if not has_key(transaction.pem):
        raise _not_committed(
            "The transaction must contain at least a certificate and a private key!", file
        )
    try:
        context.controller.renew(file, transaction.pem)
    except ConfigError as error:
        raise _not_committed(error.diagnostics[0].message, file) from None
    except PenstockError as error:
        raise CommandFailed(f"Committing {file}\n{error}\nFailed!\n") from None
    certificates.transaction = None
    return f"Committing {file}{'.' * certificates.lines(file)}\nSuccess!\n"


def _not_committed(reason: str, file: str) -> CommandFailed:
    return CommandFailed(f"{reason}\nCan't commit {file}!\n")


def _about(transaction: Transaction, what: str, file: str) -> str:
    ongoing = f"The ongoing transaction is about '{transaction.file}'"
    return f"{ongoing} but you are trying to {what} '{file}'"


def _abort(context: Context, arguments: Arguments, payload: str | None) -> Answer:
    file = arguments[3]
    if not file:
        raise CommandFailed("'abort ssl cert' expects a filename")
    certificates = context.controller.certificates
    transaction = certificates.transaction
    if transaction is None:
        raise CommandFailed("No ongoing transaction!")
    if transaction.file != file:
        raise CommandFailed(_about(transaction, "abort a transaction for", file))
    certificates.transaction = None
    return Message(f"Transaction aborted for certificate '{file}'!\n", Level.NOTICE)


COMMANDS = (
    command(
        "set ssl cert",
        "set ssl cert <certfile> <payload>       : replace a certificate file",
        _set,
        AccessLevel.ADMIN,
    ),
    command(
        "commit ssl cert",
        "commit ssl cert <certfile>              : commit a certificate file",
        _commit,
        AccessLevel.ADMIN,
    ),
    command(
        "abort ssl cert",
        "abort ssl cert <certfile>               : abort a transaction for a certificate file",
        _abort,
        AccessLevel.ADMIN,
    ),
    command(
        "show ssl cert",
        "show ssl cert [<certfile>]              :"
        " display the SSL certificates used in memory, or the details of a file",
        _show,
        AccessLevel.OPERATOR,
    ),
)
