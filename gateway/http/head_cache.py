"""What the head of a request asks for, remembered by its bytes.

A head is a pure function of its bytes and clients repeat theirs, so the usual request costs one
look into a dict instead of a parse. What is remembered is bounded, and never a head that is large
or malformed.
"""

import msgspec

from gateway.errors import Refusal
from gateway.http.request_head import Head, read_head
from gateway.predictions.call import Call, Reply, is_call, read_call

_GENERATION = 512
# A larger one is read anew each time: so a thousand of them take some MiB at most.
_LONGEST = 2048


class Opening(msgspec.Struct, frozen=True):
    """A head and what it means: a `call`, a `reply` (or `refusal`) that it gets whatever its body
    says, or none of these: it is for the other server. `connection` is what the reply says of
    that, where it is for the client to decide; "" says nothing, and keeps it."""

    head: Head
    connection: str
    call: Call | None = None
    reply: Reply | None = None
    refusal: Refusal | None = None

    @property
    def is_elsewhere(self) -> bool:
        return self.call is None and self.reply is None and self.refusal is None


def read_opening(block: bytes, request_limit: int) -> Opening:
    """Reads a head. Raises Malformed."""
    head = read_head(block)
    connection = "close" if not head.keep_alive else "" if head.minor else "keep-alive"
    if not is_call(head.path):
        return Opening(head, connection)
    try:
        asked = read_call(head.method, head.path, head.query, head.headers.get)
        if isinstance(asked, Reply):
            return Opening(head, connection, reply=asked)
        if head.length > request_limit:
            raise Refusal("request.toolarge", f"the body is larger than {request_limit} bytes")
        return Opening(head, connection, call=asked)
    except Refusal as refused:
        return Opening(head, connection, refusal=refused.with_traceback(None))


class Openings:
    """The openings of heads that came before.

    Two generations bound them: what is asked for again moves into the young one; when that is full
    it becomes the old one, and the old one is forgotten.
    """

    def __init__(self, request_limit: int) -> None:
        self._request_limit = request_limit
        self._young: dict[bytes, Opening] = {}
        self._old: dict[bytes, Opening] = {}

    def read(self, block: bytes) -> Opening:
        """What `block` asks for, from the request line to the empty line. Raises Malformed."""
        return self._young.get(block) or self._read(block)

    def _read(self, block: bytes) -> Opening:
        opening = self._old.pop(block, None) or read_opening(block, self._request_limit)
        if len(block) <= _LONGEST:
            if len(self._young) >= _GENERATION:
                self._young, self._old = {}, self._young
            self._young[block] = opening
        return opening
