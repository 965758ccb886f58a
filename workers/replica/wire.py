"""The wire between the gateway and a replica: all messages and their framing, without any I/O.

A frame is a 13-byte header (little-endian: u32 length of the body, u8 kind, u64 id) and a body of
JSON. Frames travel on two dedicated pipes, never on fd 0, 1 or 2: what a model prints must not
touch the wire. The id of a PREDICT frame comes back in the frame that answers it; every other
frame has id 0. `inside/` speaks the same, in Python with `struct` and `json` alone and in R; the
golden frames in `tests/workers/golden/` are replayed against all of them.

The laws:
- For any bytes, the reader either yields a message or raises WireError; after a WireError
  the conversation is over, since no later byte can be trusted.
- Each kind of frame has a largest body (`LARGEST`). A larger one is refused when its header
  arrives. What is decoded here is so small that it takes less than a millisecond.
- An answer is one JSON value. A model can write to the wire by itself, and its answer goes out
  within an object of ours: what is no JSON value could end that object and add keys to it.
"""

import struct
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from workers.errors import WireError
from workers.sizes import KIB
from workers.spec import Crns

PROTOCOL = 1
HEADER = struct.Struct("<IBQ")


class Message(msgspec.Struct, frozen=True):
    """A frame whose body is this Struct's fields as a JSON object."""

    kind: ClassVar[int]


class Start(Message, frozen=True):
    """To the replica, once and first: what to run. `file` is relative to `root`, a folder.

    `raw`: the function gets a request as bytes, unread. `crns`: whose predictions these are.
    `request_prefix`: how the ids of its requests begin, as its callers see them; 12 digits of the
    frame's id in hexadecimal follow.
    """

    kind = 1
    file: str
    function: str
    root: str
    max_response_size: int
    raw: bool
    request_prefix: str
    crns: Crns


class Hello(Message, frozen=True):
    """From the replica, at once: which protocol it speaks, in which language of which version."""

    kind = 16
    protocol: int
    language: str
    version: str
    pid: int


class Ready(Message, frozen=True):
    """From the replica: the model file has run and the function is there."""

    kind = 17
    seconds: float


class Failed(Message, frozen=True):
    """From the replica: the model file could not be run; the process ends by itself."""

    kind = 18
    type: str
    message: str
    traceback: str


class Raised(Message, frozen=True):
    """From the replica: the function raised, or returned what JSON cannot say."""

    kind = 20
    type: str
    message: str


class Refused(Message, frozen=True):
    """From the replica: its JSON reader or the function refused this input; the caller's fault."""

    kind = 21
    message: str


class Answer(msgspec.Struct, frozen=True):
    """From the replica: the return value as JSON, passed on without being read."""

    kind: ClassVar[int] = 19
    body: bytes | bytearray


class Tracked(msgspec.Struct, frozen=True):
    """From the replica, right before the ANSWER of the same id: the metrics of that prediction.

    Passed on without being read: `{"predictionUuid","startTimeStampMs","endTimeStampMs",
    "metrics":{...}}`. Without its answer it counts for nothing.
    """

    kind: ClassVar[int] = 22
    body: bytes | bytearray


PREDICT = 2
# The largest body of each kind that a replica sends, in bytes. That of an ANSWER is
# `max_response_size`.
# Texts are cut inside (failures.py); a character of theirs may take 12 bytes. What is tracked has
# its own bound inside (tracking.py), which is a little lower.
LARGEST: dict[int, int] = {
    Hello.kind: 4 * KIB,
    Ready.kind: 4 * KIB,
    Failed.kind: 512 * KIB,
    Raised.kind: 128 * KIB,
    Refused.kind: 128 * KIB,
    Tracked.kind: 256 * KIB,
}
# A larger answer is not checked here, but by a process (see `Check` in replica.py).
CHECKED_HERE = 256 * KIB
FromReplica = Hello | Ready | Failed | Answer | Raised | Refused | Tracked
_CLASSES: dict[int, type[Hello | Ready | Failed | Raised | Refused]] = {
    c.kind: c for c in (Hello, Ready, Failed, Raised, Refused)
}
_DECODERS = {kind: msgspec.json.Decoder(c) for kind, c in _CLASSES.items()}
_NAMES = {c.kind: c.__name__.upper() for c in (*_CLASSES.values(), Answer, Tracked)}
_encode = msgspec.json.encode
_read_raw = msgspec.json.Decoder(msgspec.Raw).decode
_unpack = HEADER.unpack_from
_pack = HEADER.pack


def encode(message: Message, request_id: int = 0) -> bytes:
    """The frame that says `message`."""
    body = _encode(message)
    return HEADER.pack(len(body), message.kind, request_id) + body


def encode_request(request: bytes | bytearray, request_id: int) -> bytes:
    """The frame that asks for a prediction of `request`, raw JSON."""
    return _pack(len(request), PREDICT, request_id) + request


def request_header(length: int, request_id: int) -> bytes:
    """What comes before a request of so many bytes, for who sends it without a copy."""
    return _pack(length, PREDICT, request_id)


class FrameReader:
    """Turns the bytes that a replica wrote into (id, message) pairs.

    `limit` is the largest answer in bytes. A body that is larger than its kind may be is refused
    when its header arrives, before anything is kept for it.
    """

    def __init__(self, limit: int) -> None:
        # Whether some of a frame has come and more of it is due; read only.
        self.midway = False
        self._limit = limit
        self._largest = {**LARGEST, Answer.kind: limit}
        # What has come of the next header, or else the body that is being filled.
        self._header = b""
        self._body: bytearray | None = None
        self._filled = 0
        self._kind = self._request_id = 0

    def whole_answer(self, data: bytes) -> tuple[int, bytes] | None:
        """The id and body of an answer, where `data` is one and no more: as it nearly always is."""
        if len(data) < HEADER.size or self.midway:
            return None
        length, kind, request_id = _unpack(data)
        if kind != Answer.kind or length != len(data) - HEADER.size or length > self._limit:
            return None
        return request_id, data[HEADER.size :]

    def whole_tracked(self, data: bytes) -> tuple[int, bytes, bytes] | None:
        """The id of an answer, what was tracked of it, and its body, where `data` is just that."""
        size = HEADER.size
        if len(data) < 2 * size or self.midway:
            return None
        length, kind, request_id = _unpack(data)
        begin = size + length
        if kind != Tracked.kind or begin + size > len(data):
            return None
        rest, kind, answered_id = _unpack(data, begin)
        if kind != Answer.kind or answered_id != request_id or begin + size + rest != len(data):
            return None
        if length > LARGEST[Tracked.kind] or rest > self._limit:
            return None
        return request_id, data[size:begin], data[begin + size :]

    def feed(self, data: bytes) -> Iterator[tuple[int, FromReplica]]:
        """Yields what is complete after `data`. Raises WireError where the bytes are not ours."""
        if self._header:
            data = self._header + data
        at = 0
        while self._body is not None or len(data) - at >= HEADER.size:
            if self._body is None:
                self._body = self._begin(data, at)
                at += HEADER.size
            at += self._fill(self._body, data, at)
            if self._filled < len(self._body):
                break
            body, self._body = self._body, None
            yield self._request_id, decode(self._kind, body)
        self._header = data[at:]
        self.midway = self._body is not None or bool(self._header)

    def _begin(self, data: bytes, at: int) -> bytearray:
        """Reads the header that begins at `at`. Room for the body that it announces.

        All of it at once: what grows is moved about by the allocator, and what is collected is
        copied in the end, either of which holds the reactor for 20 ms where it is 30 MB. To
        reserve 30 MB in one call takes 2 to 18 ms, since the pages are filled with zeros.
        """
        length, self._kind, self._request_id = _unpack(data, at)
        largest = self._largest.get(self._kind)
        if largest is None:
            raise WireError(f"a frame of unknown kind {self._kind}")
        if length > largest:
            name = _NAMES[self._kind]
            raise WireError(f"the body of its {name} frame has {length} bytes; at most {largest}")
        self._filled = 0
        return bytearray(length)

    def _fill(self, body: bytearray, data: bytes, at: int) -> int:
        """Takes what `data` has of the body from `at` on. How much that is."""
        begin = self._filled
        taken = min(len(data) - at, len(body) - begin)
        body[begin : begin + taken] = data[at : at + taken]
        self._filled += taken
        return taken


def decode(kind: int, body: bytes | bytearray) -> FromReplica:
    """The message of one frame. Raises WireError where kind or body are not of this protocol."""
    if kind == Answer.kind:
        return Answer(body)
    if kind == Tracked.kind:
        return Tracked(body)
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise WireError(f"a frame of unknown kind {kind}")
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = _CLASSES[kind].__name__
        raise WireError(f"a {name} frame that cannot be read: {error}") from error


def check_json(body: bytes | bytearray) -> None:
    """Raises WireError where `body` is not exactly one JSON value in UTF-8."""
    try:
        _read_raw(body)
        if not body.isascii():
            str(body, "utf-8")  # msgspec does not look at the encoding of raw parts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"its answer is not JSON: {error}") from error
