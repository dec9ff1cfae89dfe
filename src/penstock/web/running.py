# SPDX-License-Identifier: Apache-2.0
"""``Statistics`` of the running daemon: what its Runtime API says, asked without a socket."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.errors import PenstockError
from penstock.events import Level
from penstock.rules.subject import Traffic
from penstock.runtime_api.context import Context, Runtime, Session
from penstock.runtime_api.registry import Message
from penstock.runtime_api.request import Arguments
from penstock.runtime_sockets import AccessLevel
from penstock.web.counts import RowCounts
from penstock.web.statistics import Kind, Row, StickTable
from penstock.web.stats_uri import Format

# What ``stats show-legends`` shows and other pages hide: who stands where.
_LEGENDS = frozenset({"addr", "cookie", "algo"})


@dataclass(frozen=True, slots=True)
class StatRow:
    """One line of ``show stat``: *fields* by name."""

    fields: dict[str, str]

    @property
    def kind(self) -> Kind:
        return Kind(int(self.fields.get("type") or 0))

    @property
    def proxy(self) -> str:
        return self.fields.get("pxname", "")

    @property
    def name(self) -> str:
        return self.fields.get("svname", "")

    def text(self, field: str) -> str:
        return self.fields.get(field, "")


class Running:
    """Everything is asked anew each time: what is shown is what holds."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def rows(self, *, legends: bool, counted: bool) -> Sequence[Row]:
        rows = self._rows()
        up: dict[str, list[bool]] = {}
        for row in rows:
            if row.kind is Kind.SERVER:
                up.setdefault(row.proxy, []).append(row.text("status").startswith(("UP", "no")))
        for row in rows:
            if not legends:
                row.fields.update(dict.fromkeys(_LEGENDS & row.fields.keys(), ""))
            if counted and row.kind is Kind.BACKEND:
                servers = up.get(row.proxy, [])
                row.fields["status"] += f" ({sum(servers)}/{len(servers)})"
        return rows

    def _rows(self) -> list[StatRow]:
        text = self._ask("show", "stat")
        if not text.startswith("# "):
            return []
        lines = csv.DictReader(text.removeprefix("# ").splitlines(), restval="")
        return [StatRow({key: value for key, value in line.items() if key}) for line in lines]

    def dump(self, rows: Sequence[Row], format_: Format) -> str:
        wanted = {(row.proxy, row.name) for row in rows}
        match format_:
            case Format.TYPED:
                return self._typed(rows)
            case Format.JSON:
                return self._json(wanted)
        every = self._ask("show", "stat").splitlines()
        made = [every[0]] if every else []
        names = made[0].removeprefix("# ").rstrip(",").split(",") if made else []
        for row in rows:
            made.append(",".join(_quoted(row.text(name)) for name in names) + ",")
        return "\n".join(made) + "\n\n"

    def _typed(self, rows: Sequence[Row]) -> str:
        letters = {Kind.FRONTEND: "F", Kind.BACKEND: "B", Kind.SERVER: "S", Kind.LISTENER: "L"}
        heads = {f"{letters[row.kind]}.{row.text('iid')}.{row.text('sid')}." for row in rows}
        lines = self._ask("show", "stat", "typed").splitlines(keepends=True)
        return "".join(line for line in lines if line[: _third_dot(line)] in heads)

    def _json(self, wanted: set[tuple[str, str]]) -> str:
        found: list[list[dict[str, Any]]] = json.loads(self._ask("show", "stat", "json") or "[]")
        kept = [one for one in found if _named(one) in wanted]
        return json.dumps(kept, separators=(",", ":")) + "\n"

    def schema(self) -> str:
        return self._ask("show", "schema", "json")

    def info(self) -> dict[str, str]:
        lines = (line.partition(": ") for line in self._ask("show", "info").splitlines())
        return {name: value for name, colon, value in lines if colon}

    def tables(self) -> Sequence[StickTable]:
        """Lines as ``# table: NAME, type: ip, size:1024, used:0``."""
        found = []
        for line in self._ask("show", "table").splitlines():
            said = {
                key.strip(): value.strip()
                for part in line.removeprefix("# ").split(",")
                for key, _, value in (part.partition(":"),)
            }
            if {"table", "type", "size", "used"} <= said.keys():
                found.append(
                    StickTable(said["table"], said["type"], int(said["size"]), int(said["used"]))
                )
        return found

    def traffic(self) -> Traffic:
        return RowCounts(self._rows())

    def run(self, words: Sequence[str]) -> bool:
        try:
            answer = self._answer(words)
        except PenstockError:
            return False
        if answer is None:
            return False
        return not (isinstance(answer, Message) and answer.level <= Level.ERR)

    def _ask(self, *words: str) -> str:
        answer = self._answer(words)
        match answer:
            case None:
                return ""
            case Message():
                return answer.text
            case str():
                return answer
        return "".join(answer)

    def _answer(self, words: Sequence[str]) -> str | Message | Iterable[str] | None:
        """None: there is no such command. Raises PenstockError."""
        arguments = Arguments(words)
        found = self._runtime.registry.find(arguments)
        if found is None:
            return None
        context = Context(self._runtime, Session(AccessLevel.ADMIN))
        return found.run(context, arguments, None)


def _third_dot(line: str) -> int:
    at = -1
    for _ in range(3):
        at = line.find(".", at + 1)
    return at + 1


def _named(fields: list[dict[str, Any]]) -> tuple[str, str]:
    said = {one["field"]["name"]: one["value"]["value"] for one in fields}
    return str(said.get("pxname", "")), str(said.get("svname", ""))


def _quoted(text: str) -> str:
    """As HAProxy's CSV: only what has a comma, a quote or a line break in it is quoted."""
    if not any(char in text for char in ',"\n\r'):
        return text
    return '"' + text.replace('"', '""') + '"'
