"""The memory of bodies, in both servers: bounded, shared, and released."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.http.body import Body, ForwardedBody
from gateway.http.chunked import ChunkedDecoder
from gateway.http.fair_shares import FairShares

MEMORY = 1000
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
def test_memory_is_released_in_any_order(plan: list[tuple[str, str, int, int]]) -> None:
    """In any order of events, the free memory is what no body has taken, no body has more than
    half, and at the end all is free."""
    memory, bodies = FairShares(MEMORY), list[Body | ForwardedBody]()
    for step, flow, size, which in plan:
        with suppress(Refusal):
            if step == "body":
                bodies.append(Body(memory, flow, size, None, 10_000))
            elif step == "chunked":
                bodies.append(Body(memory, flow, 0, ChunkedDecoder(), 10_000))
            elif step == "passing":
                bodies.append(ForwardedBody(memory, flow, size, 900))
            elif step == "growing":
                bodies.append(ForwardedBody(memory, flow, 0, 900))
            elif bodies and step == "end":
                bodies.pop(which % len(bodies)).release()
            elif bodies:
                body = bodies[which % len(bodies)]
                if isinstance(body, ForwardedBody):
                    body.grow(size)
                elif body._chunks is not None and size:
                    body.feed(b"%x\r\n%b\r\n" % (size, b"x" * size))
        assert all(body._taken <= MEMORY // 2 for body in bodies)
        assert memory.free == MEMORY - sum(body._taken for body in bodies)
        assert memory.free >= 0
    for body in bodies:
        body.release()
        body.release()  # nothing is given back twice
    assert memory.free == MEMORY
    assert not memory._taken


@pytest.mark.parametrize("size", [501, 1000, 10_000])
def test_body_gets_half_of_memory_at_most(size: int) -> None:
    """More than half is refused, in both servers, also when all else is free."""
    for begin in (
        lambda memory: Body(memory, "a", size, None, 10_000),
        lambda memory: ForwardedBody(memory, "a", size, 10_000),
        lambda memory: ForwardedBody(memory, "a", 0, 10_000).grow(size),
    ):
        memory = FairShares(MEMORY)
        with pytest.raises(Refusal, match="too many bytes of requests"):
            begin(memory)
        assert memory.free == MEMORY


def test_upload_takes_at_most_what_is_kept() -> None:
    """A long upload takes no more than `most`, announced or chunked."""
    memory = FairShares(MEMORY)
    for length in (0, 10**9):
        body = ForwardedBody(memory, "a", length, 100)
        for _ in range(10):
            body.grow(70)
        assert memory.free == MEMORY - 100
        body.release()
    assert memory.free == MEMORY
