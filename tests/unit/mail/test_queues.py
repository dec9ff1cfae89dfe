# SPDX-License-Identifier: Apache-2.0
"""Mails on their way to servers that take them, refuse them, are silent or are not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from mail_server import CLOSE, LIMIT, MailServer, heard, turn
from unit_waiting import ready

from penstock.config.haproxy import loads
from penstock.events import Level
from penstock.mail import queues as module
from penstock.mail.queues import MailQueues
from penstock.model import Configuration


def configuration_of(
    *ports: int, more: str = "", section: str = "timeout mail 1m"
) -> Configuration:
    mailers = "".join(f" mailer m{port} 127.0.0.1:{port}\n" for port in ports)
    return loads(
        f"mailers m\n{mailers} {section}\n"
        "backend b\n server s 127.0.0.1:1\n email-alert from lb@example.org\n"
        f" email-alert to ops@example.org\n email-alert mailers m\n{more}"
        "backend quiet\n server s 127.0.0.1:1\n"
    ).configuration


@dataclass
class Post:
    """Queues, and what they complain of."""

    queues: MailQueues
    complaints: list[str] = field(default_factory=list)

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT
        while not true():
            assert time.monotonic() < deadline, "never"
            turn(self.queues)


@contextmanager
def post(configuration: Configuration) -> Iterator[Post]:
    complaints: list[str] = []
    queues = MailQueues("node1", complaints.append, date=lambda: "a date")
    queues.configure(configuration)
    try:
        yield Post(queues, complaints)
    finally:
        queues.close()


@pytest.fixture
def server() -> Iterator[MailServer]:
    one = MailServer()
    yield one
    one.close()


def mail(sentence: str) -> bytes:
    return (
        "HELO node1\r\nMAIL FROM:<lb@example.org>\r\nRCPT TO:<ops@example.org>\r\nDATA\r\n"
        "From: lb@example.org\r\nTo: ops@example.org\r\nDate: a date\r\n"
        f"Subject: [HAProxy Alert] {sentence}\r\n\r\n{sentence}\r\n\r\n.\r\nQUIT\r\n"
    ).encode()


def test_mails_are_sent_one_after_the_other_without_their_full_stop(server: MailServer) -> None:
    with post(configuration_of(server.port)) as office:
        for number in range(3):
            office.queues("b", Level.ALERT, f"Server b/s{number} is DOWN.")
        for number in range(3):
            assert heard(server, office.queues) == mail(f"Server b/s{number} is DOWN")
        office.until(lambda: office.queues.next_deadline() is None)
        assert office.complaints == []


def test_only_what_is_grave_enough_is_sent(server: MailServer) -> None:
    with post(configuration_of(server.port, more=" email-alert level notice\n")) as office:
        office.queues("b", Level.INFO, "no")
        office.queues("quiet", Level.EMERG, "no")
        office.queues("elsewhere", Level.EMERG, "no")
        office.queues("b", Level.NOTICE, "yes")
        assert heard(server, office.queues) == mail("yes")


def test_alerts_alone_unless_a_level_is_given(server: MailServer) -> None:
    with post(configuration_of(server.port)) as office:
        office.queues("b", Level.CRIT, "no")
        office.queues("b", Level.ALERT, "yes")
        assert heard(server, office.queues) == mail("yes")


def test_each_mailer_gets_each_mail_and_one_that_is_away_delays_nobody(
    server: MailServer, closed: Callable[[], int]
) -> None:
    away = closed()
    with post(configuration_of(away, server.port)) as office:
        for number in range(2):
            office.queues("b", Level.ALERT, f"mail {number}")
        for number in range(2):
            assert heard(server, office.queues) == mail(f"mail {number}")
        office.until(lambda: bool(office.complaints))
        # Once, however many mails are lost until one gets through.
        assert office.complaints == [
            f"mailer m{away} (127.0.0.1:{away}) takes no mail: Layer4 connection"
            " problem, Connection refused at step 1 of tcp-check (connect)"
        ]


@pytest.mark.parametrize(
    ("answers", "said", "why"),
    [
        ({"greeting": b"554 go away\r\n"}, b"", "did not match content '220 ' at step 2"),
        ({"greeting": CLOSE}, b"", "got an empty response at step 2"),
        ({"HELO": b"501 no\r\n"}, b"HELO node1\r\n", "'250 ' at step 4"),
        ({"RCPT": b"550 unknown\r\n"}, mail("x").partition(b"DATA")[0], "'250 ' at step 8"),
        ({"dot": b"452 full\r\n"}, mail("x").removesuffix(b"QUIT\r\n"), "'250 ' at step 12"),
    ],
)
def test_a_mailer_may_refuse(answers: dict[str, bytes], said: bytes, why: str) -> None:
    server = MailServer(**answers)
    try:
        with post(configuration_of(server.port)) as office:
            office.queues("b", Level.ALERT, "x")
            assert heard(server, office.queues) == said
            office.until(lambda: bool(office.complaints))
            (complaint,) = office.complaints
            assert "takes no mail: Layer7 invalid response, " in complaint
            assert why in complaint
    finally:
        server.close()


def test_a_failed_mail_is_not_tried_again_and_the_next_one_is_sent() -> None:
    server = MailServer(greeting=CLOSE)
    with post(configuration_of(server.port)) as office:
        for number in range(3):
            office.queues("b", Level.ALERT, f"mail {number}")
        assert [heard(server, office.queues) for _ in range(3)] == [b""] * 3
        office.until(lambda: office.queues.next_deadline() is None)
    server.close()


def test_when_a_mailer_is_told_of_again(closed: Callable[[], int]) -> None:
    """After a mail that got through."""
    with post(configuration_of(closed())) as office:
        office.queues("b", Level.ALERT, "lost")
        office.queues("b", Level.ALERT, "lost")
        office.until(lambda: office.queues.next_deadline() is None)
        assert len(office.complaints) == 1
        back = MailServer()
        office.queues.configure(configuration_of(back.port))
        office.queues("b", Level.ALERT, "sent")
        assert heard(back, office.queues) == mail("sent")
        office.until(lambda: office.queues.next_deadline() is None)
        back.close()
        office.queues("b", Level.ALERT, "lost")
        office.until(lambda: len(office.complaints) == 2)


def test_a_silent_mailer_is_given_up_when_its_time_is_over() -> None:
    """As HAProxy, which waits for the right answer as long as the connection stands."""
    now = [1000.0]
    silent = MailServer(greeting=b"")
    complaints: list[str] = []
    queues = MailQueues("node1", complaints.append, clock=lambda: now[0])
    queues.configure(configuration_of(silent.port, section="timeout mail 7s"))
    queues("b", Level.ALERT, "x")
    assert queues.next_deadline() == 1007.0
    queues.run_once(1006.9)
    assert complaints == []
    queues.run_once(1007.0)
    assert len(complaints) == 1
    assert "timeout" in complaints[0]
    assert queues.next_deadline() is None
    queues.close()
    silent.close()


def test_timeouts_of_the_backend_count_as_for_its_checks() -> None:
    silent = MailServer(greeting=b"")
    now = 1000.0
    queues = MailQueues("node1", lambda said: None, clock=lambda: now)
    more = " timeout check 3s\n timeout connect 2s\n"
    queues.configure(configuration_of(silent.port, more=more))
    queues("b", Level.ALERT, "x")
    assert queues.next_deadline() == 1002.0
    deadline = time.monotonic() + LIMIT
    while queues.next_deadline() != 1003.0:  # it is connected
        assert time.monotonic() < deadline
        ready(queues, seconds=0.05)
        queues.run_once(now)
    queues.close()
    silent.close()


def test_a_queue_is_bounded(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    with post(configuration_of(server.port)) as office:
        for number in range(6):  # one is on its way, two wait
            office.queues("b", Level.ALERT, f"mail {number}")
        assert office.complaints == [
            f"mails about b are lost: 2 wait for mailer m{server.port} (127.0.0.1:{server.port})"
            " already"
        ]
        for number in range(3):
            assert heard(server, office.queues) == mail(f"mail {number}")


def test_a_sentence_beyond_haproxys_buffer_is_not_sent(server: MailServer) -> None:
    with post(configuration_of(server.port)) as office:
        office.queues("b", Level.ALERT, "x" * 1024 + ".")
        office.queues("b", Level.ALERT, "y" * 1023 + ".")
        assert heard(server, office.queues) == mail("y" * 1023)
        assert office.complaints == ["Email alert [b] could not format message"]


def test_mails_that_wait_outlive_a_reload_unless_their_mailer_is_gone(server: MailServer) -> None:
    gone = MailServer()
    both = configuration_of(gone.port, server.port)
    with post(both) as office:
        for number in range(2):
            office.queues("b", Level.ALERT, f"mail {number}")
        office.queues.configure(configuration_of(server.port, more=" email-alert level info\n"))
        office.queues("b", Level.INFO, "mail 2")
        for number in range(3):
            assert heard(server, office.queues) == mail(f"mail {number}")
        disabled = replace(both, pools=tuple(replace(one, disabled=True) for one in both.pools))
        office.queues.configure(disabled)
        office.queues("b", Level.ALERT, "no")
        assert office.queues.next_deadline() is None
    gone.close()


def test_the_date_is_one_of_mails() -> None:
    server = MailServer()
    queues = MailQueues("node1", lambda said: None)
    queues.configure(configuration_of(server.port))
    queues("b", Level.ALERT, "x")
    said = heard(server, queues).decode()
    (date,) = (line[6:] for line in said.splitlines() if line.startswith("Date: "))
    time.strptime(date.rpartition(" ")[0], "%a, %d %b %Y %H:%M:%S %z")
    assert date.endswith(f"({time.strftime('%Z')})")
    queues.close()
    server.close()
