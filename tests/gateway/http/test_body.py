"""The room of bodies, at both doors: bounded, shared, and all of it is given back."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.http.body import Body, ForwardedBody
from gateway.http.chunked import ChunkedDecoder
from gateway.http.fair_shares import FairShares

ROOM = 1000
FLOWS = ("", "192.0.2.1", "192.0.2.2", "2001:db8:1::/64", "2001:db8:1:1::/64")
steps = st.lists(
    st.tuples(
        st.sampled_from(["body", "chunked", "passing", "growing", "more", "end"]),
        st.sampled_from(FLOWS),
        st.integers(0, 1500),
        st.integers(0, 20),
    ),
    max_size=60,
)


@given(steps)
def test_nothing_is_counted_when_all_is_given_back(plan: list[tuple[str, str, int, int]]) -> None:
    """Whatever is announced, comes, is refused or ends, at either door: the room is what nobody
    holds, no body has more than half of it, and at the end all of it is free."""
    memory, held = FairShares(ROOM), list[Body | ForwardedBody]()
    for step, flow, size, which in plan:
        with suppress(Refusal):
            if step == "body":
                held.append(Body(memory, flow, size, None, 10_000))
            elif step == "chunked":
                held.append(Body(memory, flow, 0, ChunkedDecoder(), 10_000))
            elif step == "passing":
                held.append(ForwardedBody(memory, flow, size, 900))
            elif step == "growing":
                held.append(ForwardedBody(memory, flow, 0, 900))
            elif held and step == "end":
                held.pop(which % len(held)).release()
            elif held:
                body = held[which % len(held)]
                if isinstance(body, ForwardedBody):
                    body.grow(size)
                elif body._chunks is not None and size:
                    body.feed(b"%x\r\n%b\r\n" % (size, b"x" * size))
        assert all(body._taken <= ROOM // 2 for body in held)
        assert memory.free == ROOM - sum(body._taken for body in held)
        assert memory.free >= 0
    for body in held:
        body.release()
        body.release()  # nothing is given back twice
    assert memory.free == ROOM
    assert not memory._taken


@pytest.mark.parametrize("size", [501, 1000, 10_000])
def test_one_body_may_not_take_all_room(size: int) -> None:
    """More than half is refused, at both doors, though nobody else holds anything."""
    for begin in (
        lambda memory: Body(memory, "a", size, None, 10_000),
        lambda memory: ForwardedBody(memory, "a", size, 10_000),
        lambda memory: ForwardedBody(memory, "a", 0, 10_000).grow(size),
    ):
        memory = FairShares(ROOM)
        with pytest.raises(Refusal, match="too many bytes of requests"):
            begin(memory)
        assert memory.free == ROOM


def test_what_an_application_does_not_keep_is_not_counted() -> None:
    """Of a long upload no more than `most` is held, announced or not."""
    memory = FairShares(ROOM)
    for length in (0, 10**9):
        body = ForwardedBody(memory, "a", length, 100)
        for _ in range(10):
            body.grow(70)
        assert memory.free == ROOM - 100
        body.release()
    assert memory.free == ROOM
