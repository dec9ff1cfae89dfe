# SPDX-License-Identifier: Apache-2.0
"""What penstock answers over HTTP: statistics, metrics for Prometheus, a monitor's question.

``server`` has the sockets, on the daemon's loop and within bounds; everything behind it is
functions of a request. docs/decisions/0011 says why there is no web framework in it.
"""
