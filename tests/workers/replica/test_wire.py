"""The outer end of the wire: golden frames both ways, and any bytes that may arrive."""

import contextlib
import itertools
import json
import tracemalloc
from pathlib import Path
from typing import Any, get_args

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import example, given

from tests.faults.matrix import fault
from workers.errors import WireError
from workers.replica import wire
from workers.replica.wire import FrameReader, FromReplica

GOLDEN: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[1] / "golden").glob("*.json"))
}
TO_GATEWAY = [name for name, golden in GOLDEN.items() if golden["to"] == "gateway"]
PREDICTIONS = [name for name, golden in GOLDEN.items() if golden["kind"] == wire.PREDICT]
LIMIT = 10_000


def read(data: bytes, limit: int = LIMIT) -> list[tuple[int, FromReplica]]:
    return list(FrameReader(limit).feed(data))


@pytest.mark.parametrize("name", TO_GATEWAY)
def test_golden_frames_are_read_as_they_are_meant(name: str) -> None:
    """A golden frame has the kind, id and body that its file names."""
    golden = GOLDEN[name]
    [(number, message)] = read(bytes.fromhex(golden["frame"]))
    body = (
        json.loads(message.body)
        if isinstance(message, wire.Answer | wire.Tracked)
        else msgspec.structs.asdict(message)
    )
    assert (message.kind, number, body) == (golden["kind"], golden["id"], golden["body"])


def test_start_is_the_golden_frame() -> None:
    """START is byte for byte the golden frame."""
    golden = GOLDEN["start"]
    assert wire.encode(wire.Start(**golden["body"])).hex() == golden["frame"]


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predict_is_the_golden_frame(name: str) -> None:
    """PREDICT passes the caller's bytes on unchanged."""
    golden = GOLDEN[name]
    frame = bytes.fromhex(golden["frame"])
    request = frame[wire.HEADER.size :]
    assert wire.encode_request(request, golden["id"]) == frame
    assert wire.request_header(len(request), golden["id"]) + request == frame


ids = st.integers(0, 2**64 - 1)
frames = st.one_of(
    st.builds(
        lambda number, body: wire.HEADER.pack(len(body), wire.Answer.kind, number) + body,
        ids,
        st.binary(max_size=300),
    ),
    st.builds(wire.encode, st.builds(wire.Raised, st.text(), st.text()), ids),
    st.builds(wire.encode, st.builds(wire.Refused, st.text()), ids),
    st.builds(wire.encode, st.builds(wire.Ready, st.floats(0, 100))),
)


@given(st.lists(frames, max_size=5), st.lists(st.integers(0, 2000)))
def test_messages_do_not_depend_on_read_sizes(said: list[bytes], cuts: list[int]) -> None:
    """The sizes of the reads make no difference to the messages."""
    data = b"".join(said)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = FrameReader(LIMIT)
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    in_pieces = [message for piece in pieces for message in reader.feed(piece)]
    assert in_pieces == [message for frame in said for message in read(frame)]
    assert len(in_pieces) == len(said)


def test_large_answer_is_stored_once() -> None:
    """An answer takes its own length in memory and no more, in any number of parts, and is passed
    on without a copy."""
    body = bytes(5_000_000)
    frame = wire.HEADER.pack(len(body), wire.Answer.kind, 1) + body
    parts = [frame[at : at + 40_000] for at in range(0, len(frame), 40_000)]
    reader = FrameReader(len(body))
    tracemalloc.start()
    try:
        [answer] = [answer for part in parts for answer in reader.feed(part)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer == (1, wire.Answer(body))
    assert most < 1.1 * len(body)


@fault(
    "junk on the wire",
    injection="any bytes (hypothesis)",
    bound="a message, or the end of that replica",
)
@given(st.lists(st.binary(max_size=60), max_size=5))
@example([wire.HEADER.pack(1, wire.Refused.kind, 1) + b"\xff"])
@example([wire.HEADER.pack(15, wire.Refused.kind, 1) + b'{"message":"\xff"}'[:15]])
@example([wire.HEADER.pack(16, wire.Refused.kind, 1) + b'{"message":"\xff"}'])
def test_junk_is_a_message_or_a_wire_error(pieces: list[bytes]) -> None:
    """For any bytes, no error other than WireError is raised."""
    reader = FrameReader(LIMIT)
    try:
        for piece in pieces:
            for _, message in reader.feed(piece):
                assert isinstance(message, FromReplica)
    except WireError:
        pass


@given(st.sampled_from([16, 17, 18, 20, 21]), st.binary(max_size=60) | st.text().map(str.encode))
def test_body_is_a_message_or_a_wire_error(kind: int, body: bytes) -> None:
    """A frame of a known kind with any body is a message of that kind or a WireError."""
    with contextlib.suppress(WireError):
        assert wire.decode(kind, body).kind == kind


@pytest.mark.parametrize("depth", [1_000, 8_000])
def test_deep_body_is_a_wire_error(depth: int) -> None:
    """JSON that is nested too deeply to be read is a WireError and breaks nothing else."""
    body = b'{"message":"", "more":' + b"[" * depth + b"]" * depth + b"}"
    with contextlib.suppress(WireError):
        assert wire.decode(wire.Refused.kind, body) == wire.Refused("")


BOUNDS = {**wire.LARGEST, wire.Answer.kind: LIMIT}


def test_every_kind_of_frame_has_a_bound() -> None:
    """Every kind that a replica may send has a bound, small enough to be decoded in a moment."""
    kinds = {kind.kind for kind in get_args(FromReplica)}
    assert set(BOUNDS) == kinds
    assert max(wire.LARGEST.values()) <= 512 * 1024


@pytest.mark.parametrize("kind", BOUNDS)
def test_body_above_its_bound_is_refused_at_the_header(kind: int) -> None:
    """One byte too many is refused before any of the body has come; the error names the kind and
    the size."""
    most = BOUNDS[kind]
    reader = FrameReader(LIMIT)
    assert list(reader.feed(wire.HEADER.pack(most, kind, 1))) == []
    with pytest.raises(WireError, match=rf"[A-Z]+ frame has {most + 1} bytes; at most {most}"):
        list(FrameReader(LIMIT).feed(wire.HEADER.pack(most + 1, kind, 1)))


@fault(
    "a frame of 4 GiB",
    injection="any length past the limit",
    bound="refused before memory is taken",
)
@pytest.mark.parametrize("length", [LIMIT + 1, 2**32 - 1])
def test_length_above_the_limit_is_refused_at_the_header(length: int) -> None:
    """A header that announces four gigabytes allocates nothing."""
    reader = FrameReader(LIMIT)
    with pytest.raises(WireError, match=str(length)):
        list(reader.feed(wire.HEADER.pack(length, wire.Answer.kind, 1)))
    assert not reader.midway


def test_short_path_equals_the_long_one() -> None:
    """The short path for a whole answer with metrics gives the messages of the long one, and
    nothing for other bytes."""
    said = [(22, 7, b'{"metrics":{}}'), (19, 7, b"8")]
    whole = b"".join(wire.HEADER.pack(len(b), kind, n) + b for kind, n, b in said)
    reader = wire.FrameReader(100)
    assert reader.whole_tracked(whole) == (7, said[0][2], said[1][2])
    assert [(m.kind, n, m.body) for n, m in reader.feed(whole)] == said  # type: ignore[union-attr]
    for cut in range(len(whole)):
        assert reader.whole_tracked(whole[:cut]) is None
    assert reader.whole_tracked(whole + b"x") is None
    assert reader.whole_tracked(whole + whole) is None
    assert wire.FrameReader(0).whole_tracked(whole) is None
    other = whole.replace(wire.HEADER.pack(1, 19, 7), wire.HEADER.pack(1, 19, 8))
    assert reader.whole_tracked(other) is None
    list(reader.feed(whole[:3]))
    assert reader.whole_tracked(whole) is None


@pytest.mark.parametrize("kind", [0, wire.Start.kind, wire.PREDICT, 23, 255])
def test_unknown_kind_is_refused(kind: int) -> None:
    """A kind that only the gateway sends, or that does not exist, is a WireError."""
    with pytest.raises(WireError, match=f"kind {kind}"):
        read(wire.HEADER.pack(2, kind, 0) + b"{}")


@pytest.mark.parametrize("text", ["8", ' {"a": [1, "\u00e9"]}\n', '"\U0001f600"'])
def test_one_json_value_is_accepted(text: str) -> None:
    """One value in UTF-8 is accepted, with blanks around it or without."""
    wire.check_json(text.encode())
    wire.check_json(bytearray(text.encode()))


@pytest.mark.parametrize("body", [b"", b"1 2", b'1},"a":{', b'"\xff"', b'"\\ud800"', b"[" * 9999])
def test_other_bytes_than_json_are_a_wire_error(body: bytes) -> None:
    """All other bytes are a WireError, since they would be sent inside an object of ours."""
    with pytest.raises(WireError, match="not JSON"):
        wire.check_json(body)
