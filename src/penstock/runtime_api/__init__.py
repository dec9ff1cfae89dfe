# SPDX-License-Identifier: Apache-2.0
"""HAProxy's Runtime API (management guide, 9.3): commands over the sockets of ``stats socket``.

``request`` and ``terminal`` speak with one client and do no I/O; ``server`` has the sockets. A
command is a row of the ``registry``; ``commands`` puts all rows together.
"""
