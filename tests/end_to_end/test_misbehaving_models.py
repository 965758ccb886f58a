"""A model that misbehaves gets its documented answer and does not affect others."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.client import Json
from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.served_gateway import Gateway, Prober, copy, write

SECONDS = 1.5

# What it does: the HTTP status, the code, and a part of the message; or the answer.
DEEDS: dict[str, tuple[int, str, str]] = {
    "raise": (500, "model.error", "unexpected model shutdown: ValueError: as told"),
    "exit": (502, "model.shutdown", "unexpected model shutdown: the process exited with status 3"),
    "os_exit": (502, "model.shutdown", "exited with status 4"),
    "segfault": (502, "model.shutdown", "killed by SIGSEGV"),
    "hang": (504, "model.timeout", "did not end within"),
    "hang_in_c": (504, "model.timeout", "did not end within"),
    "stop": (504, "model.timeout", "did not end within"),
    "junk": (502, "model.shutdown", "it broke the protocol with the gateway"),
    "unencodable": (500, "model.error", "TypeError: at $.not[0]"),
}
ANSWERS: list[tuple[Json, Any]] = [
    ({"do": "flood", "kilobytes": 5000}, "flooded"),
    ({"do": "nan"}, [None, None, 1.5]),
    ({"do": "big", "bytes": 4_000_000}, "x" * 4_000_000),
    ({"do": "stdout", "text": "no end of line"}, None),
]


class Bench:
    """One gateway with a model that misbehaves and one that must never notice."""

    def __init__(self, gateway: Gateway, bad: Json, good: Json) -> None:
        self.gateway, self.bad, self.good = gateway, bad, good


@pytest.fixture(scope="module")
def bench(new_folder: NewFolder) -> Iterator[Bench]:
    root = new_folder("badly")
    with Gateway(root / "data", model_request_timeout=str(SECONDS)) as gateway:
        bad = gateway.serve(copy("badly", root / "badly"), "badly.py", "behave")
        good = write(root / "good", {"echo.py": "def echo(args):\n    return args\n"})
        yield Bench(gateway, bad, gateway.serve(good, "echo.py", "echo"))


@fault(
    "a model raises, exits, crashes, hangs, freezes, babbles on the wire",
    injection=(
        "nine deeds of a model in the midst of a request, one of them in C with the "
        "interpreter's lock held"
    ),
    bound="its caller gets the documented error, the next request is served, others never notice",
)
@pytest.mark.parametrize("deed", DEEDS)
def test_what_fails(bench: Bench, deed: str) -> None:
    """The caller gets the documented error; the next request is served; others never notice."""
    status, code, message = DEEDS[deed]
    with Prober(bench.gateway, [bench.good], {}).running():
        told = bench.gateway.call(bench.bad, {"do": deed})
        after = bench.gateway.call(bench.bad, {"do": "echo"})
    assert told.status == told.body["StatusCode"] == status
    assert told.body["success"] is False
    assert told.body["error"] == told.body["errors"]
    assert told.body["error"]["code"] == code
    assert message in told.body["message"]
    assert "Traceback" not in told.body["message"]
    assert told.body["ReplicaID"].startswith("behave-")
    assert told.body["request_id"] == told.headers["X-Request-Id"]
    assert (after.status, after.body["response"]) == (200, {"do": "echo"})


@pytest.mark.parametrize(("request_", "answer"), ANSWERS, ids=lambda value: str(value)[:20])
def test_odd_but_valid_prediction_is_answered(bench: Bench, request_: Json, answer: object) -> None:
    """A flood of output, NaN, a long answer: the caller gets the answer; others are not
    affected."""
    with Prober(bench.gateway, [bench.good], {}).running():
        told = bench.gateway.call(bench.bad, request_)
    assert (told.status, told.body["response"]) == (200, answer)
    assert bench.gateway.call(bench.bad, {"do": "echo"}).status == 200


def test_grandchild_is_killed_with_its_replica(bench: Bench) -> None:
    """The background processes of a model are killed with its replica."""
    before = set(bench.gateway.processes())
    # What the model is told as its number may be one in a namespace of its own.
    assert bench.gateway.call(bench.bad, {"do": "fork"}).status == 200
    left = set(bench.gateway.processes()) - before
    assert left
    assert bench.gateway.call(bench.bad, {"do": "os_exit"}).status == 502
    assert bench.gateway.call(bench.bad, {"do": "echo"}).status == 200
    assert bench.gateway.cli("model", "stop", "behave").code == 0
    assert not left & set(bench.gateway.processes())
    assert bench.gateway.cli("model", "redeploy", "behave").code == 0


def test_command_line_reports_a_failing_model(bench: Bench) -> None:
    """A failing model is exit code 1, with the exception's text on stderr and none on stdout."""
    told = bench.gateway.cli("call", "behave", '{"do": "raise", "text": "naïve ☃"}')
    assert (told.code, told.out) == (1, "")
    assert "ValueError: naïve ☃" in told.err
