"""`try` and `shell` on a real gateway: answers, tracebacks, a terminal, and nothing left."""

import fcntl
import os
import pty
import select
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Predictd
from tests.gateway.conftest import Samples
from tests.support.fake_admin_api import State
from tests.support.polling import until
from tests.support.r import r_prefix

PATIENCE = 60.0
FILE = "def add(args):\n    print('adds')\n    return args['a'] + args['b']\n"


@pytest.fixture
def tries(
    samples: Samples, data: Path, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Predictd]:
    """Runs commands on the gateway of the samples; deletes their project at the end."""
    monkeypatch.setenv("PREDICTD_DATA", str(samples.data))
    (folder / "model.py").write_text(FILE)
    yield predictd
    predictd("project", "rm", folder.name, "--yes", "--data", str(samples.data))


def test_function_is_tried(tries: Predictd) -> None:
    """What the function returns is JSON on stdout, what it prints is on stderr; no model is made.
    An exception is told with its traceback, and the exit status is 1."""
    outcome = tries("try", "model.py:add", '{"a": 1, "b": 2}')
    assert (outcome.code, outcome.out) == (0, "3\n"), outcome.err
    assert "adds\n" in outcome.err
    failed = tries("try", "model.py:add", "{}")
    assert (failed.code, failed.out) == (1, "")
    assert "Traceback (most recent call last)" in failed.err
    assert "error: model.py:add failed: KeyError: 'a'" in failed.err
    assert "hint: the traceback is above" in failed.err
    assert "hint: the request was null: give one as JSON" in tries("try", "model.py:add").err
    assert tries("project", "show", "sums", "--json").json["models"] == []


def test_model_of_the_project_file_is_tried(tries: Predictd, folder: Path) -> None:
    """`try NAME` takes file, function and example of predictd.toml; a given request wins."""
    declared = '[models.sum]\nfile = "model.py"\nfunction = "add"\nexample = { a = 1, b = 2 }\n'
    (folder / "predictd.toml").write_text(declared)
    assert tries("try", "sum").out == "3\n"
    assert tries("try", "sum", '{"a": 5, "b": 2}').out == "7\n"
    assert tries("try", "model.py:add").out == "3\n"
    outcome = tries("try", "smu")
    assert (outcome.code, "did you mean 'sum'?" in outcome.err) == (2, True)
    outcome = tries("try", "model.py")
    assert (outcome.code, "'model.py' names no function" in outcome.err) == (2, True)


def test_gpus_of_the_project_file_are_asked_for(tries: Predictd, folder: Path) -> None:
    """`try NAME` asks for the GPUs of predictd.toml, more than a machine has; `--gpus` wins."""
    declared = '[models.sum]\nfile = "model.py"\nfunction = "add"\ngpus = 99\n'
    (folder / "predictd.toml").write_text(declared)
    assert "asked 99" in tries("try", "sum").err
    assert "asked 98" in tries("try", "sum", "--gpus", "98").err
    assert tries("try", "sum", "--gpus", "0", '{"a": 1, "b": 2}').out == "3\n"


def test_mistyped_function_is_told_at_once(tries: Predictd) -> None:
    """A function that does not exist is told before an environment is made."""
    outcome = tries("try", "model.py:ad", "{}")
    assert outcome.code == 1
    assert "Did you mean 'add'?" in outcome.err
    assert "Creating an environment" not in outcome.err


def test_port_in_use_is_told_before_anything_is_sent(
    state: State, folder: Path, predictd: Predictd
) -> None:
    """A port that `--watch` cannot listen on is a usage error, and no session is opened for it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (taken.getsockname()[1], 700_000):
            outcome = predictd("try", "model.py:add", "--watch", "--port", str(port))
            assert outcome.code == 2
            assert f"error: cannot listen on port {port}: " in outcome.err
    assert not state.projects
    outcome = predictd("try", "model.py:add", "{}", "--port", "8000")
    assert (outcome.code, "--port is the port of --watch" in outcome.err) == (2, True)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "gateway.cli", *words]


def test_python_runs_what_a_pipe_types(tries: Predictd) -> None:
    """Without a terminal the shell reads its standard input to the end, and its exit status is that
    of the command."""
    typed = "import model; print(model.add({'a': 40, 'b': 2}))\nexit(3)\n"
    ended = subprocess.run(
        command("shell", "--python"), input=typed, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 3, ended.stderr
    assert "\n42" in ended.stdout


def test_shell_of_a_project_of_r_has_the_environment_of_its_models(
    tries: Predictd, folder: Path
) -> None:
    """A project with files of R and none of Python opens in an environment of R, unless a kernel is
    named."""
    r_prefix()
    (folder / "model.py").unlink()
    (folder / "model.R").write_text("add <- function(args) args$a + args$b\n")
    typed = 'test -e "$VIRTUAL_ENV/bin/Rscript"; exit $?\n'
    for words, status in (("shell",), 0), (("shell", "--kernel", "python3"), 1):
        ended = subprocess.run(
            command(*words), input=typed, capture_output=True, text=True, timeout=PATIENCE
        )
        assert ended.returncode == status, (words, ended.stderr)


class Screen:
    """A command in a terminal, and what it has shown."""

    def __init__(self, *words: str, size: tuple[int, int] = (33, 111)) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.process = subprocess.Popen(
            command(*words), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.shown = b""

    def until(self, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while text.encode() not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self._ours], [], [], 0.2)[0]:
                self.shown += os.read(self._ours, 65536)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def screen(tries: Predictd) -> Iterator[Screen]:
    """A shell of the folder's project."""
    screen = Screen("shell")
    try:
        screen.until("$ ")
        yield screen
    finally:
        screen.close()


def test_shell_is_a_terminal(screen: Screen) -> None:
    """The shell has the size of the user's terminal; Ctrl-C reaches what runs in it."""
    screen.type("stty size; ls\n")
    screen.until("33 111")
    screen.until("model.py")
    screen.type("sleep 1000\n")
    screen.until("sleep 1000\r\n")
    time.sleep(0.3)
    screen.type("\x03")
    screen.type("echo done $((40 + 2)); exit 7\n")
    screen.until("done 42")
    assert screen.process.wait(PATIENCE) == 7


def test_terminal_without_a_size_gets_a_shell(tries: Predictd) -> None:
    """A terminal that tells no size, as a serial line, gets a shell with the usual size."""
    screen = Screen("shell", size=(0, 0))
    try:
        screen.until("$ ")
        screen.type("stty size\n")
        screen.until("24 80")
    finally:
        screen.close()


def test_killed_client_leaves_nothing(samples: Samples, screen: Screen) -> None:
    """A client that is killed while the shell floods it leaves no process, and no copy."""
    screen.type("setsid -f sleep 1077; yes\n")
    screen.until("y\r\ny\r\n")
    screen.process.kill()
    until(lambda: not list((samples.data / "replicas").glob("session*")))
    until(lambda: not list((samples.data / "builds").glob("transient*")))
    found = subprocess.run(["pgrep", "-f", "sleep 1077"], capture_output=True, text=True)
    assert found.stdout == ""
