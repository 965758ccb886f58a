"""`cdsw` and `cml` outside of models: in sessions, and towards the gateway."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.inside.conftest import Converse
from tests.workers.inside.conversation import INSIDE, READY
from tests.workers.inside.played_gateway import Played

PACKAGES = INSIDE / "packages"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(python: Path, tmp_path: Path) -> Run:
    """`run(source, NAME=value...)` runs a script in a session that was shown our packages."""

    def run(source: str, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "script.py").write_text(source)
        return subprocess.run(
            [python, tmp_path / "script.py", *more],
            cwd=tmp_path,
            env={"PYTHONPATH": str(PACKAGES), "PYTHONDONTWRITEBYTECODE": "1", **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def told(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON that a script printed last."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


DEVELOPMENT = """
import json, time
import cdsw
from cml.metrics_v1 import *
from cml import models_v1, utils_v1, workers_v1

class Scalar:
    def tolist(self):
        return 0.5

began = int(time.time() * 1000)

@cdsw.model_metrics
def predict(args):
    "What it does."
    if args is None:
        raise ValueError("as told")
    track_metric("input", args)
    track_metrics("scalar", Scalar())
    return Scalar()

@models_v1.cml_model
def plain(args):
    track_metric("lost", args)
    return args

track_metric({}, b"")  # neither a run nor a prediction: nothing
cdsw.track_file("absent")
answers = [predict(number) for number in range(3)]
assert isinstance(answers[0]["prediction"], Scalar)
assert answers[0]["model_deployment_crn"] == dev_model_deployment_crn
assert (predict.__name__, predict.__doc__) == ("predict", "What it does.")
try:
    predict(None)
except ValueError:
    pass
assert plain(4) == 4
for answer in answers:
    track_delayed_metrics({"truth": Scalar(), "input": "new"}, answer["uuid"], dev=True)
ended = int(time.time() * 1000)
track_aggregate_metrics({"accuracy": Scalar()}, began, ended, dev_model_deploy_crn, dev=True)
window = dict(start_timestamp_ms=began, end_timestamp_ms=ended)
later, earlier = dict(start_timestamp_ms=ended + 1000), dict(end_timestamp_ms=began - 1)
rows = read_metrics(model_crn=dev_model_crn, **window, dev=True)["metrics"]
assert rows == cdsw.read_metrics(cdsw.dev_model_deployment_crn, began, ended, dev=True)["metrics"]
assert rows == cdsw.read_metrics(model_build_crn=dev_model_build_crn, dev=True)["metrics"]
assert not read_metrics(model_crn=dev_model_crn, **later, dev=True)["metrics"]
assert not read_metrics(model_crn=dev_model_crn, **earlier, dev=True)["metrics"]
assert not read_metrics(model_crn="another", dev=True)["metrics"]
both = dict(model_deployment_crn=dev_model_deployment_crn, dev=True)
assert rows == read_metrics(model_crn=dev_model_crn, **both)["metrics"]
assert not read_metrics(model_crn="another", **both)["metrics"]
print(json.dumps([began, ended, [answer["uuid"] for answer in answers], rows]))
"""


def test_session_keeps_metrics_in_memory(run: Run) -> None:
    """In a session decorated calls become rows like the gateway's: joined by what comes later,
    beside aggregates, in windows with both ends."""
    began, ended, uuids, rows = told(run(DEVELOPMENT))
    names = {
        "modelDeploymentCrn": "crn:cdp:ml:::workspace:dev/model-deployment",
        "modelBuildCrn": "crn:cdp:ml:::workspace:dev/model-build",
        "modelCrn": "crn:cdp:ml:::workspace:dev/model",
    }
    starts = [row["startTimeStampMs"] for row in rows]
    assert starts == sorted(starts)
    [aggregate] = [row for row in rows if not row["predictionUuid"]]
    assert aggregate == {
        **names,
        "predictionUuid": "",
        "startTimeStampMs": began,
        "endTimeStampMs": ended,
        "metrics": {"accuracy": 0.5},
    }
    predictions = [row for row in rows if row["predictionUuid"]]
    assert [row["predictionUuid"] for row in predictions] == uuids
    for row in predictions:
        assert row["metrics"] == {"input": "new", "scalar": 0.5, "truth": 0.5}
        assert set(row) == set(aggregate)
        assert began <= row["startTimeStampMs"] <= row["endTimeStampMs"] <= ended


ERRORS = """
import json
import cdsw
from cml import workers_v1

@cdsw.cml_model(metrics=True)
def predict(args):
    cdsw.track_metric(*args)

calls = [
    lambda: predict((1, 2)),
    lambda: predict(("a", b"")),
    lambda: cdsw.read_metrics(dev=True),
    lambda: cdsw.read_metrics("a"),
    lambda: cdsw.track_delayed_metrics({}, "unknown", dev=True),
    lambda: cdsw.track_delayed_metrics({}, 7, dev=True),
    lambda: cdsw.track_delayed_metrics([1], "unknown", dev=True),
    lambda: cdsw.track_aggregate_metrics({1: 2}, dev=True),
    lambda: cdsw.track_aggregate_metrics({"a": [b""]}, dev=True),
    lambda: cdsw.track_aggregate_metrics({}, 2, 1, dev=True),
    lambda: cdsw.track_aggregate_metrics({}, "soon", dev=True),
    lambda: cdsw.track_aggregate_metrics({}),
    lambda: cdsw.get_auth(),
    lambda: workers_v1.launch_workers(2, script="a.py"),
]
said = []
for call in calls:
    try:
        call()
    except Exception as problem:
        said.append([type(problem).__name__, str(problem)])
print(json.dumps(said))
"""
SAID = [
    ("TypeError", "track_metric: the key 1 is of type 'int', no str"),
    ("TypeError", "track_metric('a'): at $: a value of type 'bytes' cannot be said in JSON"),
    (
        "ValueError",
        "read_metrics: give one of model_deployment_crn, model_build_crn, model_crn",
    ),
    ("RuntimeError", "CDSW_API_URL is not set: "),
    ("RuntimeError", "no prediction of this session has the uuid 'unknown'"),
    ("TypeError", "track_delayed_metrics: prediction_uuid is of type 'int', no str"),
    ("TypeError", "track_delayed_metrics: metrics are of type 'list', no dict"),
    ("TypeError", "track_aggregate_metrics: the key 1 is of type 'int', no str"),
    ("TypeError", "track_aggregate_metrics: at $.a[0]: a value of type 'bytes' cannot be said"),
    ("ValueError", "track_aggregate_metrics: the window begins at 2, after 1"),
    ("TypeError", "start_timestamp_ms: 'soon' of type 'str' is no number of ms"),
    ("ValueError", "track_aggregate_metrics: give model_deployment_crn, or dev=True"),
    ("RuntimeError", "get_auth: CDSW_API_KEY is not set"),
    ("NotImplementedError", "launch_workers: predictd starts no workers"),
]


ASYNC = """
import asyncio, json
import cdsw
from cml.metrics_v1 import *

@cdsw.model_metrics
async def predict(args):
    track_metric("before", args)
    await asyncio.sleep(0.01 * (2 - args))
    track_metric("after", args)
    return args

async def main():
    return await asyncio.gather(predict(0), predict(1), predict(2))

answers = asyncio.run(main())
rows = read_metrics(model_crn=dev_model_crn, dev=True)["metrics"]
told = {row["predictionUuid"]: row["metrics"] for row in rows}
print(json.dumps([[a["prediction"], told[a["uuid"]]] for a in answers]))
"""


def test_concurrent_async_predictions_have_separate_metrics(run: Run) -> None:
    """In a session a decorated `async def` is awaited; the metrics of concurrent calls do not
    mix."""
    assert told(run(ASYNC)) == [[n, {"before": n, "after": n}] for n in range(3)]


def test_sdk_mistake_raises_the_documented_error(run: Run) -> None:
    """Each mistake raises the documented error, which names the function and the problem."""
    said = told(run(ERRORS))
    assert [kind for kind, _ in said] == [kind for kind, _ in SAID]
    for (_, text), (_, begins) in zip(said, SAID, strict=True):
        assert text.startswith(begins)


CALLS = """
import json
import cdsw
from cml.models_v1 import call_model
from cml.utils_v1 import get_auth

class Scalar:
    def tolist(self):
        return 0.5

said = [
    call_model("mkey", {"a": Scalar()}),
    call_model("mkey", [1], api_key=" another "),
    cdsw.read_metrics("crn:d/1", 1, 2.5, model_crn="crn:m/1"),
    cdsw.track_delayed_metrics({"truth": Scalar()}, "uuid"),
    cdsw.track_aggregate_metrics({"r2": 1}, 5, 6, "crn:d/1"),
    get_auth(),
]
for _ in range(4):
    try:
        call_model("mkey", 1)
    except RuntimeError as problem:
        said.append(str(problem))
print(json.dumps(said))
"""


def test_sdk_function_is_one_request(run: Run, played: Played) -> None:
    """Each function is one request with the environment's key (one for each page when reading); a
    refusal is a RuntimeError with the gateway's message."""
    refused = {"errors": {"code": "model.busy", "message": "x"}, "message": "x", "StatusCode": 429}
    unknown = {"error": "no", "code": 5, "message": "no such thing", "details": []}
    played.answers = [
        (200, b'{"success":true,"response":1}'),
        (200, b"{}"),
        (200, b'{"metrics":[{"modelCrn":"crn:m/1","a":1},{"modelCrn":"b"}],"next_page_token":"n"}'),
        (200, b'{"metrics":[{"modelCrn":"crn:m/1","a":2}],"next_page_token":""}'),
        (200, b"{}"),
        (200, b"{}"),
        (429, json.dumps(refused).encode()),
        (404, json.dumps(unknown).encode()),
        (502, b"<html>\xff"),
        (200, b"{}"),
    ]
    said = told(run(CALLS, CDSW_API_URL=played.url, CDSW_APIV2_KEY="k", CDSW_API_KEY="old"))
    window = "model_deployment_crn=crn%3Ad%2F1&start_timestamp_ms=1&end_timestamp_ms=2"
    metrics = f"/api/v2/metrics?{window}&page_size=10000"
    delayed = {"prediction_uuid": "uuid", "metrics": {"truth": 0.5}}
    aggregate = {
        "metrics": {"r2": 1},
        "start_timestamp_ms": 5,
        "end_timestamp_ms": 6,
        "model_deployment_crn": "crn:d/1",
    }
    assert played.asked[:6] == [
        ("POST", "/model", "Bearer k", {"accessKey": "mkey", "request": {"a": 0.5}}),
        ("POST", "/model", "Bearer another", {"accessKey": "mkey", "request": [1]}),
        ("GET", metrics, "Bearer k", None),
        ("GET", f"{metrics}&page_token=n", "Bearer k", None),
        ("POST", "/api/v2/metrics/delayed", "Bearer k", delayed),
        ("POST", "/api/v2/metrics/aggregate", "Bearer k", aggregate),
    ]
    assert said == [
        {"success": True, "response": 1},
        {},
        {"metrics": [{"modelCrn": "crn:m/1", "a": 1}, {"modelCrn": "crn:m/1", "a": 2}]},
        None,
        None,
        {"user": "old", "password": ""},
        "HTTP 429 model.busy: x",
        "HTTP 404: no such thing",
        "HTTP 502: <html>\ufffd",
    ]


def test_unreachable_gateway_is_named(run: Run) -> None:
    """Without an answer the error names the address; the wait for an answer is bounded."""
    source = "import cdsw\ncdsw.call_model('mkey', 1)"
    done = run(source, CDSW_API_URL="http://127.0.0.1:1/api/v1")
    assert "RuntimeError: predictd at http://127.0.0.1:1 did not answer: " in done.stderr
    done = run(source, CDSW_API_URL="localhost")
    assert "RuntimeError: CDSW_API_URL is 'localhost', which is no address" in done.stderr


def test_help_describes_every_sdk_function(run: Run) -> None:
    """help() describes every function that `cdsw` offers."""
    source = (
        "import cdsw, pydoc\n"
        "for name in cdsw.__all__:\n"
        "    thing = getattr(cdsw, name)\n"
        "    assert isinstance(thing, str) or len(thing.__doc__) > 20, name\n"
        "print(pydoc.render_doc(cdsw, renderer=pydoc.plaintext))\n"
    )
    done = run(source)
    assert done.returncode == 0, done.stderr
    for function in ("model_metrics", "track_file", "read_metrics", "call_model"):
        assert f"\n    {function}(" in done.stdout


OWN = "whose = 'the user'\n"


def test_module_of_the_user_comes_first(
    converse: Converse, write_model: Any, run: Run, tmp_path: Path
) -> None:
    """A module of the project, or an installed one, is never shadowed. Where there is none, ours is
    found, also in processes that the model starts."""
    model = (
        "import cdsw, json, multiprocessing, subprocess, sys\n"
        "import cml.models_v1\n"
        "def own(args):\n    return cdsw.whose\n"
        "def ours(args):\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        spawned = pool.apply(name, (cml.models_v1.cml_model,))\n"
        "    script = 'import cdsw; print(cdsw.cml_model.__name__)'\n"
        "    return [spawned, subprocess.check_output([sys.executable, '-c', script], text=True)]\n"
        "def name(function):\n    return function.__name__\n"
    )
    root = write_model(model)
    replica = converse()
    assert replica.start(root, "model.py", "ours").kind == READY
    assert replica.predict(None).body == ["cml_model", "cml_model\n"]
    write_model(OWN, "cdsw.py")
    replica = converse()
    assert replica.start(root, "model.py", "own").kind == READY
    assert replica.predict(None).body == "the user"
    # As in the processes that it starts, where ours come before what is installed.
    (tmp_path / "installed" / "cdsw").mkdir(parents=True)
    (tmp_path / "installed" / "cdsw" / "__init__.py").write_text("from .more import whose\n")
    (tmp_path / "installed" / "cdsw" / "more.py").write_text(OWN)
    (tmp_path / "installed" / "cml").mkdir()  # not a package: no reason to give way
    (tmp_path / "installed" / "cml" / "mine.py").write_text(OWN)
    source = (
        "import sys\nsys.path.append('installed')\n"
        "import cdsw, cdsw.more, cml.metrics_v1, cml.mine\n"
        "print(cdsw.whose, cdsw.__name__, cml.mine.whose)\n"
    )
    assert run(source).stdout == "the user cdsw the user\n"
    write_model(OWN, "cml/mine.py")
    write_model("import cml.models_v1, cml.mine\ndef own(args):\n    return cml.mine.whose\n")
    replica = converse()
    assert replica.start(root, "model.py", "own").kind == READY
    assert replica.predict(None).body == "the user"


EITHER = """
import json
try:
    import cml.utils_v1 as utils
    cdsw = utils._emulate_cdsw()
except ImportError:
    import cdsw
assert cdsw.__name__ == "cdsw" and cdsw.read_metrics
try:
    import cml.data_v1 as data
except ImportError as problem:
    print(json.dumps(str(problem)))
"""


def test_cml_projects_find_their_imports(run: Run) -> None:
    """The first imports of CML's own projects work: `cdsw` by way of `cml`; what does not exist is
    an ImportError that says so."""
    assert told(run(EITHER)).startswith("cml.data_v1: predictd has no data connections")
