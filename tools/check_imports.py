# SPDX-License-Identifier: Apache-2.0
"""Checks that imports go one way, and that the pure part stays pure.

Run from anywhere: ``python tools/check_imports.py``. Prints each import that is not allowed and
exits 1 if there is one. docs/architecture.md has the picture.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).resolve().parent.parent / "src"
PACKAGE: Final = "penstock"

# Each part of the package and the parts it may import besides itself and ``errors``. The longest
# name that fits a module decides.
# What a haproxy.cfg says beyond addresses and pools, and the model made of it.
SAID: Final = (
    *("terms", "rules.model", "stick.model", "stick.sections", "stick.peers_view"),
    *("proxied", "http_service", "admission"),
    *("logs.model", "events", "mail.model"),
    *("checks.codes", "checks.model"),
    *("runtime_sockets", "process", "sections"),
)
VOCABULARY: Final = (*SAID, "model", "engine.api")
DECISIONS: Final = (
    *VOCABULARY,
    "config",
    "schedulers",
    "health.state",
    "control.desired",
    "control.plan",
)
# Functions of a snapshot: what the controller answers with.
ANSWERS: Final = ("api.wire", "control.status", "metrics")
RUNNING: Final = (
    *DECISIONS,
    *(
        "engine",
        "health",
        "names",
        "control.reconcile",
        "control.datapaths",
        "instance.runtime",
        "control.edits",
        "control.listed",
        "control.overrides",
        "control.asked",
        "control.state_file",
        "instance.log",
        "logs",
    ),
    *(
        "states",
        "control.server_states",
        "control.server_agents",
        "control.server_values",
        "control.numbers",
    ),
    *("ipvs", "director", "facts", "spare"),
    "mail",
    *ANSWERS,
    "control.refusal",
)
ROOTS: Final = (
    *RUNNING,
    "instance.surroundings",
    "ipvs_sync",
    "control.controller",
    "api",
    "runtime_api",
    "statistics",
    "web",
    "instance.notify",
    "kernel.probe",
    "kernel.bpffs",
)
MAY_IMPORT: Final[dict[str, tuple[str, ...]]] = {
    "errors": (),
    "control": (),
    "instance": (),
    "c_numbers": (),
    "terms": (),
    "rules.model": ("terms",),
    "stick.model": ("terms", "rules.model"),
    "proxied": ("terms", "rules.model", "stick.model"),
    "stick.peers_view": (),
    "stick.sections": ("terms", "rules.model", "stick.model", "proxied"),
    "checks.codes": (),
    "checks.model": ("terms", "rules.model", "stick.model", "proxied", "checks.codes"),
    "runtime_sockets": ("terms", "proxied"),
    "sections": (),
    "control.state_file": (*DECISIONS, "states"),
    "statistics": ("dialect", *RUNNING, "control.controller"),
    "process": (),
    "dialect": (),
    "http_service": ("terms", "rules.model", "proxied"),
    # Who may open a connection, as far as its first packet says.
    "admission": ("terms", "rules.model", "stick.model"),
    "admission_rules": (*SAID, "admission"),
    "model": SAID,
    # What is logged of connections and servers: the text, and whom it is sent to.
    "logs.model": ("terms", "rules.model", "proxied", "events"),
    "logs": (*SAID, "model", "rules", "facts", "spare"),
    "mail.model": ("terms", "events"),
    # A mail is a check of a mail server, with other steps.
    "mail.dialogue": (*SAID,),
    "mail": (*VOCABULARY, "health", "facts"),
    # Pure: what is said of a connection, what is remembered of its client, what it says itself.
    "rules": (*SAID, "model", "wire"),
    "stick": (*SAID, "model", "rules"),
    "wire": ("terms",),
    "instance.runtime": (),
    "events": (),
    "facts": ("terms",),
    "spare": (),
    # Where servers stand; says what follows from a change, for the controller to do.
    "states": ("model", "events"),
    "instance.log": ("events",),
    "instance.notify": (),
    "engine.api": (*SAID, "model", "admission", "ipvs.model"),
    # IPVS: the rules, and what the kernel would make of them.
    "ipvs": (*VOCABULARY, "ipvs.model"),
    "ipvs.model": (),
    "instance.surroundings": ("ipvs.table",),
    "director": (*VOCABULARY, "ipvs", "health", "api.wire"),
    "ipvs_sync": ("ipvs.model", "ipvs.sync", "ipvs.sync_pace", "ipvs.sync_wire"),
    # The command that everybody knows; it imports little, for it is started often.
    "ipvsadm": ("ipvs.model", "api.client", "api.wire", "instance.runtime"),
    "config": (
        "c_numbers",
        "dialect",
        *SAID,
        "model",
        "rules",
        "stick",
        "admission_rules",
        "checks",
        "logs",
    ),
    "schedulers": VOCABULARY,
    "checks": (*SAID, "checks"),
    "health.state": VOCABULARY,
    "health.verdict": ("checks.codes",),
    "health.timers": (),
    "health.socket_errors": (),
    "health.probes": (*VOCABULARY, "health.verdict", "health.socket_errors"),
    # Steps of checks, without sockets.
    "health.subject": (*VOCABULARY, "rules", "wire"),
    "health.expects": (*VOCABULARY, "checks", "rules", "wire", "health.subject", "health.verdict"),
    "health.execution": (
        *(*VOCABULARY, "checks", "rules", "wire"),
        *("health.subject", "health.expects", "health.verdict"),
    ),
    "health": (*VOCABULARY, "health.state", "health.probes", "checks", "rules", "wire", "facts"),
    "control.refusal": ("model",),
    "control.desired": (*VOCABULARY, "config", "schedulers", "health.state"),
    "control.plan": tuple(part for part in DECISIONS if part != "control.plan"),
    "engine": (*DECISIONS, "ipvs.model", "stick"),
    "engine.kernel": (
        *DECISIONS,
        "ipvs.model",
        "ipvs.names",
        "ipvs.sync_pace",
        "ipvs.sync_wire",
        "engine",
        "kernel",
        "stick",
        "wire",
        "logs",
    ),
    "engine.proxy": (*DECISIONS, "engine", "rules", "stick", "wire", "logs", "facts"),
    "kernel": (),
    "names": (*VOCABULARY, "config"),
    "control.reconcile": (*DECISIONS, "engine"),
    "control.edits": (*VOCABULARY, "control.desired"),
    "control.listed": (*VOCABULARY, "admission_rules", "rules"),
    # The engines that there are, each behind its reconciler.
    "control.datapaths": (*DECISIONS, "engine", "control.reconcile"),
    "control.server_states": (*DECISIONS, "engine", "states", "events"),
    "control.server_agents": (
        *DECISIONS,
        "checks.codes",
        "control.edits",
        "health",
        "states",
        "control.server_states",
        "control.server_values",
        "events",
    ),
    "control.asked": ("model", "control.desired", "api.wire"),
    "control.server_values": ("model", "c_numbers"),
    "control.overrides": ("model", "proxied", "control.desired", "control.edits"),
    "api.wire": (*VOCABULARY, "ipvs.model"),
    "binds": ("model", "proxied"),
    "control.status": (*DECISIONS, "binds", "states", "api.wire", "ipvs.model", "ipvs.names"),
    "metrics": (*VOCABULARY, "api.wire", "control.status"),
    "control.overview": RUNNING,
    "control.certificates": (*VOCABULARY, "engine"),
    "control.composed": (*RUNNING, "control.certificates"),
    "control.checking": RUNNING,
    "control.controller": (
        *(*RUNNING, "control.overview", "control.composed", "control.checking"),
        "control.certificates",
    ),
    "api": (*RUNNING, "control.controller"),
    "api.client": (*VOCABULARY, "instance.runtime", "api.wire"),
    "runtime_api": (
        *("c_numbers", *RUNNING, "control.controller", "control.certificates"),
        *("rules", "stick", "statistics", "wire"),
    ),
    "web": (*RUNNING, "control.controller", "runtime_api", "statistics", "rules", "stick", "wire"),
    # Composition roots: the daemon in a process of its own, or on a thread of the user's.
    "instance.lifetime": ("instance.runtime",),
    "instance.tenure": (*ROOTS,),
    "instance.main_loop": (*ROOTS, "instance.lifetime", "instance.tenure"),
    "instance.beside": (*ROOTS, "instance.main_loop", "instance.tenure"),
    "daemon": (
        *ROOTS,
        "instance.lifetime",
        "instance.tenure",
        "instance.main_loop",
        "instance.beside",
    ),
    "library": (*ROOTS, "daemon"),
    # HAProxy's own command line in front of the daemon.
    "haproxy": ("dialect", *ROOTS, "daemon", "instance.tenure"),
    # The command line checks files and starts the daemon; the rest goes through the socket.
    "cli": (
        "model",
        "http_service",
        "config",
        "instance.runtime",
        "api",
        "engine.api",
        "engine.proxy.tls_files",
        "daemon",
        "instance.log",
        "binds",
        "control.status",
        "metrics",
        "ipvs.model",
        "ipvsadm",
        "haproxy",
    ),
    "lab": (*VOCABULARY, "config", "instance.runtime", "api", "kernel", "cli"),
    "__main__": ("haproxy", "cli", "ipvsadm"),
    # ``import penstock``: what the library offers.
    "": ("model", "library"),
}

# Decides, and never looks at the world: clocks, seeds and answers are its arguments.
PURE: Final = (
    *SAID,
    "admission_rules",
    "logs",
    "mail.dialogue",
    "model",
    "rules",
    "stick",
    "wire",
    "config",
    "schedulers",
    "binds",
    "control.desired",
    "control.edits",
    "control.listed",
    "states",
    "control.plan",
    "engine.api",
    "control.asked",
    "control.numbers",
    "control.server_values",
    "health.timers",
    "health.state",
    "health.probes",
    "health.verdict",
    "health.socket_errors",
    "health.subject",
    "health.expects",
    "health.execution",
    "checks",
    "ipvs",
)
# Lies in a pure part's folder and does look: the rest of that part must not import it.
_FLOWS: Final = ("logs.flows", "logs.flow_subject")
_NAMES: Final = ("config.resolve", "config.system_names")
_LOGS: Final = ("logs.sinks", "logs.process", "logs.rings", "logs.forwarder")
EXCEPTIONS: Final = (*_NAMES, "ipvs.journal", *_LOGS, *_FLOWS)
IMPURE: Final = frozenset({"socket", "time", "asyncio", "random", "select", "secrets", "datetime"})


@dataclass(frozen=True, slots=True)
class Import:
    line: int
    module: str


def imports_of(tree: ast.Module) -> Iterator[Import]:
    """What a module imports at run time, absolute names."""
    typing_only = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield Import(node.lineno, f"{node.module}.{alias.name}")


def fits(module: str, part: str) -> bool:
    return module == part or module.startswith(part + ".")


def part_of(module: str) -> str:
    """The longest part whose name *module* starts with; "" for the package itself."""
    return max((part for part in MAY_IMPORT if part and fits(module, part)), key=len, default="")


def faults(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines and sentences about what *module* (without "penstock.") must not import."""
    part = part_of(module)
    if module and not part:
        yield 1, f"{module} is in no part of the architecture: add it to MAY_IMPORT"
        return
    pure = any(fits(module, name) for name in PURE) and module not in EXCEPTIONS
    for item in imports_of(tree):
        target = item.module.removeprefix(PACKAGE + ".")
        if pure and (
            item.module.split(".")[0] in IMPURE or any(fits(target, name) for name in EXCEPTIONS)
        ):
            yield item.line, f"{module} is pure and must not import {item.module}"
        if not item.module.startswith(PACKAGE + "."):
            continue
        allowed = ("errors", "__version__", *MAY_IMPORT[part], *((part,) if part else ()))
        if not any(fits(target, name) for name in allowed):
            yield item.line, f"{module or PACKAGE} must not import {PACKAGE}.{target}"


def module_name(path: Path, source: Path) -> str:
    """The module in *path* without "penstock.", "" for the package itself."""
    names = path.relative_to(source / PACKAGE).with_suffix("").parts
    return ".".join(name for name in names if name != "__init__")


def check(source: Path) -> list[str]:
    """All faults below *source*, as lines for people."""
    found = []
    for path in sorted((source / PACKAGE).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for line, sentence in faults(module_name(path, source), tree):
            found.append(f"{path.relative_to(source.parent)}:{line}: {sentence}")
    return found


def main() -> int:
    found = check(SOURCE)
    print("\n".join(found) if found else "imports go one way")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
