"""The conversation of a replica: what it says when, and how it ends."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import (
    ANSWER,
    FAILED,
    HELLO,
    PREDICT,
    PROJECTS,
    RAISED,
    READY,
    REFUSED,
    REQUEST_PREFIX,
    TRACKED,
    Conversation,
)


def test_hello_is_sent_first_and_unasked(converse: Converse, version: str) -> None:
    """A replica sends HELLO before it knows what to load."""
    replica = converse()
    hello = replica.receive()
    assert (hello.kind, hello.id) == (HELLO, 0)
    assert re.fullmatch(re.escape(version) + r"\.\d+", hello.body.pop("version"))
    assert hello.body == {"protocol": 1, "language": "python", "pid": replica.process.pid}


def test_ready_says_how_long_loading_took(converse: Converse) -> None:
    """The seconds of READY are those that the top level of the file took."""
    ready = converse(SLOW_START_SECONDS="0.05").start(
        PROJECTS / "slow_start", "slow_start.py", "predict"
    )
    assert ready.kind == READY
    assert 0.05 <= ready.body["seconds"] < 10


def test_predictions_are_answered_in_turn(converse: Converse) -> None:
    """Each prediction gets the answer to its own argument, with its own id."""
    replica = converse()
    assert replica.start(PROJECTS / "add", "add.py", "add").kind == READY
    for number in range(1, 200):
        answer = replica.predict({"a": number, "b": 1}, number)
        assert answer == (ANSWER, number, number + 1)


def test_an_invalid_request_is_refused(badly: Conversation) -> None:
    """`cdsw.InvalidRequest` is the caller's fault: no traceback, and the replica still serves."""
    refused = badly.predict({"do": "invalid", "text": "petal_length is missing"})
    assert (refused.kind, refused.body) == (REFUSED, {"message": "petal_length is missing"})
    assert badly.stderr == ""
    assert badly.predict({"do": "echo"}).kind == ANSWER


def test_start_logs_its_three_lines(converse: Converse) -> None:
    """The log of a start has the three lines that its readers know."""
    replica = converse()
    replica.start(PROJECTS / "add", "add.py", "add")
    start, finish, ready = replica.stdout.splitlines()
    dated = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} %d\s+INFO      Model\.Runtime      %s Model init"
    assert re.match(dated % (replica.process.pid, "Start"), start)
    assert re.match(dated % (replica.process.pid, "Finish"), finish)
    assert ready == "Model ready"


def test_exception_is_an_answer(badly: Conversation) -> None:
    """The caller gets type and text, the log the model's own frames; the replica still serves."""
    raised = badly.predict({"do": "raise", "text": "petal too long"})
    assert (raised.kind, raised.body) == (
        RAISED,
        {"type": "ValueError", "message": "petal too long"},
    )
    assert badly.stderr.count("  File ") == 2
    assert 'badly.py", line ' in badly.stderr
    about, *trace = badly.stderr.splitlines()
    number = f"{REQUEST_PREFIX}{raised.id:012x}"
    assert about == f"[predictd] request {number} failed, {len(trace)} lines:"
    assert badly.predict({"do": "echo"}).kind == ANSWER


@pytest.mark.parametrize(
    ("deed", "status"),
    [("exit", 3), ("os_exit", 4), ("segfault", -signal.SIGSEGV)],
)
def test_ended_process_keeps_its_status(badly: Conversation, deed: str, status: int) -> None:
    """A call that ends a Python program ends a replica, without an answer and with the same
    status."""
    badly.send(PREDICT, 1, b'{"do":"%s"}' % deed.encode())
    assert badly.at_end()
    assert badly.exit_status() == status


def test_crash_in_c_logs_the_line(badly: Conversation) -> None:
    """The log of a replica that died of a signal shows the model's line."""
    badly.send(PREDICT, 1, b'{"do":"segfault"}')
    badly.exit_status()
    assert re.search(r'badly\.py", line \d+ in segfault', badly.stderr)


def test_keyboard_interrupt_ends_the_process(converse: Converse, write_model: Any) -> None:
    """A BaseException that is no Exception ends the process; its traceback is in the log."""
    root = write_model("def predict(args):\n    raise KeyboardInterrupt('stop')\n")
    replica = converse()
    replica.start(root, "model.py", "predict")
    replica.send(PREDICT, 1, b"{}")
    assert replica.at_end()
    assert replica.exit_status() == -signal.SIGINT
    assert replica.stderr.endswith("KeyboardInterrupt: stop\n")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "recursion"),
        (b'{"text": "\xff"}', "codec can't decode"),
        (b'{"do": ', "Expecting value"),
    ],
)
def test_unreadable_json_is_refused(
    badly: Conversation, body: bytes, message: str, version: str
) -> None:
    """JSON that cannot be read is reported as the caller's fault, and the function is not
    called."""
    badly.send(PREDICT, 6, body)
    refused = badly.receive()
    assert (refused.kind, refused.id) == (REFUSED, 6)
    assert message in refused.body["message"]
    assert badly.stderr == ""
    assert badly.predict({"do": "echo"}).kind == ANSWER


def test_integer_too_long_for_the_interpreter_is_refused(badly: Conversation, version: str) -> None:
    """Where Python limits the length of integers, a longer one is the caller's fault."""
    badly.send(PREDICT, 6, b"9" * 5000)
    answer = badly.receive()
    limited = "Exceeds the limit" in str(answer.body)
    assert (answer.kind == REFUSED) == limited
    assert limited or version == "3.8"


def test_response_above_the_limit_is_an_error(converse: Converse) -> None:
    """A response longer than max_response_size is not sent; the error has both sizes."""
    replica = converse()
    replica.start(PROJECTS / "badly", "badly.py", "behave", max_response_size=1000)
    assert replica.predict({"do": "big", "bytes": 998}).kind == ANSWER
    raised = replica.predict({"do": "big", "bytes": 999})
    assert (raised.kind, raised.body["type"]) == (RAISED, "ValueError")
    assert "1001 bytes" in raised.body["message"]
    assert "1000" in raised.body["message"]


def test_unencodable_response_is_the_models_error(badly: Conversation) -> None:
    """The error names the value without a form in JSON and its place; the replica still serves."""
    raised = badly.predict({"do": "unencodable"})
    assert raised.kind == RAISED
    assert raised.body == {
        "type": "TypeError",
        "message": "at $.not[0]: a value of type 'object' cannot be said in JSON",
    }
    assert badly.predict({"do": "nan"}).body == [None, None, 1.5]


def test_frame_out_of_turn_ends_the_replica(badly: Conversation) -> None:
    """A replica that gets an unexpected frame ends instead of guessing."""
    badly.send(1, 0, b"{}")
    assert badly.exit_status() == 1
    assert "kind 1 where 2 was due" in badly.stderr


def test_answer_without_a_reader_is_an_orderly_end(converse: Converse, tmp_path: Path) -> None:
    """A replica that cannot deliver its answer ends as it does at a closed pipe."""
    replica = converse()
    replica.start(PROJECTS / "add", "add.py", "add")
    replica.stop_reading()
    replica.send(PREDICT, 1, b'{"a":1,"b":2}')
    assert replica.exit_status() == 0
    assert replica.stderr == ""


def test_message_of_a_failure_is_bounded(badly: Conversation) -> None:
    """A message of a megabyte is cut."""
    raised = badly.predict({"do": "raise", "text": "x" * 1_000_000})
    assert len(raised.body["message"]) < 10_000
    assert raised.body["message"].endswith("(1000000 characters)")


@pytest.mark.parametrize("project", ["syntax_error", "import_error"])
def test_failed_load_reports_its_traceback(converse: Converse, project: str) -> None:
    """FAILED carries type, text and the author's traceback, which the log has too; status 1."""
    replica = converse()
    failed = replica.start(PROJECTS / project, f"{project}.py", "predict")
    assert failed.kind == FAILED
    assert f'{project}.py", line ' in failed.body["traceback"]
    assert "predictd_inside" not in failed.body["traceback"]
    assert replica.exit_status() == 1
    assert replica.stderr == failed.body["traceback"]
    expected = {"syntax_error": "SyntaxError", "import_error": "ModuleNotFoundError"}
    assert failed.body["type"] == expected[project]


def test_exit_while_loading_is_a_failure(converse: Converse, write_model: Any) -> None:
    """sys.exit() at the top of the file is no successful start."""
    failed = converse().start(write_model("import sys\nsys.exit(0)\n"), "model.py", "predict")
    assert (failed.kind, failed.body["type"]) == (FAILED, "SystemExit")


REPLACING = r"""
import json, cdsw
def refuse(*args, **options):
    raise RuntimeError("replaced")
json.dumps = json.loads = refuse
json.JSONEncoder.default = refuse
json.JSONEncoder = json.JSONDecoder = refuse
@cdsw.model_metrics
def predict(args):
    cdsw.track_metric("odd", "\\ud800")
    if args:
        raise ValueError("as asked")
    return {1: {2, float("nan")}}
"""


def test_json_functions_replaced_by_the_model_are_not_used(
    converse: Converse, write_model: Any
) -> None:
    """Functions of `json` that the model replaced are not used and break nothing."""
    replica = converse()
    assert replica.start(write_model(REPLACING), "model.py", "predict").kind == READY
    assert replica.predict({}).kind == TRACKED
    answer = replica.receive()
    assert answer.kind == ANSWER
    assert set(answer.body["prediction"]["1"]) == {2, None}
    assert replica.predict({"raise": 1}).body == {"type": "ValueError", "message": "as asked"}


LOOKS_UP = """
import socket
def predict(args):
    told = []
    for name in ("modelservice.localhost", b"A.LOCALHOST.", "no.such.invalid"):
        try:
            told.append(socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)[0][4][0])
        except socket.gaierror:
            told.append("unknown")
    return told
"""


def test_localhost_names_resolve_to_this_machine(converse: Converse, tmp_path: Path) -> None:
    """Names in `.localhost`, which clients of CDSW make of the gateway's, lead to this machine also
    where its resolver, such as plain glibc, does not know them; other names are resolved as
    before."""
    (tmp_path / "model.py").write_text(LOOKS_UP)
    replica = converse()
    assert replica.start(tmp_path, "model.py", "predict").kind == READY
    *here, other = replica.predict({}, 1).body
    assert {*here} <= {"127.0.0.1", "::1"}
    assert other == "unknown"
