"""The inner end of the wire in R: golden frames, and pipes that nothing else of the model has."""

import json
import os
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.workers.inside.conversation import (
    ANSWER,
    GOLDEN,
    HELLO,
    PREDICT,
    PROJECTS,
    READY,
    Conversation,
)
from tests.workers.inside.r.conftest import Converse

FRAMES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.json"))
}
PLAYS = [name.removeprefix("predict_") for name in FRAMES if name.startswith("predict_")]


@pytest.mark.parametrize("name", PLAYS)
def test_golden_predictions_get_the_golden_bytes(name: str, converse: Converse) -> None:
    """R answers a golden prediction with the bytes of every other implementation."""
    project, function = ("add", "add") if name == "add" else ("badly", "behave")
    replica = converse()
    assert replica.start(PROJECTS / project, f"{project}.R", function).kind == READY
    replica.send_bytes(bytes.fromhex(FRAMES[f"predict_{name}"]["frame"]))
    answer = "raised" if name == "raise" else f"answer_{name}"
    assert replica.receive_bytes().hex() == FRAMES[answer]["frame"]


def test_hello_names_the_language(converse: Converse) -> None:
    """HELLO says who speaks: R, its version and its pid."""
    replica = converse()
    hello = replica.receive()
    assert (hello.kind, hello.id, hello.body["language"]) == (HELLO, 0, "r")
    assert hello.body["pid"] == replica.process.pid
    assert hello.body["protocol"] == FRAMES["hello"]["body"]["protocol"]
    assert hello.body["version"].count(".") == 2


@pytest.mark.parametrize(
    "code",
    [
        "!identical(of$.read, readBin) && !identical(of$.write, writeBin)",
        "identical(of$.last_call_of(paste0, alist(x = ), list()), paste0)",
        "identical(of$.last_call_of(sapply, alist(X = ), list()), sapply)",
    ],
)
def test_frames_are_read_by_the_last_call_of_the_function_of_r(
    evaluator: Conversation, code: str
) -> None:
    """This R's functions have a last call that is used; one of another form is used as it is."""
    text = f'{{ of <- asNamespace("predictd.inside"); {code} }}'
    assert evaluator.predict({"code": text}).body is True


def test_frame_sent_byte_by_byte_is_answered(badly: Conversation) -> None:
    """A frame that arrives byte by byte is answered, and one of many in one read."""
    frame = struct.pack("<IBQ", 13, PREDICT, 5) + b'{"do":"echo"}'
    for position in range(len(frame)):
        badly.send_bytes(frame[position : position + 1])
    assert badly.receive() == (ANSWER, 5, {"do": "echo"})
    badly.send_bytes(frame * 100)
    assert [badly.receive() for _ in range(100)] == [(ANSWER, 5, {"do": "echo"})] * 100


def test_large_bodies_pass_both_ways(badly: Conversation) -> None:
    """Megabytes pass through pipes that hold 64 KiB."""
    large = {"do": "echo", "text": "x" * 5_000_000}
    assert badly.predict(large).body == large


def test_half_a_frame_is_ignored(badly: Conversation) -> None:
    """A replica does not act on a frame that the gateway did not finish, and ends orderly."""
    badly.send_bytes(struct.pack("<IBQ", 100, PREDICT, 1) + b'{"do":"echo"}')
    badly.hang_up()
    assert badly.at_end()
    assert badly.exit_status() == 0


def test_frame_out_of_turn_ends_the_replica(badly: Conversation) -> None:
    """A replica that gets an unexpected frame ends instead of guessing."""
    badly.send(1, 0, b"{}")
    assert badly.exit_status() == 1
    assert "kind 1 where 2 was due" in badly.stderr


def test_answer_without_a_reader_is_an_orderly_end(badly: Conversation) -> None:
    """A replica that cannot deliver its answer ends as it does at a closed pipe."""
    badly.stop_reading()
    badly.send(PREDICT, 1, b'{"do":"echo"}')
    assert badly.exit_status() == 0
    assert badly.stderr == ""


def test_programs_of_the_model_do_not_have_the_pipes(
    load: Callable[..., Conversation],
) -> None:
    """A program that the model starts inherits neither end of the wire."""
    replica = load("predict <- function(args) system('ls -l /proc/self/fd', intern = TRUE)")
    wire = {os.readlink(f"/proc/{replica.process.pid}/fd/{each}") for each in _pipes(replica)}
    assert len(wire) == 2
    listed = " ".join(replica.predict(None).body)
    assert not any(each in listed for each in wire)


def test_arguments_do_not_show_the_wire(load: Callable[..., Conversation]) -> None:
    """Code that is a script, too, finds no arguments and no variable of ours."""
    replica = load("predict <- function(args) list(commandArgs(TRUE), Sys.getenv('PREDICTD_WIRE'))")
    assert replica.predict(None).body == [[], ""]


@pytest.mark.parametrize("at", ["top", "call"])
def test_closed_connections_do_not_close_the_wire(
    load: Callable[..., Conversation], at: str
) -> None:
    """closeAllConnections(), by which scripts tidy up, closes all connections but ours."""
    closing = "open <- file('/dev/null'); closeAllConnections(); sink.number()"
    source = {
        "top": f"{closing}\npredict <- function(args) nrow(showConnections())",
        "call": f"predict <- function(args) {{ {closing}; nrow(showConnections()) }}",
    }[at]
    replica = load(source)
    assert [replica.predict(None).body for _ in range(2)] == [2, 2]


def test_forked_process_answers_nothing(load: Callable[..., Conversation]) -> None:
    """A process that the function forked, and that returns from the function, ends silently."""
    replica = load("predict <- function(args) class(parallel:::mcfork())[[1]]")
    assert [replica.predict(None, n).body for n in range(3)] == ["childProcess"] * 3
    replica.hang_up()
    assert replica.exit_status() == 0


def _pipes(replica: Conversation) -> list[str]:
    folder = f"/proc/{replica.process.pid}/fd"
    found = [each for each in os.listdir(folder) if int(each) > 2]
    return [each for each in found if os.readlink(f"{folder}/{each}").startswith("pipe:")]
