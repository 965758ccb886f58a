"""Requests as the bytes that a client sends: a corpus of files, and what ours makes of them.

`bad_requests/<status>-<what>.http` must be refused with that status; every request that comes
before the bad one is fine. `good_requests/<what>.http` must be answered, each request in it.
"""

from pathlib import Path
from typing import NamedTuple

from gateway.chunks import Chunks
from gateway.http1 import Head, Malformed, end_of_head, read_head

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad_requests").glob("*.http"))
GOOD = sorted((HERE / "good_requests").glob("*.http"))


class Read(NamedTuple):
    """One request."""

    head: Head
    body: bytes


class Incomplete(Exception):
    """More must come."""


def status_of(path: Path) -> int:
    """How a bad request is to be answered."""
    return int(path.name.partition("-")[0])


def read_all(sent: bytes) -> list[Read]:
    """The requests in what was sent. Raises Malformed, or Incomplete."""
    requests = []
    while sent:
        end = end_of_head(sent)
        if not end:
            raise Incomplete
        head, sent = read_head(sent[:end]), sent[end:]
        if head.chunked:
            chunks = Chunks()
            body = chunks.feed(sent)
            complete, sent = chunks.ended, chunks.rest
        else:
            body, sent = sent[: head.length], sent[head.length :]
            complete = len(body) == head.length
        if not complete:
            raise Incomplete
        requests.append(Read(head, body))
    return requests


def outcome(sent: bytes) -> list[Read] | int:
    """The requests, or the status of the refusal."""
    try:
        return read_all(sent)
    except Malformed as malformed:
        return malformed.status
