"""What is said to a client whose request is not read any further, as bytes, before the close.

No application sees such a request, so the reply is written here. It is the error catalogue's, like
every other refusal.
"""

import uuid
from email.utils import formatdate
from http import HTTPStatus

from gateway.admin.routing import PREFIX
from gateway.errors import admin_body, model_body, refusal
from gateway.http1 import Head, Malformed


def last_words(malformed: Malformed, current: Head | None = None) -> bytes:
    """The whole reply. `current`: the request's head, where that much of it was understood."""
    refused, request_id = refusal(malformed), str(uuid.uuid4())
    if current is not None and current.path.startswith(PREFIX):
        body = admin_body(refused)
    else:
        body = model_body(refused, request_id)
    status = HTTPStatus(refused.entry.status)
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Date: {formatdate(usegmt=True)}",
        "Content-Type: application/json; charset=utf-8",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {request_id}",
        "Connection: close",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body
