"""What the head of a request asks for, remembered by its bytes.

A head is a pure function of its bytes and clients repeat theirs, so the usual request costs one
look into a dict instead of a parse. What is remembered is bounded, and never a head that is large
or malformed.
"""

import msgspec

from gateway.errors import Refusal
from gateway.http.request_head import Head, read_head
from gateway.predictions.call import CallResponse, ModelCall, is_call, parse_call

_GENERATION = 512
# A larger one is read anew each time: so a thousand of them take some MiB at most.
_LONGEST = 2048


class ParsedHead(msgspec.Struct, frozen=True):
    """A head and what it means: a `call`, a `reply` (or `refusal`) that it gets whatever its body
    says, or none of these: it is for the other server. `connection` is what the reply says of
    that, where it is for the client to decide; "" says nothing, and keeps it."""

    head: Head
    connection: str
    call: ModelCall | None = None
    reply: CallResponse | None = None
    refusal: Refusal | None = None

    @property
    def is_fallback(self) -> bool:
        return self.call is None and self.reply is None and self.refusal is None


def parse_head(block: bytes, max_request_size: int) -> ParsedHead:
    """Reads a head. Raises Malformed."""
    head = read_head(block)
    connection = "close" if not head.keep_alive else "" if head.minor else "keep-alive"
    if not is_call(head.path):
        return ParsedHead(head, connection)
    try:
        asked = parse_call(head.method, head.path, head.query, head.headers.get)
        if isinstance(asked, CallResponse):
            return ParsedHead(head, connection, reply=asked)
        if head.length > max_request_size:
            raise Refusal("request.toolarge", f"the body is larger than {max_request_size} bytes")
        return ParsedHead(head, connection, call=asked)
    except Refusal as refused:
        return ParsedHead(head, connection, refusal=refused.with_traceback(None))


class HeadCache:
    """The openings of heads that came before.

    Two generations bound them: what is asked for again moves into the young one; when that is full
    it becomes the old one, and the old one is forgotten.
    """

    def __init__(self, max_request_size: int) -> None:
        self._max_request_size = max_request_size
        self._young: dict[bytes, ParsedHead] = {}
        self._old: dict[bytes, ParsedHead] = {}

    def read(self, block: bytes) -> ParsedHead:
        """What `block` asks for, from the request line to the empty line. Raises Malformed."""
        return self._young.get(block) or self._read(block)

    def _read(self, block: bytes) -> ParsedHead:
        opening = self._old.pop(block, None) or parse_head(block, self._max_request_size)
        if len(block) <= _LONGEST:
            if len(self._young) >= _GENERATION:
                self._young, self._old = {}, self._young
            self._young[block] = opening
        return opening
