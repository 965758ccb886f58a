"""Completion, by real shells on a terminal."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State

PATIENCE = 20.0
START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SOURCE = {
    "bash": 'eval "$(predictd completion bash)"',
    "zsh": 'autoload -U compinit; compinit -u; eval "$(predictd completion zsh)"',
    "fish": "predictd completion fish | source",
}


class Shell:
    """A shell on a terminal of its own."""

    def __init__(self, name: str) -> None:
        self.terminal, inside = pty.openpty()
        # `setsid --ctty` makes it the terminal of the shell.
        command = ["setsid", "--ctty", *START[name]]
        self.process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside)
        os.close(inside)
        self.type(f"{SOURCE[name]}\n")
        self.type("echo r''eady\n")
        self.until("ready")

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def until(self, expected: str) -> str:
        """What it shows until it shows this."""
        shown = ""
        end = time.monotonic() + PATIENCE
        while expected not in shown:
            assert time.monotonic() < end, f"no {expected!r} in {shown!r}"
            if select.select([self.terminal], [], [], 0.1)[0]:
                text = os.read(self.terminal, 65536).decode("utf-8", "replace")
                shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r", "", text)
        return shown

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


@pytest.fixture
def shell(
    request: pytest.FixtureRequest, state: State, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    """A shell beside a gateway, in a project's folder."""
    name = request.param
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for variable, value in {"PATH": path, "TERM": "xterm", "HOME": str(folder.parent)}.items():
        monkeypatch.setenv(variable, value)
    shell = Shell(name)
    yield shell
    shell.close()


@pytest.mark.parametrize("shell", START, indirect=True)
def test_a_shell_completes_verbs_options_and_models(
    shell: Shell, state: State, predictd: Predictd
) -> None:
    """The tab key completes a verb, a verb of a noun, an option, and a model of the gateway."""
    predictd("deploy", "model.py:add", "--name", "adding")
    shell.type("echo predictd roll\t")
    shell.until("roll")
    shell.type("\x15")  # only the command's own words are completed
    for typed, completed in {
        "predictd rollb": "predictd rollback",
        "predictd experiment com": "predictd experiment compare",
        "predictd logs --fol": "predictd logs --follow",
        "predictd call add": "predictd call adding",
    }.items():
        shell.type(f"{typed}\t")
        shell.until(completed)
        shell.type("\x15")


def completions(line: str) -> set[str]:
    """What the shell is answered for this line."""
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    command = [sys.executable, "-m", "gateway.cli"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)
    return {each.strip() for each in done.stdout.splitlines()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("predictd project r", {"rm"}),
        ("predictd logs --stream std", {"stdout", "stderr"}),
        ("predictd call sums/", {"sums/add"}),
        ("predictd project show su", {"sums"}),
        ("predictd whoami --context lo", {"local"}),
        ("predictd deploy mod", {"model.py:"}),
        ("predictd deploy model.py:", {"model.py:add"}),
        ("predictd audit --who ", set()),
        ("predictd help rollb", {"rollback"}),
    ],
)
def test_what_is_completed(
    line: str,
    expected: set[str],
    state: State,
    folder: Path,
    predictd: Predictd,
) -> None:
    """Names come from the gateway, functions from the folder, choices from the grammar."""
    predictd("deploy", "model.py:add")
    assert completions(line) == expected


def test_no_gateway_completes_no_names(data: Path) -> None:
    """Without a gateway names are not completed, and nothing is printed."""
    assert completions("predictd call a") == set()


def test_completion_names_the_shells(predictd: Predictd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument it is the user's shell; an unknown one is refused."""
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert predictd("completion", "--json").json["shell"] == "fish"
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    outcome = predictd("completion")
    assert (outcome.code, "bash, zsh, fish" in outcome.err) == (2, True)
