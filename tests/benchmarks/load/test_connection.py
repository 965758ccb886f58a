"""What a generator's connection makes of the bytes it gets."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.connection import Connection, length_of

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


class Seen:
    """A connection with a request under way, and what it told."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.connection = Connection(self._answered, lambda _: None)
        self.connection.send(b"")

    def _answered(self, _: Connection, status: int, answer: bytes) -> None:
        self.answers.append((status, answer))


@given(st.lists(st.integers(0, len(ANSWER)), max_size=5))
def test_an_answer_is_the_same_in_any_pieces(cuts: list[int]) -> None:
    """However the network cuts it, it is handed over once and whole."""
    seen = Seen()
    places = [0, *sorted(cuts), len(ANSWER)]
    for begin, end in pairwise(places):
        if begin < end:
            assert seen.answers == []
            seen.connection.data_received(ANSWER[begin:end])
    assert seen.answers == [(200, ANSWER)]


def test_an_answer_without_a_body() -> None:
    """A length of zero ends with the head."""
    seen = Seen()
    seen.connection.data_received(b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\n\r\n")
    assert [status for status, _ in seen.answers] == [429]


def test_an_answer_that_nobody_asked_for() -> None:
    """More bytes than the one answer are an error, not the next request's answer."""
    with pytest.raises(RuntimeError, match="without a request"):
        Seen().connection.data_received(ANSWER + b"HTTP")


def test_a_length_that_is_not_stated() -> None:
    """It is said, rather than waited for."""
    with pytest.raises(RuntimeError, match="without Content-Length"):
        length_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")
