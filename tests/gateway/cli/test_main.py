"""How commands end: exit codes, messages, and where the gateway and its key are found."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.context import CommandFailed, Exit
from gateway.cli.main import exit_code
from gateway.client import ApiError, ModelFailed, ServerUnreachable
from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import KEY, State


def test_exit_codes() -> None:
    """Scripts can tell who has to act."""
    assert exit_code(CommandFailed("", "", Exit.USAGE)) == 2
    assert exit_code(ServerUnreachable("", "")) == 3
    assert exit_code(ApiError(409, "", "")) == 4
    assert exit_code(ApiError(507, "project.full", "")) == 4
    assert exit_code(ApiError(500, "", "")) == 5
    assert exit_code(ApiError(503, "model.notready", "")) == 1
    assert exit_code(ModelFailed(500, "", "")) == 1


def test_no_gateway(data: Path, predictd: Predictd) -> None:
    """Without a gateway the user learns how to start one, or to use another machine's."""
    outcome = predictd("ls")
    assert (outcome.code, outcome.out) == (3, "")
    assert f"no gateway runs on data folder {data}" in outcome.err
    assert "`predictd serve`" in outcome.err
    assert "`predictd login URL`" in outcome.err
    assert predictd("ls", "--json").json["error"]["advice"].startswith("start one")


def test_address_of_a_dead_gateway(state: State, data: Path, predictd: Predictd) -> None:
    """An address without an answer counts as no gateway."""
    (data / "gateway.json").write_text('{"url": "http://127.0.0.1:1", "pid": 1}')
    outcome = predictd("ls")
    assert (outcome.code, "no gateway answers at http://127.0.0.1:1" in outcome.err) == (3, True)
    (data / "gateway.json").write_text("half a docu")
    assert predictd("ls").code == 3


def test_the_data_folder_can_be_named(state: State, tmp_path: Path, predictd: Predictd) -> None:
    """--data wins over PREDICTD_DATA."""
    assert predictd("ls", "--data", str(tmp_path / "data")).code == 0
    assert predictd("ls", "--data", str(tmp_path / "other")).code == 3


def test_admin_key_stays_on_this_machine(
    state: State, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For another machine the key must be given; for this one the key file does."""
    assert predictd("ls", "--url", state.url).code == 0
    outcome = predictd("ls", "--url", "http://192.0.2.1:8080")
    assert (outcome.code, "PREDICTD_API_KEY" in outcome.err) == (2, True)
    monkeypatch.setenv("PREDICTD_URL", state.url)
    monkeypatch.setenv("PREDICTD_API_KEY", "wrong")
    assert predictd("ls").code == 4
    monkeypatch.setenv("PREDICTD_API_KEY", KEY)
    monkeypatch.setenv("PREDICTD_DATA", "/nonexistent")
    assert predictd("ls").code == 0


def test_unreadable_admin_key(state: State, data: Path, predictd: Predictd) -> None:
    """An unreadable key file is named."""
    (data / "admin.key").unlink()
    outcome = predictd("ls")
    assert (outcome.code, str(data / "admin.key") in outcome.err) == (2, True)


def test_errors_have_a_hint(state: State, predictd: Predictd) -> None:
    """A failure is one sentence of what happened and one of what to do; no traceback."""
    assert predictd("status", "nope").err == (
        "error: model 'nope' does not exist\nhint: list them with `predictd ls`\n"
    )


@pytest.mark.parametrize(
    "argv",
    [["nope"], ["call"], ["model", "redeploy", "m", "--replicas", "0"], ["ls", "--js"]],
)
def test_usage(argv: list[str], predictd: Predictd) -> None:
    """What cannot be understood is exit code 2, with the usage."""
    outcome = predictd(*argv)
    assert (outcome.code, "usage: predictd" in outcome.err) == (2, True)
    assert re.search(r"^error: .*\nhint: .*see `predictd.* --help`$", outcome.err, re.MULTILINE)


def test_help(predictd: Predictd) -> None:
    """Help is a success."""
    assert predictd("--help").code == predictd("deploy", "--help").code == 0


def test_closed_output_pipe_exits_141(state: State) -> None:
    """`predictd ls | true` ends quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "gateway.cli", "ls"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_full_disk_behind_stdout_is_told(state: State) -> None:
    """A result that cannot be written is an error in one line."""
    command = [sys.executable, "-m", "gateway.cli", "ls", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (
        *(1, b"error: cannot write the result: No space left on device\n"),
    )


@pytest.mark.parametrize("words", [["deploy", "model.py:add"], ["init"], ["files", "ls"]])
def test_deleted_current_folder_is_told(
    state: State, folder: Path, predictd: Predictd, words: list[str]
) -> None:
    """A shell may stand in a folder that was deleted."""
    shutil.rmtree(folder)
    outcome = predictd(*words)
    assert outcome.code == 2
    assert "error: the current folder does not exist any more" in outcome.err


def test_a_terminal_that_cannot_show_a_character(state: State) -> None:
    """Where a character has no encoding it is replaced; no traceback."""
    state.project({"name": "é😀"})
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "gateway.cli", "project", "ls"]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert b"??" in done.stdout


def test_start_up_is_light() -> None:
    """A client verb imports neither the server nor what the server needs."""
    code = "import gateway.cli, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"trio", "quart", "hypercorn", "msgspec", "asyncio", "subprocess"}
