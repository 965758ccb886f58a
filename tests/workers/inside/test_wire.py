"""The inner end of the wire, against golden frames and against hostile circumstances."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import ANSWER, GOLDEN, PREDICT, PROJECTS, READY, Conversation
from workers.inside.python.packages.predictd_inside.wire import HEADER, Wire

FRAMES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.json"))
}
PLAYS = [name.removeprefix("predict_") for name in FRAMES if name.startswith("predict_")]


def frames_in(data: bytes, folder: Path) -> list[tuple[int, int, bytes]]:
    """What a Wire finds in these bytes; a file, unlike a pipe, can hold them all beforehand."""
    (folder / "bytes").write_bytes(data)
    inlet, outlet = os.open(folder / "bytes", os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    try:
        return list(Wire(inlet, outlet).frames())
    finally:
        os.close(inlet)
        os.close(outlet)


@pytest.mark.parametrize("name", FRAMES)
def test_golden_frames_are_read_as_they_are_meant(name: str, tmp_path: Path) -> None:
    """A golden frame's bytes have the kind, id and body that its file names."""
    golden = FRAMES[name]
    [(kind, number, body)] = frames_in(bytes.fromhex(golden["frame"]), tmp_path)
    assert (kind, number, json.loads(body)) == (golden["kind"], golden["id"], golden["body"])


@pytest.mark.parametrize("name", PLAYS)
def test_golden_predictions_get_the_golden_bytes(name: str, converse: Converse) -> None:
    """Every interpreter answers a golden prediction with the same bytes."""
    project, function = ("add", "add") if name == "add" else ("badly", "behave")
    replica = converse()
    assert replica.start(PROJECTS / project, f"{project}.py", function).kind == READY
    replica.send_bytes(bytes.fromhex(FRAMES[f"predict_{name}"]["frame"]))
    answer = "raised" if name == "raise" else f"answer_{name}"
    assert replica.receive_bytes().hex() == FRAMES[answer]["frame"]


@pytest.mark.parametrize("sizes", [[0, 1, 0], [3] * 20_000, [65_523, 65_522, 65_524], [400_000, 1]])
def test_frames_are_whole_for_any_read_sizes(sizes: list[int], tmp_path: Path) -> None:
    """Frames are read one by one and whole, many in one read or one in many reads."""
    sent = [(PREDICT, number, b"x" * size) for number, size in enumerate(sizes)]
    data = b"".join(HEADER.pack(len(body), kind, number) + body for kind, number, body in sent)
    assert frames_in(data, tmp_path) == sent


@pytest.mark.parametrize("missing", [1, 90_000, 100_012])
def test_incomplete_frame_is_ignored(missing: int, tmp_path: Path) -> None:
    """A replica does not act on a frame that the gateway did not finish."""
    data = HEADER.pack(100_000, PREDICT, 1) + b"x" * 100_000
    assert frames_in(data[:-missing], tmp_path) == []


def test_frame_sent_byte_by_byte_is_answered(badly: Conversation) -> None:
    """A frame that arrives byte by byte is answered."""
    frame = HEADER.pack(13, PREDICT, 5) + b'{"do":"echo"}'
    for position in range(len(frame)):
        badly.send_bytes(frame[position : position + 1])
    assert badly.receive() == (ANSWER, 5, {"do": "echo"})


def test_large_bodies_pass_both_ways(badly: Conversation) -> None:
    """Megabytes go through pipes that hold 64 KiB."""
    large = {"do": "echo", "text": "x" * 5_000_000}
    assert badly.predict(large).body == large


def test_interrupted_write_continues(converse: Converse, write_model: Any) -> None:
    """A signal that interrupts a write does not cut the frame."""
    root = write_model(
        "import signal\n"
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)\n"
        "def predict(args):\n    return 'x' * args\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    for number in range(1, 11):
        assert len(replica.predict(2_000_000, number).body) == 2_000_000


def test_programs_of_the_model_do_not_inherit_the_wire(
    converse: Converse, write_model: Any
) -> None:
    """A program that the model starts inherits only the descriptors that it is given."""
    root = write_model(
        "import subprocess\n"
        "def predict(args):\n"
        "    command = ['ls', '/proc/self/fd']\n"
        "    found = subprocess.check_output(command, close_fds=False)\n"
        "    return found.decode().split()\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(None).body == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


def test_forked_child_does_not_keep_the_wire_open(badly: Conversation) -> None:
    """The end of a replica is seen at once even if a grandchild still runs."""
    grandchild = badly.predict({"do": "fork"}).body
    try:
        badly.process.kill()
        assert badly.at_end()
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_forked_child_sends_no_answer(converse: Converse, write_model: Any) -> None:
    """When the function returns twice, in two processes, one answer is sent."""
    root = write_model("import os\ndef predict(args):\n    return os.fork() > 0\n")
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    for number in range(1, 6):
        assert replica.predict(None, number) == (ANSWER, number, True)
    replica.hang_up()
    assert replica.exit_status() == 0
    assert replica.at_end()


def test_closed_pipe_is_an_orderly_end(converse: Converse, write_model: Any) -> None:
    """When the gateway closes the pipe, exit handlers run and the status is 0."""
    root = write_model(
        "import atexit\natexit.register(print, 'farewell')\ndef predict(args): ...\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    replica.hang_up()
    assert replica.exit_status() == 0
    assert replica.stdout.endswith("farewell\n")


def test_sigterm_handler_runs_at_the_end(converse: Converse, write_model: Any) -> None:
    """A model's handler of SIGTERM runs before its exit handlers; it may set the status."""
    root = write_model(
        "import atexit, signal, sys\n"
        "def leave(number, frame):\n"
        "    print('told by', number)\n"
        "    sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "atexit.register(print, 'farewell')\n"
        "def predict(args): ...\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    replica.hang_up()
    assert replica.exit_status() == 3
    assert replica.stdout.endswith("told by 15\nfarewell\n")


def test_gateway_that_ends_before_the_start_is_an_orderly_end(converse: Converse) -> None:
    """A replica whose gateway ends before it sends START ends without an error."""
    replica = converse()
    replica.hang_up()
    assert (replica.exit_status(), replica.stderr) == (0, "")
