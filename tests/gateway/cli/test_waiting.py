"""What `--detach` and `--timeout` do: the command ends early, the work does not."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.cli.command import Argument
from gateway.cli.context import CommandFailed, Exit
from gateway.cli.parser import commands
from gateway.cli.time_limit import TimeLimitReached, time_limit
from gateway.cli.watch import detachable, poll
from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State


@pytest.fixture
def silent(data: Path) -> Iterator[None]:
    """A gateway that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        data.mkdir()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        (data / "gateway.json").write_text(json.dumps({"url": url, "pid": os.getpid()}))
        (data / "admin.key").write_text("key")
        yield


@pytest.mark.parametrize("line", ["call add {}", "model redeploy add", "build log add"])
def test_timeout_ends_any_wait(line: str, silent: None, predictd: Predictd) -> None:
    """A command that waits for a gateway ends at --timeout with exit code 124."""
    began = time.monotonic()
    outcome = predictd(*line.split(), "--timeout", "0.2s", "--json")
    assert outcome.code == 124
    assert 0.2 <= time.monotonic() - began < 10
    assert "--timeout" in outcome.json["error"]["message"]


@pytest.mark.parametrize("takes", [0.5, 1.7, 5.0, 15.0])
def test_end_of_work_is_seen_soon(takes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sees the end of what it waits for at most a tenth of its time later, with less than
    a hundred requests."""
    clock = SimpleNamespace(now=0.0, asked=0)

    def get(path: str) -> dict[str, bool]:
        clock.asked += 1
        return {"ready": clock.now >= takes}

    def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    client: Any = SimpleNamespace(get=get)
    next(each for each in poll(client, "/deployment") if each["ready"])
    assert clock.now <= 1.1 * takes
    assert clock.asked < 100


def test_every_verb_that_starts_work_can_be_detached() -> None:
    """Verbs that start work and wait have both options; those that only watch, a time-out."""
    both = {
        *("deploy", "rollback", "model redeploy", "model rebuild", "model restart", "model stop"),
        *("build create", "experiment run", "project create", "runtime create"),
    }
    timeout = {"build log", "experiment log", "call"}
    options = {
        " ".join(command.words): {
            name for each in command.arguments if isinstance(each, Argument) for name in each.names
        }
        for command in commands()
    }
    assert {verb for verb, names in options.items() if "--detach" in names} == both
    assert {verb for verb, names in options.items() if "--timeout" in names} >= both | timeout


def test_timeout_says_that_the_work_continues(data: Path) -> None:
    """Work that was started continues; the hint shows it again."""
    context: Any = SimpleNamespace(terminal=SimpleNamespace(is_animated=True))
    waits = detachable(context, "build 3", "`predictd build log m 3`", cancel=pytest.fail)
    with pytest.raises(CommandFailed) as failed, time_limit(0.05), waits:
        time.sleep(10)
    assert failed.value.exit_code is Exit.TIMED_OUT
    assert failed.value.message == "build 3 continues after the time-out"
    assert "`predictd build log m 3`" in failed.value.advice


def test_a_time_limit_ends_with_its_block() -> None:
    """After its block no signal comes, and the signal means what it meant before."""
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(0.05):
        pass
    time.sleep(0.1)
    assert signal.getsignal(signal.SIGALRM) is before
    with pytest.raises(TimeLimitReached), time_limit(0.01):
        time.sleep(10)


def test_detach_starts_the_work_and_returns(state: State, folder: Path, predictd: Predictd) -> None:
    """With --detach the result is what was started, in one document, without its end."""
    outcome = predictd("deploy", "model.py:add", "--detach", "--json")
    assert outcome.code == 0
    assert outcome.json["build"]["status"] != "built"
    assert outcome.json["deployment"]["status"] == "pending"
    outcome = predictd("model", "rebuild", "add", "--detach")
    assert "See it with `predictd status sums/add`." in outcome.out
    outcome = predictd("build", "create", "add", "--detach")
    assert "See it with `predictd build log sums/add 3`." in outcome.out
    outcome = predictd("experiment", "run", "--detach", "model.py")
    assert "See it with `predictd experiment log 1`." in outcome.out
