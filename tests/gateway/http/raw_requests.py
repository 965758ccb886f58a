"""Requests as the bytes that a client sends: a corpus of files, and what ours makes of them.

`bad_requests/<status>-<what>.http` must be refused with that status; every request that comes
before the bad one is fine. `good_requests/<what>.http` must be answered, each request in it.
"""

from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from gateway.http.chunked import ChunkedDecoder
from gateway.http.request_head import ProtocolError, RequestHead, end_of_head, parse_head

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad_requests").glob("*.http"))
GOOD = sorted((HERE / "good_requests").glob("*.http"))
_SHORT = [path.read_bytes() for path in GOOD + BAD if path.stat().st_size < 1000]


class Request(NamedTuple):
    """One request, read."""

    head: RequestHead
    body: bytes


class Read(NamedTuple):
    """The good requests that come first, and the status with which the next is refused, or 0."""

    requests: list[Request]
    refused: int


def status_of(path: Path) -> int:
    """How a bad request is to be answered."""
    return int(path.name.partition("-")[0])


def read(sent: bytes) -> Read:
    """What ours makes of these bytes."""
    requests: list[Request] = []
    try:
        while one := _next(sent):
            requests.append(one[0])
            sent = one[1]
    except ProtocolError as malformed:
        return Read(requests, malformed.status)
    return Read(requests, 0)


@st.composite
def mistaken(draw: st.DrawFn) -> bytes:
    """Requests of the corpus, one after the other, with some bytes wrong or missing."""
    chosen = draw(st.lists(st.sampled_from(_SHORT), min_size=1, max_size=3))
    sent = bytearray(b"".join(chosen))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(sent) - 1))
        odd = draw(st.sampled_from(b"\r\n\t\0 :;,=0159azAZ/*?#%\x7f\x80\xff"))
        sent[at : at + draw(st.sampled_from([0, 1, 1, 5]))] = bytes([odd])
    return bytes(sent[: draw(st.integers(1, len(sent)))] if draw(st.booleans()) else sent)


def _next(sent: bytes) -> tuple[Request, bytes] | None:
    """The first request and what follows it; None if it is not complete."""
    end = end_of_head(sent)
    if not end:
        return None
    head, rest = parse_head(sent[:end]), sent[end:]
    if not head.chunked:
        complete = len(rest) >= head.length
        return (Request(head, rest[: head.length]), rest[head.length :]) if complete else None
    chunks = ChunkedDecoder()
    body = chunks.feed(rest)
    return (Request(head, body), chunks.rest) if chunks.ended else None
