# SPDX-License-Identifier: Apache-2.0
"""Statistics as HAProxy shows them: ``fields`` and ``shapes`` are its formats, the rest fills them.

What engines count comes by the ``collector``; rows are made in ``rows``.
"""
