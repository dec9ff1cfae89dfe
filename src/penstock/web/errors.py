# SPDX-License-Identifier: Apache-2.0
"""Answers that say what is wrong, as HAProxy's own error pages do (manual 4.2, "errorfile")."""

from __future__ import annotations

from typing import Final

from penstock.web.http1 import Response

_PAGES: Final = {
    200: ("200 OK", "Service ready."),
    400: ("400 Bad request", "Your browser sent an invalid request."),
    401: ("401 Unauthorized", "You need a valid user and password to access this content."),
    403: ("403 Forbidden", "Request forbidden by administrative rules."),
    404: ("404 Not Found", "The resource could not be found."),
    405: ("405 Method Not Allowed", "A request was made of a resource using a request method not"
          " supported by that resource"),
    408: ("408 Request Time-out", "Your browser didn't send a complete request in time."),
    429: ("429 Too Many Requests", "You have sent too many requests in a given amount of time."),
    500: ("500 Internal Server Error", "An internal server error occurred."),
    502: ("502 Bad Gateway", "The server returned an invalid or incomplete response."),
    503: ("503 Service Unavailable", "No server is available to handle this request."),
    504: ("504 Gateway Time-out", "The server didn't respond in time."),
}  # fmt: skip


def page(status: int, *, close: bool = False, fields: tuple[tuple[str, str], ...] = ()) -> Response:
    """The page for *status*; for one that has none an empty answer."""
    found = _PAGES.get(status)
    common = (("cache-control", "no-cache"), ("content-type", "text/html"))
    if found is None:
        return Response(status, b"", fields, close)
    body = f"<html><body><h1>{found[0]}</h1>\n{found[1]}\n</body></html>\n"
    return Response(status, body.encode(), (*common, *fields), close)


def unauthorized(realm: str) -> Response:
    """401 with the *realm* to ask a password for (RFC 7617); HAProxy hangs up after it."""
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    challenge = ("www-authenticate", f'Basic realm="{quoted}"')
    return page(401, close=True, fields=(challenge,))
