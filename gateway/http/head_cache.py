"""Parsed heads, cached by their bytes.

The meaning of a head depends on its bytes alone, and clients repeat their heads. So the usual
request costs one look into a dict instead of a parse. The cache is bounded, and holds no head that
is large or malformed.
"""

import msgspec

from gateway.errors import Refusal
from gateway.http.request_head import RequestHead, parse_head
from gateway.predictions.call import CallResponse, ModelCall, is_call, parse_call

_GENERATION = 512
# A longer head is not cached: so a thousand heads take some MiB at most.
_LONGEST = 2048


class ParsedHead(msgspec.Struct, frozen=True):
    """A head and what it means.

    It is a `call`, or gets a `response` or `refusal` that do not depend on its body. Otherwise it
    is for the other server. `connection` is the value of that header in the response, unless the
    connection has to close; "" leaves the header out and keeps the connection open.
    """

    head: RequestHead
    connection: str
    call: ModelCall | None = None
    response: CallResponse | None = None
    refusal: Refusal | None = None

    @property
    def is_fallback(self) -> bool:
        return self.call is None and self.response is None and self.refusal is None


def classify_head(block: bytes, max_request_size: int) -> ParsedHead:
    """Parses a head. Raises ProtocolError."""
    head = parse_head(block)
    connection = "close" if not head.keep_alive else "" if head.minor else "keep-alive"
    if not is_call(head.method, head.path):
        return ParsedHead(head, connection)
    try:
        parsed = parse_call(head.method, head.path, head.query, head.headers.get)
        if isinstance(parsed, CallResponse):
            return ParsedHead(head, connection, response=parsed)
        if head.length > max_request_size:
            raise Refusal("request.toolarge", f"the body is larger than {max_request_size} bytes")
        return ParsedHead(head, connection, call=parsed)
    except Refusal as refused:
        return ParsedHead(head, connection, refusal=refused.with_traceback(None))


class HeadCache:
    """The parsed heads of earlier requests.

    Two generations bound it. A head that comes again moves into the young one. When the young one
    is full it becomes the old one, and the old one is dropped.
    """

    def __init__(self, max_request_size: int) -> None:
        self._max_request_size = max_request_size
        self._young: dict[bytes, ParsedHead] = {}
        self._old: dict[bytes, ParsedHead] = {}

    def read(self, block: bytes) -> ParsedHead:
        """Parses `block`, from the request line to the empty line. Raises ProtocolError."""
        return self._young.get(block) or self._read(block)

    def _read(self, block: bytes) -> ParsedHead:
        parsed = self._old.pop(block, None) or classify_head(block, self._max_request_size)
        if len(block) <= _LONGEST:
            if len(self._young) >= _GENERATION:
                self._young, self._old = {}, self._young
            self._young[block] = parsed
        return parsed
