# SPDX-License-Identifier: Apache-2.0
"""What is said to a mail server to have one mail sent: steps of a check, as in HAProxy. Pure.

The bytes, and which answers are waited for, are those of its src/mailers.c.
"""

from __future__ import annotations

from penstock.checks.model import Connect, Expect, Family, Ruleset, Send, Step, Text
from penstock.mail.model import EmailAlert

LONGEST = 1023  # bytes of a sentence; HAProxy's buffer for it, which sends nothing of a longer one


def dialogue(alert: EmailAlert, hostname: str, sentence: str, date: str) -> Ruleset:
    """*hostname* is ours, for an alert that has none; *date* as in a mail's header."""
    said = (
        ("220 ", f"HELO {alert.hostname if alert.hostname is not None else hostname}\r\n"),
        ("250 ", f"MAIL FROM:<{alert.sender}>\r\n"),
        ("250 ", f"RCPT TO:<{alert.recipient}>\r\n"),
        ("250 ", "DATA\r\n"),
        ("354 ", _mail(alert, sentence, date)),
        ("250 ", "QUIT\r\n"),
    )
    steps: list[Step] = [Connect(1)]
    for wanted, data in said:
        steps.append(Expect(len(steps) + 1, Text(wanted.encode())))
        steps.append(Send(len(steps) + 1, data.encode(errors="surrogateescape")))
    steps.append(Expect(len(steps) + 1, Text(b"221 ")))
    return Ruleset(Family.TCP, tuple(steps))


def _mail(alert: EmailAlert, sentence: str, date: str) -> str:
    return (
        f"From: {alert.sender}\r\n"
        f"To: {alert.recipient}\r\n"
        f"Date: {date}\r\n"
        f"Subject: [HAProxy Alert] {sentence}\r\n"
        "\r\n"
        f"{sentence}\r\n"
        "\r\n"
        ".\r\n"
    )
