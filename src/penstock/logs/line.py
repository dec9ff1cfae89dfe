# SPDX-License-Identifier: Apache-2.0
"""Formats made into functions of a record: once for each proxy, not for each line. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from operator import attrgetter, itemgetter
from typing import Final

from penstock.logs.dates import Dates
from penstock.logs.model import BLANK, Blank, Format, Sampled, Shape, Variable
from penstock.logs.record import Record
from penstock.rules.evaluate import Where, compile_expression, sample_of
from penstock.rules.fetches import UnsupportedError
from penstock.rules.samples import to_text

Render = Callable[[Record], str]
_Piece = Callable[[Record], object]  # whose str() stands in the line

_ESCAPES: Final = str.maketrans({'"': '\\"', "\\": "\\\\", "]": "\\]"})
_ENCODED: Final = str.maketrans(
    {chr(code): f"%{code:02X}" for code in (*range(9), *range(10, 32), 127)}
)
_CAPTURED: Final = str.maketrans(
    {chr(code): f"#{code:02X}" for code in (*range(32), 127, *b'"#{|}')}
)
_SECOND: Final = 1_000_000_000
_NO_SERVER: Final = "<NOSRV>"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a format's variables mean wherever its lines are made.

    *early*: lines are written before the end, and say so with a "+" (``option logasap``).
    """

    dates: Dates
    hostname: str
    pid: int
    section: str = ""
    early: bool = False
    late: bool = True  # what the client has said has gone on by then
    count: Callable[[], int] = lambda: 0  # lines that were logged before


def unsupported(made: Format) -> Iterator[str]:
    """The fetches of *made*, or their converters, that cannot be carried out."""
    for part in made.parts:
        if isinstance(part, Sampled):
            try:
                compile_expression(part.expression)
            except UnsupportedError as error:
                yield str(error).strip("`")


def compile_line(made: Format, setting: Setting) -> Render:
    """*made* as a function. What cannot be carried out of it is as if it found nothing."""
    pieces: list[str | _Piece] = []
    after_blank = True  # HAProxy drops blanks at the beginning too
    merges = False
    for part in made.parts:
        if isinstance(part, Blank):
            if not after_blank:
                pieces.append(" ")
            after_blank = True
        elif isinstance(part, str):
            pieces.append(part)
            after_blank = False
        else:
            pieces.append(_piece(part, setting))
            vanishing = isinstance(part, Variable) and part.name in _VANISHING
            merges = merges or vanishing
            after_blank = after_blank and vanishing
    if merges:
        return _merging(made, setting)
    return _joined(_gathered(pieces))


_VANISHING: Final = frozenset({"hr", "hs", "hrl", "hsl"})  # whose blank goes with them


def _merging(made: Format, setting: Setting) -> Render:
    """As ``compile_line()`` where a variable may be nothing at all."""
    pieces: list[Blank | str | _Piece] = [
        part if isinstance(part, Blank | str) else _piece(part, setting) for part in made.parts
    ]

    def render(record: Record) -> str:
        line = ""
        blank = True
        for piece in pieces:
            if piece is BLANK or isinstance(piece, Blank):
                line += "" if blank else " "
                blank = True
                continue
            text = piece if isinstance(piece, str) else str(piece(record))
            if text:
                blank = False
            line += text
        return line

    return render


def _gathered(pieces: list[str | _Piece]) -> list[str | _Piece]:
    """With neighbouring texts put together."""
    gathered: list[str | _Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and gathered and isinstance(gathered[-1], str):
            gathered[-1] += piece
        else:
            gathered.append(piece)
    return gathered


def _joined(pieces: list[str | _Piece]) -> Render:
    """One pattern and the functions that fill it."""
    pattern = "".join(
        piece.replace("%", "%%") if isinstance(piece, str) else "%s" for piece in pieces
    )
    fills = [piece for piece in pieces if not isinstance(piece, str)]
    fields = [fill for fill in fills if isinstance(fill, _Field)]
    others = [fill for fill in fills if not isinstance(fill, _Field)]
    if len(fields) < _MANY:
        return lambda record: pattern % tuple([fill(record) for fill in fills])
    # All fields are looked up in one go, before the others, and then brought into their order.
    look = attrgetter(*[field.name for field in fields])
    order = itemgetter(*[[*fields, *others].index(fill) for fill in fills])

    def render(record: Record) -> str:
        values: tuple[object, ...] = order((*look(record), *[fill(record) for fill in others]))
        return pattern % values

    return render


@dataclass(frozen=True, eq=False, slots=True)
class _Field:
    """A piece that is a field of the record as it stands."""

    name: str

    def __call__(self, record: Record) -> object:
        return getattr(record, self.name)


_MANY: Final = 2  # fields, from which on looking them up together is worth it


def _piece(part: Variable | Sampled, setting: Setting) -> _Piece:
    if isinstance(part, Sampled):
        return _sample(part, setting)
    name, shape = part.name, part.shape
    special = _special(name, shape, setting)
    if special is not None:
        return special
    text = _TEXTS.get(name)
    if text is not None:
        return _shaped(text, shape)
    return _Field(_FIELDS[name]) if name in _FIELDS else _NUMBERS[name]


def _sample(part: Sampled, setting: Setting) -> Render:
    try:
        where = Where(setting.section, final=True, response=setting.late)
        fetch = compile_expression(part.expression, where)
    except UnsupportedError:  # the file's reader has been told
        return _shaped(lambda record: None, part.shape)

    def text(record: Record) -> str | None:
        if record.subject is None:
            return None
        found = sample_of(fetch(record.subject))
        return None if found is None else to_text(found)

    if part.shape & Shape.ENCODED:
        return _shaped(lambda record: (text(record) or "").translate(_ENCODED), part.shape)
    return _shaped(text, part.shape)


def _shaped(text: Callable[[Record], str | None], shape: Shape) -> Render:
    quoted, escaped = bool(shape & Shape.QUOTED), bool(shape & Shape.ESCAPED)
    nothing = "-" if shape & Shape.MANDATORY and not quoted else ""
    if not quoted and not escaped:
        return lambda record: text(record) or nothing

    def render(record: Record) -> str:
        found = text(record) or nothing
        if escaped:
            found = found.translate(_ESCAPES)
        return f'"{found}"' if quoted else found

    return render


# Of HAProxy's strings.
_TEXTS: Final[dict[str, Callable[[Record], str | None]]] = {
    "ci": lambda r: r.client,
    "fi": lambda r: r.wanted,
    "bi": lambda r: r.source,
    "si": lambda r: r.target,
    "f": lambda r: r.frontend,
    "b": lambda r: r.backend,
    "s": lambda r: r.server or _NO_SERVER,
    "sslc": lambda r: r.cipher,
    "sslv": lambda r: r.tls_version,
    "ID": lambda r: r.unique_id,
}

_PORTS: Final[dict[str, Callable[[Record], tuple[str | None, int]]]] = {
    "cp": lambda r: (r.client, r.client_port),
    "fp": lambda r: (r.wanted, r.wanted_port),
    "bp": lambda r: (r.source, r.source_port),
    "sp": lambda r: (r.target, r.target_port),
}

# And of its numbers, which flags leave alone.
_FIELDS: Final = {
    **{"Th": "handshake", "Tw": "queued", "U": "received", "ts": "end", "ac": "live"},
    **{"fc": "frontend_live", "bc": "backend_live", "sc": "server_live"},
    **{"sq": "server_queue", "bq": "backend_queue"},
}
_NUMBERS: Final[dict[str, Callable[[Record], object]]] = {
    "Tc": lambda r: r.connected - r.queued if r.connected >= 0 else -1,
    "Td": lambda r: r.closed - r.connected if r.connected >= 0 else -1,
    "ST": lambda r: 0,
    "tsc": lambda r: r.end + "--",
    "rc": lambda r: f"+{r.retries}" if r.redispatched else r.retries,
    "hs": lambda r: "",
    "hsl": lambda r: "",
}


def _special(  # noqa: PLR0912 one case a variable
    name: str, shape: Shape, setting: Setting
) -> _Piece | None:
    """Those that the process, the clock or a flag has a say in."""
    dates, hexadecimal = setting.dates, bool(shape & Shape.HEXADECIMAL)
    match name:
        case "t":
            return lambda r: (
                f"{dates.logged(r.accepted // _SECOND)}.{r.accepted % _SECOND // 1000000:03}"
            )
        case "T":
            return lambda r: dates.gmt(r.accepted // _SECOND)
        case "Tl":
            return lambda r: dates.local(r.accepted // _SECOND)
        case "Ts":
            form = "04X" if hexadecimal else "d"
            return lambda r: format(r.accepted // _SECOND, form)
        case "ms":
            form = "02X" if hexadecimal else "03d"
            return lambda r: format(r.accepted % _SECOND // 1_000_000, form)
        case "rt":
            form = "04X" if hexadecimal else "d"
            return lambda r: format(r.number, form)
        case "lc":
            form, count = "04X" if hexadecimal else "d", setting.count
            return lambda r: format(count(), form)
        case "pid":
            pid = format(setting.pid, "04X" if hexadecimal else "d")
            return lambda r: pid
        case "H":
            return _shaped(lambda r: setting.hostname, shape)
        case "B":
            return (lambda r: f"+{r.sent}") if setting.early else _Field("sent")
        case "Tt" | "Tu":
            return (lambda r: f"+{r.closed}") if setting.early else _Field("closed")
        case "ft":
            quote = '"' if shape & Shape.QUOTED else ""
            return lambda r: f"{quote}{r.frontend}{'~' if r.tls else ''}{quote}"
        case "ci" | "fi" | "bi" | "si" if hexadecimal:
            address = _TEXTS[name]
            return lambda r: _packed(address(r))
        case "cp" | "fp" | "bp" | "sp":
            return _port(_PORTS[name], shape)
        case "hr":
            return _captures(shape)
        case "hrl":
            return _listed(shape)
    return None


def _packed(address: str | None) -> str:
    try:
        return ip_address(address or "").packed.hex().upper()
    except ValueError:
        return ""


def _port(end: Callable[[Record], tuple[str | None, int]], shape: Shape) -> Render:
    """A number, that is, which is not quoted; of a UNIX socket its own, decimal."""
    form = "04X" if shape & Shape.HEXADECIMAL else "d"
    nothing = _shaped(lambda record: None, shape)

    def render(record: Record) -> str:
        address, port = end(record)
        if address is None:
            return nothing(record)
        return str(port) if address == "unix" else format(port, form)

    return render


def _captures(shape: Shape) -> Render:
    quote = '"' if shape & Shape.QUOTED else ""

    def render(record: Record) -> str:
        if not record.captures:
            return ""
        inside = "|".join((one or "").translate(_CAPTURED) for one in record.captures)
        return f"{quote}{{{inside}}}{quote}"

    return render


def _listed(shape: Shape) -> Render:
    quoted = bool(shape & Shape.QUOTED)

    def one(text: str | None) -> str:
        made = (text or "").translate(_CAPTURED)
        if quoted:
            return f'"{made}"'
        return made or "-"

    return lambda record: " ".join(one(text) for text in record.captures)
