"""Chunked bodies: parsed to the same bytes in any pieces, and never beyond their end."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.chunked import EXTRAS_LIMIT, ChunkedDecoder
from gateway.http.request_head import ProtocolError
from tests.gateway.http.raw_requests import BAD, GOOD

BODIES = [
    body
    for path in BAD + GOOD
    if "chunk" in path.name or "trailer" in path.name
    for body in [path.read_bytes().partition(b"\r\n\r\n")[2]]
]


def feed(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    """The body and what follows it, or None if it is malformed."""
    chunks, body, rest = ChunkedDecoder(), b"", b""
    try:
        for piece in pieces:
            if chunks.ended:
                rest += piece
            else:
                body += chunks.feed(piece)
    except ProtocolError:
        return None
    return body, chunks.rest + rest


def pieces_of(sent: bytes, cuts: set[int]) -> list[bytes]:
    at = [0, *sorted(cut for cut in cuts if cut < len(sent)), len(sent)]
    return [sent[a:b] for a, b in pairwise(at)]


@given(st.sampled_from(BODIES), st.sets(st.integers(0, 200)))
def test_pieces_do_not_matter(sent: bytes, cuts: set[int]) -> None:
    """Bytes that arrive in pieces give the same body as in one piece."""
    assert feed(pieces_of(sent, cuts)) == feed([sent])


@given(st.lists(st.binary(min_size=1, max_size=40)), st.binary(max_size=40), st.sets(st.integers()))
def test_chunks_are_joined(parts: list[bytes], after: bytes, cuts: set[int]) -> None:
    """The body is what was sent in chunks, and the rest is what came after it."""
    sent = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts)
    sent += b"0\r\nA: b\r\n\r\n" + after
    cuts = {cut % len(sent) for cut in cuts}
    assert feed(pieces_of(sent, cuts)) == (b"".join(parts), after)


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"\r\n", b"0", b"3", b";", b"abc"])))
def test_any_bytes_are_a_body_or_a_protocol_error(pieces: list[bytes]) -> None:
    """No bytes of a client raise anything but ProtocolError."""
    feed(pieces)


def test_extensions_and_trailers_are_bounded() -> None:
    """Extensions and trailers share one limit and are dropped."""
    chunk, trailer = b"1;" + b"a" * 500 + b"\r\nx\r\n", b"A: " + b"b" * 500 + b"\r\n"
    fit = EXTRAS_LIMIT // len(chunk)
    chunks = ChunkedDecoder()
    assert chunks.feed(chunk * fit + b"0\r\n") == b"x" * fit
    with pytest.raises(ProtocolError, match="extensions and trailers"):
        chunks.feed(trailer * 2)


@pytest.mark.parametrize("sent", [b"1" * 2000, b"0\r\n" + b"A" * 2000, b"1\r\nx" + b"y" * 2000])
def test_endless_line_is_refused(sent: bytes) -> None:
    """At most one line is buffered, in any pieces."""
    assert feed([sent]) is None
    assert feed([bytes([byte]) for byte in sent]) is None


def test_chunks_of_one_byte_are_accepted() -> None:
    """A client may send each byte in a chunk of its own, in any spelling of 1."""
    sent = b"000000000000001\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
    assert feed([sent]) == (b"x" * 20_000, b"")


def test_time_is_linear() -> None:
    """Ten times the bytes, arriving one by one, take some ten times the time."""

    def seconds(count: int) -> float:
        pieces = [bytes([byte]) for byte in b"4\r\nabcd\r\n" * count + b"0\r\n\r\n"]
        started = time.perf_counter()
        assert feed_many(pieces) == 4 * count
        return time.perf_counter() - started

    def feed_many(pieces: list[bytes]) -> int:
        chunks = ChunkedDecoder()
        return sum(len(chunks.feed(piece)) for piece in pieces)

    few = min(seconds(1_000) for _ in range(3))
    assert seconds(10_000) < 50 * few
