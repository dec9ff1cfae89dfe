# SPDX-License-Identifier: Apache-2.0
"""Mails about servers that change their state (HAProxy manual 3.6 and 4.2, "email-alert")."""
