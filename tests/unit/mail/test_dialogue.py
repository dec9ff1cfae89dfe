# SPDX-License-Identifier: Apache-2.0
"""What is said to mail servers."""

from __future__ import annotations

from ipaddress import ip_address

from penstock.checks.model import Connect, Expect, Send, Text
from penstock.mail.dialogue import dialogue
from penstock.mail.model import EmailAlert, Mailer

_ALERT = EmailAlert("lb@example.org", "ops@example.org", (Mailer("a", ip_address("10.0.0.1"), 25),))


def _said(alert: EmailAlert) -> list[str]:
    found = []
    for step in dialogue(alert, "node1", "Server b/s is DOWN", "a date").steps:
        match step:
            case Send(data=bytes(data)):
                found.append(data.decode(errors="surrogateescape"))
            case Expect(pattern=Text(wanted)):
                found.append(f"? {wanted.decode()}")
    return found


def test_each_command_waits_for_the_answer_to_the_one_before() -> None:
    assert _said(_ALERT) == [
        "? 220 ",
        "HELO node1\r\n",
        "? 250 ",
        "MAIL FROM:<lb@example.org>\r\n",
        "? 250 ",
        "RCPT TO:<ops@example.org>\r\n",
        "? 250 ",
        "DATA\r\n",
        "? 354 ",
        "From: lb@example.org\r\nTo: ops@example.org\r\nDate: a date\r\n"
        "Subject: [HAProxy Alert] Server b/s is DOWN\r\n\r\nServer b/s is DOWN\r\n\r\n.\r\n",
        "? 250 ",
        "QUIT\r\n",
        "? 221 ",
    ]


def test_we_greet_with_the_name_that_is_configured_even_an_empty_one() -> None:
    for name in ("lb.example.org", ""):
        alert = EmailAlert("a", "b", _ALERT.mailers, hostname=name)
        assert f"HELO {name}\r\n" in _said(alert)


def test_steps_are_numbered_for_what_is_said_of_failures() -> None:
    steps = dialogue(_ALERT, "n", "s", "d").steps
    assert isinstance(steps[0], Connect)
    numbers = [step.number for step in steps if isinstance(step, Connect | Expect | Send)]
    assert numbers == list(range(1, len(steps) + 1))
