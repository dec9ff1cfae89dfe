# SPDX-License-Identifier: Apache-2.0
"""Servers' states as ``show servers state`` wrote them, for a start that goes on from there. Pure.

HAProxy manual 3.1 and 4.2 (server-state-file, load-server-state-from-file). What the configuration
says now comes before what a file says it was then; warnings are HAProxy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from penstock.control.desired import Override
from penstock.model import AdminState, Configuration, Pool, PortMode, RealPort, RealServer
from penstock.states import Admin, Operational, ServerName

_VERSION = "1"
_FIELDS = 25
_CHECK_CODES = 21  # of what a check may come to
_CHECK_FLAGS, _CONFIGURED, _ENABLED = 31, 2, 4


class Corrupted(Exception):  # a state of a file
    """*line*, counted behind the version's; 0: the version itself."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


@dataclass(frozen=True, slots=True)
class Saved:
    """One line of such a file."""

    operational: Operational
    admin: Admin
    user_weight: int
    initial_weight: int
    ago: int  # seconds since its last change when the file was written
    check_flags: int
    port: int


@dataclass(slots=True)
class Recalled:
    """What to begin with."""

    overrides: dict[ServerName, Override] = field(default_factory=dict)
    down: set[ServerName] = field(default_factory=set)
    ago: dict[ServerName, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def recall(configuration: Configuration, read: Callable[[str], str]) -> Recalled:
    """States of all servers whose backends ask for it; *read* gives a file's text or OSError."""
    found = Recalled()
    pools = {pool.name: pool for pool in configuration.pools}
    common = configuration.settings.server_state_file
    wanted = [one for one in configuration.sections if one.back and one.state_file is not None]
    if common and any(one.state_file == "" for one in wanted):
        lines = _lines(common, read, found, "config: ", "global server state file")
    else:
        lines = {}
    for section in wanted:
        pool = pools.get(section.name)
        own = lines
        if section.state_file:
            head = f"Proxy '{section.name}': "
            own = _lines(section.state_file, read, found, head, "server state file", end=".")
        for real in pool.reals if pool is not None else ():
            words = own.get((section.name, real.name))
            if words is not None and pool is not None:
                _apply(pool, real, words, found)
    return found


Lines = Mapping[ServerName, list[str]]


def _lines(
    path: str,
    read: Callable[[str], str],
    found: Recalled,
    head: str,
    what: str,
    *,
    end: str = "",
) -> Lines:
    try:
        return parse(read(path))
    except OSError as error:
        found.warnings.append(f"{head}Can't open {what} '{path}': {error.strerror}{end}")
    except Corrupted as bad:
        found.warnings.append(
            f"{head}corrupted {what} '{path}' at line {bad.line}."
            if bad.line
            else f"{head}Can't get version of the {what} '{path}'."
        )
    return {}


def parse(text: str) -> Lines:
    """The words about each server, by backend and name. Raises Corrupted."""
    version, *lines = text.split("\n")
    if version.strip() != _VERSION:
        raise Corrupted(0)
    found: dict[ServerName, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < _FIELDS:
            raise Corrupted(number)
        found[words[1], words[3]] = words
    return found


def _apply(pool: Pool, real: RealServer, words: list[str], found: Recalled) -> None:
    saved = read_fields(words)
    name = (pool.name, real.name)
    if isinstance(saved, str):
        found.warnings.append(
            f"server-state application failed for server '{pool.name}/{real.name}'{saved}"
        )
        return
    override = Override(admin=_admin(real, saved))
    if saved.initial_weight == real.weight != saved.user_weight:
        override = replace(override, weight=saved.user_weight)
    if real.port.mode is PortMode.FIXED and saved.port not in (0, real.port.value):
        override = replace(override, port=RealPort(PortMode.FIXED, saved.port))
    if saved.check_flags & (_CONFIGURED | _ENABLED) == _CONFIGURED and real.check is not None:
        override = replace(override, check=False)
    if override != Override():
        found.overrides[name] = override
    if saved.operational is Operational.STOPPED and not saved.admin & (
        Admin.FMAINT | Admin.IMAINT | Admin.RMAINT
    ):
        found.down.add(name)
    found.ago[name] = saved.ago


def _admin(real: RealServer, saved: Saved) -> AdminState | None:
    """A file that has changed since decides; else what an operator had set."""
    disabled = real.admin is AdminState.MAINT
    if bool(saved.admin & Admin.CMAINT) != disabled:
        return None
    if saved.admin & Admin.FMAINT:
        return None if disabled else AdminState.MAINT
    if saved.admin & Admin.FDRAIN:
        return AdminState.DRAIN
    return AdminState.READY if disabled else None


def read_fields(words: list[str]) -> Saved | str:
    """What *words* say, or what is wrong with them, as HAProxy adds it to its warning."""
    wrong: list[str] = []

    def number(at: int, name: str, most: int) -> int:
        text = words[at]
        value = int(text) if text.isdecimal() and len(text) < 12 else -1
        if not 0 <= value <= most:
            wrong.append(f", invalid {name} value '{text}'")
            return 0
        return value

    operational = number(5, "srv_op_state", 3)
    admin = number(6, "srv_admin_state", 0x7F)
    user_weight = number(7, "srv_uweight", 256)
    initial_weight = number(8, "srv_iweight", 256)
    ago = number(9, "srv_last_time_change", 1 << 40)
    number(10, "srv_check_status", _CHECK_CODES - 1)
    number(11, "srv_check_result", 4)
    number(12, "srv_check_health", 1 << 31)
    flags = number(13, "srv_check_state", _CHECK_FLAGS)
    number(14, "srv_agent_state", _CHECK_FLAGS)
    number(15, "bk_f_forced_id", 1)
    number(16, "srv_f_forced_id", 1)
    port = number(18, "srv_port", 65535)
    if wrong:
        return "".join(wrong)
    return Saved(
        Operational(operational), Admin(admin), user_weight, initial_weight, ago, flags, port
    )
