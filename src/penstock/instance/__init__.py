# SPDX-License-Identifier: Apache-2.0
"""One penstock among the processes of this host: its place, its predecessor and its end."""
