"""How the model's function is called: what is awaited, and what is refused before it is served."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import (
    ANSWER,
    CRNS,
    FAILED,
    PREDICT,
    RAISED,
    READY,
    TRACKED,
    Conversation,
)

ASYNC = """
import asyncio, functools, os, types, warnings
warnings.simplefilter("error", RuntimeWarning)
async def predict(args):
    await asyncio.sleep(0)
    return args
class Model:
    async def __call__(self, args):
        return await predict(args)
    async def method(self, args):
        return await predict(args)
    @types.coroutine
    def old(self, args):
        yield
        return args
instance, method, old = Model(), Model().method, Model().old
partial = functools.partial(Model().method)
def decorator(function):
    @functools.wraps(function)
    def decorated(*args, **kwargs):
        return function(*args, **kwargs)
    return decorated
decorated = decorator(predict)
@decorator
def plain(args):
    return args
"""


@pytest.mark.parametrize(
    "function", ["predict", "instance", "method", "old", "partial", "decorated", "plain"]
)
def test_an_async_function_is_awaited(converse: Converse, write_model: Any, function: str) -> None:
    """`async def` is answered as `def` is, in every form in which it can be the function."""
    replica = converse()
    assert replica.start(write_model(ASYNC), "model.py", function).kind == READY
    for number in range(3):
        assert replica.predict(number, number + 1)[::2] == (ANSWER, number)
    replica.hang_up()
    assert replica.exit_status() == 0
    assert replica.stderr == ""


def test_one_loop_serves_all_predictions(converse: Converse, write_model: Any) -> None:
    """What the file or an earlier call bound to the loop works in later ones, and tasks go on while
    no prediction is made."""
    root = write_model(
        "import asyncio\n"
        "loop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\n"
        "async def make():\n    return asyncio.Lock(), asyncio.Event()\n"
        "lock, event = loop.run_until_complete(make())\n"
        "beats = []\n"
        "async def beat():\n"
        "    while len(beats) < 5:\n"
        "        await asyncio.sleep(0.001)\n"
        "        beats.append(1)\n"
        "    open('beaten', 'w').close()\n"
        "    await event.wait()\n"
        "async def predict(args):\n"
        "    async with lock:\n"
        "        if args == 'begin':\n"
        "            global task\n"
        "            task = asyncio.ensure_future(beat())\n"
        "        return [asyncio.get_running_loop() is loop, len(beats)]\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict("begin").body[0] is True
    while not (root / "beaten").exists():  # nothing is asked of the replica meanwhile
        os.sched_yield()
    assert replica.predict("end").body == [True, 5]


def test_loop_ends_with_the_replica(converse: Converse, write_model: Any) -> None:
    """When a replica is told to end, handlers of SIGTERM run and tasks are cancelled."""
    root = write_model(
        "import asyncio, signal\n"
        "async def task():\n"
        "    try:\n        await asyncio.sleep(1000)\n"
        "    finally:\n        print('task closed')\n"
        "async def predict(args):\n"
        "    loop = asyncio.get_running_loop()\n"
        "    loop.add_signal_handler(signal.SIGTERM, print, 'handled')\n"
        "    global running\n"
        "    running = asyncio.ensure_future(task())\n"
        "    await asyncio.sleep(0)\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict(None).kind == ANSWER
    replica.hang_up()
    assert replica.exit_status() == 0
    assert sorted(replica.stdout.splitlines()[-2:]) == ["handled", "task closed"]


def test_an_async_exception_is_an_answer(converse: Converse, write_model: Any) -> None:
    """What is raised after an `await` is told as any exception is, a cancellation too."""
    root = write_model(
        "import asyncio\n"
        "async def predict(args):\n"
        "    await asyncio.sleep(0)\n"
        "    if args:\n        raise ValueError(args)\n"
        "    asyncio.current_task().cancel()\n"
        "    await asyncio.sleep(1000)\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    assert replica.predict("as told")[::2] == (
        RAISED,
        {"type": "ValueError", "message": "as told"},
    )
    assert replica.predict("")[::2] == (
        RAISED,
        {"type": "RuntimeError", "message": "the prediction was cancelled by the model itself"},
    )
    assert replica.predict("again").kind == RAISED
    assert "predictd_inside" not in replica.stderr


def test_an_async_function_can_be_tracked(converse: Converse, write_model: Any) -> None:
    """`model_metrics` and `track_metric` work in `async def` as in `def`."""
    root = write_model(
        "import asyncio, cdsw\n@cdsw.model_metrics\nasync def predict(args):\n"
        "    await asyncio.sleep(0)\n    cdsw.track_metric('input', args)\n    return args\n"
    )
    replica = converse()
    assert replica.start(root, "model.py", "predict").kind == READY
    replica.send(PREDICT, 1, b"7")
    tracked, answer = replica.receive(), replica.receive()
    assert (tracked.kind, tracked.body["metrics"]) == (TRACKED, {"input": 7})
    assert answer.body == {
        "model_deployment_crn": CRNS["deployment"],
        "prediction": 7,
        "uuid": tracked.body["predictionUuid"],
    }


def test_model_may_install_uvloop(tmp_path: Path, write_model: Any) -> None:
    """A model that installs uvloop is served by it."""
    root = write_model(
        "import asyncio, uvloop\nasyncio.set_event_loop_policy(uvloop.EventLoopPolicy())\n"
        "async def predict(args):\n    return type(asyncio.get_running_loop()).__module__\n"
    )
    replica = Conversation(Path(sys.executable), tmp_path, {})
    try:
        assert replica.start(root, "model.py", "predict").kind == READY
        assert replica.predict(None).body.startswith("uvloop")
    finally:
        replica.close()


SIGNATURES = """
import functools, cdsw
def one(args): ...
def named(args, *, more=None, **rest): ...
def optional(args=None, more=2): ...
def any_number(*args): ...
def none(): ...
def two(first, second): ...
def keyword(args, *, needed): ...
def only_keyword(*, args): ...
class Model:
    def one(self, args): ...
    def two(self, first, second): ...
    def none(self): ...
    def __call__(self): ...
    @staticmethod
    def static(args): ...
method, bad_method, no_method, instance = Model().one, Model().two, Model().none, Model()
static = Model().static
filled, unfilled = functools.partial(two, 1), functools.partial(two)
builtin = len
@cdsw.model_metrics
def tracked(first, second): ...
def inject(function):
    return functools.wraps(function)(lambda args: function(args, 2))
injected = inject(two)
def generator(args):
    yield args
async def async_generator(args):
    yield args
generating = cdsw.model_metrics(generator)
"""
FIT = [
    "one",
    "named",
    "optional",
    "any_number",
    "method",
    "static",
    "filled",
    "builtin",
    "injected",
]
UNFIT = {
    "none": "none() is called with one argument",
    "two": "two(first, second) is called with one argument",
    "keyword": "keyword(args, *, needed) is called with one argument",
    "only_keyword": "only_keyword(*, args) is called",
    "bad_method": "bad_method(first, second) is called",
    "no_method": "no_method() is called",
    "instance": "instance() is called",
    "unfilled": "unfilled(first, second) is called",
    "tracked": "tracked(first, second) is called",
    "generator": "'generator' is a generator function (it has a `yield`)",
    "async_generator": "'async_generator' is a generator function (it has a `yield`)",
    "generating": "'generating' is a generator function (it has a `yield`)",
}


@pytest.mark.parametrize("function", FIT)
def test_function_that_accepts_one_argument_is_served(
    converse: Converse, write_model: Any, function: str
) -> None:
    """Every function that accepts one argument can be served."""
    assert converse().start(write_model(SIGNATURES), "model.py", function).kind == READY


@pytest.mark.parametrize(("function", "message"), UNFIT.items())
def test_function_that_cannot_be_called_is_refused(
    converse: Converse, write_model: Any, function: str, message: str
) -> None:
    """A function that would fail at every call fails before it is served, with its signature."""
    failed = converse().start(write_model(SIGNATURES), "model.py", function)
    assert (failed.kind, failed.body["type"]) == (FAILED, "TypeError")
    assert failed.body["message"].startswith(message)
