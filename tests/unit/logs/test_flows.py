# SPDX-License-Identifier: Apache-2.0
"""Lines of connections that packets carried, and a reader that does not drown in them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from unit_logs import Post

from penstock.config.haproxy import loads
from penstock.engine.kernel.journal_reader import JournalReader
from penstock.logs.flows import FlowLog, How, Server, Told
from penstock.model import EngineKind

MS = 1_000_000
START = 5_000 * MS
TOLD = Told(
    client=b"\x0a\0\0\1",
    vip=b"\x0a\0\0\2",
    source=b"\x0a\0\0\3",
    target=b"\x0a\0\0\4",
    client_port=1234,
    vip_port=80,
    source_port=5555,
    target_port=8080,
    begun=START,
    answered=START + 3 * MS,
    ended=START + 250 * MS,
    bytes_in=100,
    bytes_out=2000,
    service=1,
    real=7,
    how=How.BOTH_ENDED,
    cause="K",
    client_ended=True,
    real_ended=True,
)
TEXT = """
defaults
    mode {mode}
    log /dev/log format raw local0
    timeout connect 1s
    timeout client {client}
    timeout server {server}
listen fe
    bind 10.0.0.2:80
    {lines}
    server s1 10.0.0.4:8080
"""


class Numbers:
    """Of one service and one server."""

    def service_name(self, number: int) -> str | None:
        return "fe" if number == 1 else None

    def server(self, number: int) -> Server | None:
        return Server("fe", "s1") if number == 7 else None

    def live(self) -> int:
        return 4

    def service_live(self, number: int) -> int:
        return 3

    def server_live(self, number: int) -> int:
        return 2

    def pool_live(self, pool: str) -> int:
        return 3


def line(
    told: Told,
    lines: str = "option tcplog",
    *,
    client: str = "5s",
    server: str = "9s",
    mode: str = "tcp",
) -> str:
    post = Post()
    log = FlowLog(Numbers(), post.means(), lambda: START)
    text = TEXT.format(lines=lines, client=client, server=server, mode=mode)
    log.configure(loads(text).configuration)
    log.begin_batch()
    log.write(told)
    return b"".join(post.texts).decode().rstrip("\n")


def test_a_line() -> None:
    assert line(TOLD) == (
        "10.0.0.1:1234 [28/Nov/2026:17:44:56.568] fe fe/s1 0/3/250 2000 -- 5/4/3/2/0 0/0"
    )


def test_all_that_packets_tell() -> None:
    lines = 'log-format "%ci:%cp %fi:%fp %bi:%bp %si:%sp %U %B %Td %[src,ipmask(8)] %[bc_dst_port]"'
    assert line(TOLD, lines) == (
        "10.0.0.1:1234 10.0.0.2:80 10.0.0.3:5555 10.0.0.4:8080 100 2000 247 10.0.0.0 8080"
    )


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({"how": How.CLIENT_RESET}, "CD"),
        ({"how": How.CLIENT_RESET, "answered": 0}, "CC"),
        ({"how": How.REAL_RESET}, "SD"),
        ({"how": How.REAL_RESET, "answered": 0}, "SC"),
        ({"how": How.SILENT, "answered": 0}, "sC"),
        ({"how": How.SILENT, "real_ended": False}, "sD"),
        ({"how": How.SILENT, "client_ended": False}, "cD"),
        ({"how": How.SILENT, "client_ended": False, "real_ended": False}, "cD"),
        ({"how": How.CUT}, "K-"),
        ({"how": How.CUT, "cause": "D"}, "D-"),
        ({"how": How.REFUSED}, "SC"),
    ],
)
def test_how_it_ended(change: dict[str, object], end: str) -> None:
    assert line(TOLD._replace(**change), "log-format %ts") == end  # type: ignore[arg-type]


def test_the_less_patient_side_was_silent() -> None:
    silent = TOLD._replace(how=How.SILENT, client_ended=False, real_ended=False)
    assert line(silent, "log-format %ts", client="9s", server="5s") == "sD"
    assert line(silent, "log-format %ts\ntimeout tunnel 1m", client="9s", server="5s") == "cD"
    assert line(silent, "log-format %ts", mode="udp") == "--"


def test_without_a_server_or_an_answer() -> None:
    refused = TOLD._replace(how=How.REFUSED, answered=0, bytes_out=0)
    assert line(refused).split()[2:5] == ["fe", "fe/<NOSRV>", "-1/-1/250"]
    assert line(TOLD._replace(answered=0)).split()[4] == "0/-1/250"


def test_at_once_and_without_a_format() -> None:
    told = TOLD._replace(how=How.ANSWERED)
    soon = line(told, "option tcplog\noption logasap").split()
    assert soon[4:8] == ["0/3/+3", "+0", "--", "4/3/3/2/0"]
    assert line(told, "") == "Connect from 10.0.0.1:1234 to 10.0.0.2:80 (fe/TCP)"
    assert line(told, "", mode="udp") == "Connect from 10.0.0.1:1234 to 10.0.0.2:80 (fe/UDP)"


def test_what_names_it_may_have_samples_where_the_format_has_none() -> None:
    assert line(TOLD, "log-format %ID\nunique-id-format %[src]:%cp") == "10.0.0.1:1234"


def test_of_a_service_that_has_gone_nothing_is_said() -> None:
    assert line(TOLD._replace(service=2)) == ""


@pytest.mark.parametrize(
    ("lines", "engine"),
    [
        ("option tcplog", EngineKind.KERNEL),
        ('log-format "%[src,map_ip(/dev/null)] %[var(txn.a)]"', EngineKind.KERNEL),
        ("log-format %[fc_rtt]", EngineKind.PROXY),
        ("log-format %[src,in_table(fe)]", EngineKind.PROXY),
        ("log-format %ci\nlog-format-sd %[nbsrv]", EngineKind.PROXY),
        ("log-format %ci\nunique-id-format %[fe_conn]", EngineKind.KERNEL),
        ("log-format %ID\nunique-id-format %[fe_conn]", EngineKind.PROXY),
        ("log-format %ID\nunique-id-format %[src]", EngineKind.KERNEL),
    ],
)
def test_formats_that_packets_do_not_answer_are_the_proxys(lines: str, engine: EngineKind) -> None:
    if "in_table" in lines:
        lines += "\n    stick-table type ip size 1k"
    text = TEXT.format(lines=lines, client="1s", server="1s", mode="tcp")
    (service,) = loads(text).configuration.services
    assert service.engine is engine
    if engine is EngineKind.PROXY and "stick" not in lines:
        assert "packets do not tell" in service.engine_reason


# -- the reader ------------------------------------------------------------------------------


@dataclass
class Ring:
    """Holds so many records of one kind."""

    records: int = 0
    size: int = 10_000
    one_in: int = 1

    @property
    def full(self) -> float:
        return self.records / self.size

    def fileno(self) -> int:
        return -1

    def thin_out(self, one_in: int) -> None:
        self.one_in = one_in

    def put(self, flows: int) -> None:
        self.records = min(self.size, self.records + flows // self.one_in)

    def told(self, most: int):  # type: ignore[no-untyped-def]
        for _ in range(min(most, self.records)):
            self.records -= 1
            yield TOLD


@dataclass
class Work:
    """A log whose lines take time, and the clock that it takes."""

    seconds: float = 0.0
    a_line: float = 25e-6
    lines: int = 0
    wanted: bool = True

    def begin_batch(self) -> None: ...

    def write(self, told: Told) -> None:
        self.lines += 1
        self.seconds += self.a_line

    def clock(self) -> float:
        return self.seconds


def run(rate: int, looks: int, ring: Ring, work: Work, reader: JournalReader) -> float:
    """The share of a processor that it takes."""
    before = work.seconds
    for look in range(looks):
        ring.put(rate // 20)
        reader.run_once(look * 0.05)
    return (work.seconds - before) / (looks * 0.05)


def test_a_pace_that_can_be_kept_is_not_thinned_out() -> None:
    ring, work = Ring(), Work()
    reader = JournalReader(ring, work, work.clock)  # type: ignore[arg-type]
    assert run(15_000, 100, ring, work, reader) < 0.5
    assert reader.one_in == 1
    assert work.lines == 75_000


def test_more_than_can_be_logged_is_thinned_out_and_later_is_not() -> None:
    ring, work = Ring(), Work()
    reader = JournalReader(ring, work, work.clock)  # type: ignore[arg-type]
    share = run(200_000, 400, ring, work, reader)
    assert share < 0.55
    assert 8 <= reader.one_in <= 64
    run(1_000, 1000, ring, work, reader)
    assert reader.one_in == 1


def test_it_looks_while_something_is_logged() -> None:
    ring, work = Ring(), Work()
    reader = JournalReader(ring, work, work.clock)  # type: ignore[arg-type]
    reader.run_once(10.0)
    assert reader.next_deadline() == pytest.approx(10.05)
    work.wanted = False
    assert reader.next_deadline() is None
