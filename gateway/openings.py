"""What the head of a request asks for, remembered by its bytes.

A head is a pure function of its bytes and clients repeat theirs, so the usual request costs one
look into a dict instead of a parse. What is remembered is bounded, and never a head that is large
or malformed.
"""

import msgspec

from gateway.errors import Refusal
from gateway.http1 import Head, read_head
from gateway.predict import PREFLIGHT, Call, Reply, is_call, read_call

_MOST = 1024
_LONGEST = 2048


class Opening(msgspec.Struct, frozen=True):
    """A head and what it means: a `call`, a `reply` (or `refusal`) that it gets whatever its body
    says, or none of these: it is for the other server."""

    head: Head
    call: Call | None = None
    reply: Reply | None = None
    refusal: Refusal | None = None

    @property
    def is_elsewhere(self) -> bool:
        return self.call is None and self.reply is None and self.refusal is None


def read_opening(block: bytes, request_limit: int) -> Opening:
    """Reads a head. Raises Malformed."""
    head = read_head(block)
    if not is_call(head.path):
        return Opening(head)
    if head.method == "OPTIONS":
        return Opening(head, reply=Reply(204, b"", PREFLIGHT))
    try:
        if head.method != "POST":
            raise Refusal(
                "route.method",
                f"{head.path} does not take {head.method}",
                headers={"Allow": PREFLIGHT["Allow"]},
            )
        if head.length > request_limit:
            raise Refusal("request.toolarge", f"the body is larger than {request_limit} bytes")
        return Opening(head, call=read_call(head.path, head.query, head.headers.get))
    except Refusal as refused:
        return Opening(head, refusal=refused.with_traceback(None))


class Openings:
    """The openings of heads that came before."""

    def __init__(self, request_limit: int) -> None:
        self._request_limit = request_limit
        self._known: dict[bytes, Opening] = {}

    def read(self, block: bytes) -> Opening:
        """What `block` asks for, from the request line to the empty line. Raises Malformed."""
        known = self._known.get(block)
        if known is not None:
            return known
        opening = read_opening(block, self._request_limit)
        if len(block) <= _LONGEST:
            if len(self._known) >= _MOST:
                self._known.clear()  # clients whose heads never repeat: nothing is worth keeping
            self._known[block] = opening
        return opening
