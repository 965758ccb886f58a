"""Responses to calls as bytes of HTTP/1.1.

The part that is the same for all responses of one status within one second is rendered once.
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
    """Renders responses, and makes the ids of requests."""

    def __init__(self) -> None:
        self._stale = -inf
        self._beginnings: dict[tuple[int, str], bytes] = {}
        # An id has to be unique, not random: a random start, then a counter.
        self._start = secrets.token_hex(10)
        self._count = 0

    def new_id(self) -> str:
        self._count += 1
        return f"{self._start}{self._count:012x}"

    def render(
        self,
        response: CallResponse,
        request_id: str,
        now: float,
        *,
        connection: str = "",
        bodiless: bool = False,
    ) -> tuple[bytes | bytearray, ...]:
        """The whole response, in one piece unless it is large. `now` is the time of any clock in
        seconds. `connection` is the value of that header, "" for none. A HEAD is answered without
        a body: `bodiless`."""
        if now >= self._stale:
            self._beginnings.clear()
            self._stale = now + 1.0
        beginning = self._beginnings.get((response.status, connection))
        if beginning is None:
            beginning = self._beginning(response.status, connection)
        size = response.size if response.before else len(response.body)
        # RFC 9110, 8.6: no length where there can be no body.
        length = "" if response.status == 204 else f"content-length: {size}\r\n"
        rest = f"{request_id}\r\n{length}\r\n"
        if response.headers:
            extra = "".join(
                f"{name.lower()}: {text}\r\n" for name, text in response.headers.items()
            )
            beginning = beginning.replace(b"\r\n", b"\r\n" + extra.encode("latin1"), 1)
        if response.before and not bodiless:
            return (
                b"".join((beginning, rest.encode(), response.before)),
                response.body,
                response.after,
            )
        return (b"".join((beginning, rest.encode(), b"" if bodiless else response.body)),)

    def _beginning(self, status: int, connection: str) -> bytes:
        lines = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{_FIXED}"
        lines += f"content-type: {JSON}\r\ndate: {formatdate(time.time(), usegmt=True)}\r\n"
        lines += f"connection: {connection}\r\n" if connection else ""
        beginning = f"{lines}x-request-id: ".encode("latin1")
        self._beginnings[status, connection] = beginning
        return beginning
