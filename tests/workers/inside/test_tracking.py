"""What a model tracks of its predictions, and how it travels with their answers."""

import json
import re
from typing import Any

import pytest

from tests.faults.matrix import fault
from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import (
    ANSWER,
    CRNS,
    PREDICT,
    RAISED,
    READY,
    TRACKED,
    Conversation,
)
from workers.replica.wire import LARGEST

MODEL = '''
import collections, datetime, decimal, functools, sys, threading, time
import cdsw
from cml import models_v1, metrics_v1

class Scalar:
    """As numpy.float64."""
    def __init__(self, value):
        self.value = value
    def tolist(self):
        return self.value

Point = collections.namedtuple("Point", "x y")
loop = []
loop.append(loop)

def deep(levels):
    value = None
    for _ in range(levels):
        value = [value]
    return value

cdsw.track_metric(3, b"outside of a prediction it is ignored")

def track_many(name):
    for number in range(300):
        cdsw.track_metric(name, [Scalar(number), {"at": Scalar(float("nan"))}, Point(1, 2)])

@cdsw.model_metrics
def inner(args):
    cdsw.track_metric("inner", args)
    return args

@models_v1.cml_model(metrics=True)
def predict(args):
    """A docstring."""
    for pair in args.get("track", []):
        metrics_v1.track_metric(*eval(pair))
    if args.get("inner"):
        return [inner(1), inner(2)]
    if args.get("thread"):
        thread = threading.Thread(target=cdsw.track_metric, args=("in a thread", 1))
        thread.start()
        thread.join()
    if args.get("crowd"):
        sys.setswitchinterval(1e-6)
        threads = [threading.Thread(target=track_many, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        track_many("main")
        for thread in threads:
            thread.join()
    if args.get("raise"):
        raise ValueError("as told")
    if args.get("jump"):
        jumped = time.time_ns() + args["jump"] * 10**9
        time.time_ns = lambda: jumped
    time.sleep(args.get("sleep", 0))
    return args.get("give")

@cdsw.cml_model
def plain(args):
    cdsw.track_metric("lost", args)
    return args

def by_way(args):
    return inner(args)["prediction"]

def twice(args):
    cdsw.track_metric("before", "any page")
    first, told = inner(args), inner(args + 1)
    cdsw.track_metric("between", args)
    return [first, told, predict({"inner": True, "track": ["('all', 1)"]})]

@functools.wraps(inner)
def around(args):
    return {"around": inner(args)}

class Slots:
    __slots__ = ()
    def __call__(self, args):
        return args

slots = Slots()

early = predict({"give": 5})

def told_early(args):
    return early
'''


def frames(replica: Conversation, argument: object, number: int) -> tuple[Any, Any]:
    """The metrics and the answer of a prediction."""
    replica.send(PREDICT, number, json.dumps(argument).encode())
    tracked, answer = replica.receive(), replica.receive()
    assert (tracked.kind, answer.kind) == (TRACKED, ANSWER), (tracked, answer)
    assert tracked.id == answer.id == number
    return tracked.body, answer.body


@pytest.fixture
def model(converse: Converse, write_model: Any) -> Conversation:
    replica = converse()
    assert replica.start(write_model(MODEL), "model.py", "predict").kind == READY
    return replica


def test_metrics_are_sent_before_the_answer(model: Conversation) -> None:
    """Tracked metrics come right before the answer, which has the uuid; each prediction has its own
    metrics, and one that fails has none."""
    body, answer = frames(model, {"track": ["('a', 1)", "('b', [None])"], "give": 8}, 1)
    uuid = body.pop("predictionUuid")
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", uuid
    )
    assert answer == {"model_deployment_crn": CRNS["deployment"], "prediction": 8, "uuid": uuid}
    assert list(answer) == ["model_deployment_crn", "prediction", "uuid"]
    assert body.pop("metrics") == {"a": 1, "b": [None]}
    assert body["endTimeStampMs"] - body["startTimeStampMs"] >= 0
    assert list(body) == ["startTimeStampMs", "endTimeStampMs"]
    raised = model.predict({"track": ["('a', 1)"], "raise": True}, 2)
    assert raised.kind == RAISED
    body, answer = frames(model, {"sleep": 0.05}, 3)
    assert body["metrics"] == {}
    assert body["endTimeStampMs"] - body["startTimeStampMs"] >= 49
    assert body["predictionUuid"] == answer["uuid"] != uuid


def test_calls_of_one_prediction_share_its_metrics(model: Conversation) -> None:
    """All decorated calls and all threads of a prediction share its uuid and its metrics; the last
    value of a key counts."""
    body, answer = frames(model, {"inner": True, "track": ["('inner', 0)"]}, 1)
    assert body["metrics"] == {"inner": 2}
    assert {r["uuid"] for r in answer["prediction"]} == {answer["uuid"], body["predictionUuid"]}
    body, _ = frames(model, {"thread": True}, 2)
    assert body["metrics"] == {"in a thread": 1}
    body, _ = frames(model, {"crowd": True}, 3)
    assert body["metrics"] == {
        name: [299, {"at": None}, [1, 2]] for name in ("a", "b", "c", "d", "main")
    }


def test_metrics_are_encoded_like_responses(model: Conversation) -> None:
    """Every value that a function may return can be tracked, as it is at that moment."""
    pairs = {
        "Scalar(1.5)": 1.5,
        "Scalar([1, float('nan')])": [1, None],
        "Point(1, 2)": [1, 2],
        "float('inf')": None,
        "decimal.Decimal('0.5')": 0.5,
        "datetime.datetime(2026, 1, 2)": "2026-01-02T00:00:00",
        "{1: 'x'}": {"1": "x"},
        "'größe'": "größe",
        "'\\U0001f600'": "\U0001f600",
        "[[]] * 900 + ['[' * 900]": [[]] * 900 + ["[" * 900],
    }
    track = [f"({said!r}, {said})" for said in pairs]
    body, _ = frames(model, {"track": track}, 1)
    assert body["metrics"] == pairs


def test_tracked_lone_surrogate_is_replaced(model: Conversation) -> None:
    """A lone surrogate, which has no form in UTF-8, is tracked as the replacement character."""
    track = ["('input', {'\\ud83d': 'a\\udc00'})", "('\\udfff', '\\\\ud800 \\U0001f600')"]
    body, _ = frames(model, {"track": track}, 1)
    assert body["metrics"] == {
        "input": {"\ufffd": "a\ufffd"},
        "\ufffd": "\\ud800 \U0001f600",
    }


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("(3, 1)", "track_metric: the key 3 is of type 'int', no str"),
        ("('a', b'')", "track_metric('a'): at $: a value of type 'bytes' cannot be said in JSON"),
        ("('a', [int('9' * 4300), 10**4300])", "track_metric('a'): "),
        ("('a', loop)", "track_metric('a'): at $[0]: a value that holds itself cannot"),
        ("('a', deep(501))", "track_metric('a'): the value is nested too deep to be kept"),
        ("('a', deep(100_000))", "track_metric('a'): the value is nested too deep to be said"),
        ("('a', 'x' * 260_000)", "track_metric('a'): what is tracked of one prediction may be"),
    ],
)
def test_invalid_metric_is_the_models_error(
    converse: Converse, write_model: Any, pair: str, message: str
) -> None:
    """A bad key or value raises where it is tracked; the error names the key and the place in the
    value."""
    replica = converse()
    assert replica.start(write_model(MODEL), "model.py", "predict").kind == READY
    raised = replica.predict({"track": ["('ok', 1)", pair]})
    assert raised.kind == RAISED
    assert message in raised.body["message"]


def test_largest_metrics_fit_their_frame(converse: Converse, write_model: Any) -> None:
    """The largest metrics that are accepted fit a frame that the gateway accepts; refused metrics
    whose error the model caught are counted."""
    source = """
import cdsw
from predictd_inside.tracking import MOST_BYTES, MOST_KEYS

@cdsw.model_metrics
def predict(args):
    for number in range(MOST_KEYS - 1):
        cdsw.track_metric(f"{number:03}", 0)
    room = MOST_BYTES - (MOST_KEYS - 1) * len('"000":0') - len('"999":""')
    refused = []
    for key, value in (("999", "x" * (room + 1)), ("999", "x" * room), ("more", 0)):
        try:
            cdsw.track_metric(key, value)
        except ValueError as error:
            refused.append(str(error))
    return refused
"""
    replica = converse()
    assert replica.start(write_model(source), "model.py", "predict").kind == READY
    replica.send(PREDICT, 1, b"{}")
    tracked, answer = replica.receive(), replica.receive()
    size = len(json.dumps(tracked.body, separators=(",", ":")))
    assert LARGEST[TRACKED] - 1000 < size <= LARGEST[TRACKED]
    assert len(tracked.body["metrics"]) == 1000
    assert tracked.body["refused"] == 2
    too_long, too_many = answer.body["prediction"]
    assert "260000 bytes" in too_long
    assert "1000 keys" in too_many


def test_only_decorated_functions_track(converse: Converse, write_model: Any) -> None:
    """A function without metrics answers bare and tracks nothing; one that calls a decorated one
    has metrics; a file may call its own function while it is loaded."""
    root = write_model(MODEL)
    replica = converse()
    assert replica.start(root, "model.py", "plain").kind == READY
    assert replica.predict(7) == (ANSWER, 1, 7)
    replica = converse()
    assert replica.start(root, "model.py", "by_way").kind == READY
    body, answer = frames(replica, 7, 1)
    assert (body["metrics"], answer) == ({"inner": 7}, 7)
    replica = converse()
    assert replica.start(root, "model.py", "around").kind == READY
    body, answer = frames(replica, 7, 1)
    assert answer["around"]["uuid"] == body["predictionUuid"]
    replica = converse()
    assert replica.start(root, "model.py", "slots").kind == READY
    assert replica.predict(7).body == 7
    replica = converse()
    assert replica.start(root, "model.py", "told_early").kind == READY
    early = replica.predict(None).body
    assert early["prediction"] == 5
    assert early["model_deployment_crn"] == CRNS["deployment"]


def test_undecorated_function_has_one_uuid(converse: Converse, write_model: Any) -> None:
    """All decorated functions that an undecorated one calls, in sequence or nested, share one uuid
    and its metrics, also those tracked after the first call; the next prediction has another
    uuid."""
    replica = converse()
    assert replica.start(write_model(MODEL), "model.py", "twice").kind == READY
    uuids = set()
    for number in (1, 2):
        body, answer = frames(replica, 7, number)
        first, second, outer = answer
        told = {each["uuid"] for each in (first, second, outer, *outer["prediction"])}
        assert told == {body["predictionUuid"]}
        assert body["metrics"] == {"inner": 2, "between": 7, "all": 1}
        uuids |= told
    assert len(uuids) == 2


def test_replaced_value_does_not_count(model: Conversation) -> None:
    """Only the last value of a key counts for the bound, however often it is tracked."""
    body, _ = frames(model, {"track": ["('a', 'x' * 200_000)"] * 5 + ["('b', 'y' * 50_000)"]}, 1)
    assert [len(each) for each in body["metrics"].values()] == [200_000, 50_000]


@fault(
    "the clock jumps (durations)",
    injection="400 days, within a prediction",
    bound="its duration is right",
)
@pytest.mark.parametrize("jump", [400 * 86_400, -400 * 86_400])
def test_duration_ignores_the_wall_clock(model: Conversation, jump: int) -> None:
    """A wall clock that is set during a prediction does not change its duration."""
    body, _ = frames(model, {"jump": jump, "sleep": 0.05}, 1)
    assert 49 <= body["endTimeStampMs"] - body["startTimeStampMs"] < 60_000


def test_metrics_longer_than_the_pipe_arrive_whole(converse: Converse, write_model: Any) -> None:
    """Metrics and answers that take many writes arrive whole, one after the other."""
    source = (
        "import cdsw\n@cdsw.model_metrics\ndef predict(args):\n"
        "    cdsw.track_metric('long', 'm' * args)\n    return 'a' * args\n"
    )
    replica = converse()
    assert replica.start(write_model(source), "model.py", "predict").kind == READY
    for number, size in enumerate((10, 100_000, 250_000), 1):
        body, answer = frames(replica, size, number)
        assert (len(body["metrics"]["long"]), len(answer["prediction"])) == (size, size)
