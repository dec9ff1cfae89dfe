# SPDX-License-Identifier: Apache-2.0
"""Health checks as configured: what is sent, what is expected, what may come of it. Pure."""
