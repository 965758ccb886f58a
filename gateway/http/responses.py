"""Replies as the bytes of HTTP/1.1.

What is the same for all replies of one status within one second is made once.
"""

import secrets
import time
from email.utils import formatdate
from http import HTTPStatus
from math import inf

from gateway.predictions.call import CORS, JSON, CallResponse

_FIXED = "".join(f"{name.lower()}: {value}\r\n" for name, value in CORS.items())
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ResponseRenderer:
    """Renders replies, each with an id of its own request."""

    def __init__(self) -> None:
        self._stale = -inf
        self._beginnings: dict[tuple[int, str], bytes] = {}
        # Unique is all that an id has to be: one random start, then counted.
        self._start = secrets.token_hex(10)
        self._count = 0

    def new_id(self) -> str:
        self._count += 1
        return f"{self._start}{self._count:012x}"

    def render(
        self,
        reply: CallResponse,
        request_id: str,
        now: float,
        *,
        connection: str = "",
        bodiless: bool = False,
    ) -> tuple[bytes | bytearray, ...]:
        """The whole reply, in one piece unless it is large. `now` is any clock's time in seconds;
        `connection` that header's value, if it is sent; `bodiless` says that it answers a HEAD."""
        if now >= self._stale:
            self._beginnings.clear()
            self._stale = now + 1.0
        beginning = self._beginnings.get((reply.status, connection))
        if beginning is None:
            beginning = self._beginning(reply.status, connection)
        size = reply.size if reply.before else len(reply.body)
        # RFC 9110, 8.6: no length where there can be no body.
        length = "" if reply.status == 204 else f"content-length: {size}\r\n"
        rest = f"{request_id}\r\n{length}\r\n"
        if reply.headers:
            extra = "".join(f"{name.lower()}: {text}\r\n" for name, text in reply.headers.items())
            beginning = beginning.replace(b"\r\n", b"\r\n" + extra.encode("latin1"), 1)
        if reply.before and not bodiless:
            return b"".join((beginning, rest.encode(), reply.before)), reply.body, reply.after
        return (b"".join((beginning, rest.encode(), b"" if bodiless else reply.body)),)

    def _beginning(self, status: int, connection: str) -> bytes:
        lines = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{_FIXED}"
        lines += f"content-type: {JSON}\r\ndate: {formatdate(time.time(), usegmt=True)}\r\n"
        lines += f"connection: {connection}\r\n" if connection else ""
        made = f"{lines}x-request-id: ".encode("latin1")
        self._beginnings[status, connection] = made
        return made
