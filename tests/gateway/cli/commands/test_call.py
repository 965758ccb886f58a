"""The verbs that let a model speak: call, logs, build-log."""

import io
import json
import sys
import threading
from pathlib import Path

import pytest

from tests.gateway.cli.commands.test_deploy import press_control_c
from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State


def test_call(state: State, folder: Path, predictd: Predictd) -> None:
    """The answer is on stdout as JSON; with --json it is the whole reply."""
    predictd("deploy", "model.py:add")
    assert predictd("call", "add", '{"a": 3, "b": 5}').out == "8\n"
    assert predictd("call", "add", '{"a": 3, "b": 5}', "--json").json["success"] is True


def test_call_with_a_file_or_stdin(
    state: State, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """@FILE and - say where the request is."""
    (folder / "model.py").write_text("def echo(args): return args\n")
    predictd("deploy", "model.py:echo")
    (folder / "request.json").write_text('"é"')
    assert predictd("call", "echo", "@request.json").out == '"é"\n'
    monkeypatch.setattr(sys, "stdin", io.StringIO("[1, 2]"))
    assert predictd("call", "echo", "-").out == "[1, 2]\n"


def test_call_of_a_failing_model_exits_1(state: State, folder: Path, predictd: Predictd) -> None:
    """The model's error is on stderr; exit code 1, for the gateway did its part."""
    (folder / "model.py").write_text("def fail(args): raise ValueError('no')\n")
    predictd("deploy", "model.py:fail")
    outcome = predictd("call", "fail", "null")
    assert (outcome.code, outcome.out) == (1, "")
    assert "unexpected model shutdown: ValueError: no" in outcome.err


def test_logs(state: State, folder: Path, predictd: Predictd) -> None:
    """Lines come as they were printed, but none can steer the terminal."""
    predictd("deploy", "model.py:add")
    state.log_lines = ["at stdout \x1b[2Jcleared\ttab"]
    assert predictd("logs", "add").out == "at stdout \ufffd[2Jcleared\ttab\n"
    predictd("logs", "add", "--stream", "stderr", "--replica", "r 1", "--tail", "3")
    assert state.requests[-1].endswith("/logs?replica=r+1&stream=stderr&tail=3")
    predictd("logs", "add", "--since", "2027-01-31", "--request", "f00")
    assert state.requests[-1].endswith("?since=2027-01-31T00%3A00%3A00%2B00%3A00&request=f00")


def test_logs_json_is_one_document_a_line(state: State, folder: Path, predictd: Predictd) -> None:
    """With --json each line is a document with its time, replica and stream, and the request that
    it belongs to."""
    predictd("deploy", "model.py:add")
    request = "0123456789abcdef" * 2
    about = f"[predictd] request {request} failed, 1 lines:"
    state.log_lines = ["t1 stdout one", f"t2 stderr {about}", "t3 stderr KeyError: 'x'"]
    first, *_ = [json.loads(line) for line in predictd("logs", "add", "--json").out.splitlines()]
    assert first == {"time": "t1", "replica": "r1", "stream": "stdout", "text": "one"}


def test_logs_follow_prints_each_line_once(state: State, folder: Path, predictd: Predictd) -> None:
    """A followed log begins with lines that are printed already; only the new ones follow, and with
    --request only those of the request."""
    predictd("deploy", "model.py:add")
    request = "0123456789abcdef" * 2
    state.log_lines = ["t1 stdout one", "t2 stdout two"]
    new = [f"[predictd] request {request} failed, 1 lines:", "KeyError: 'x'", "another"]
    state.new_lines = [{"replica": "r1", "at": "t3", "stream": "stderr", "text": e} for e in new]
    shown = predictd("logs", "add", "-f").out.splitlines()
    assert shown == ["t1 r1 stdout one", "t2 r1 stdout two", *(f"t3 r1 stderr {e}" for e in new)]
    outcome = predictd("logs", "add", "-f", "--json", "--request", request)
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [each["text"] for each in lines if each["time"] == "t3"] == new[:2]
    assert lines[-1]["request_id"] == request


class Impatient(io.StringIO):
    """A stdout whose reader presses Ctrl-C at the last line."""

    def write(self, text: str) -> int:
        written = super().write(text)
        if "a warning" in text:
            press_control_c()
        return written


@pytest.mark.parametrize("as_json", [True, False])
def test_logs_follow_until_control_c(
    state: State,
    folder: Path,
    predictd: Predictd,
    monkeypatch: pytest.MonkeyPatch,
    as_json: bool,
) -> None:
    """--follow continues until Ctrl-C; with --json each line is a document."""
    predictd("deploy", "model.py:add")
    watched = threading.Event()
    state.while_building = lambda: watched.wait(30)
    out = Impatient()
    monkeypatch.setattr(sys, "stdout", out)
    try:
        outcome = predictd("logs", "add", "-f", *["--json"] * as_json)
    finally:
        watched.set()
    assert outcome.code == 130
    assert "The model continues." in outcome.err
    first, _ = out.getvalue().splitlines()
    assert (json.loads(first)["text"] if as_json else first).endswith("Model ready")


def test_build_log(state: State, folder: Path, predictd: Predictd) -> None:
    """A build's log is printed from its first line, each time."""
    predictd("deploy", "model.py:add")
    state.build_lines = ["the same for all builds"]
    predictd("build", "create", "add")
    for argv in (["build", "log", "add"], ["build", "log", "add", "1"]):
        outcome = predictd(*argv)
        assert (outcome.code, outcome.out) == (0, "the same for all builds\n")
    assert "Build 1 of sums/add: built." in outcome.err
    outcome = predictd("build", "log", "add", "2", "--json")
    *lines, last = map(json.loads, outcome.out.splitlines())
    assert lines == [{"text": line} for line in state.build_lines]
    assert last["build"]["build_number"] == 2
    assert predictd("build", "log", "add", "3").code == 4
