"""Models of R through the whole: beside Python's, under load, with metrics and large values."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.client import Json
from tests.faults.bench import Tables, descriptors, replica_pids, resident, thread_count, within
from tests.support.folders import NewFolder
from tests.support.polling import until
from tests.support.r import r_prefix
from tests.support.served_gateway import Gateway, copy, write

MODELS = {
    "echo.R": "echo <- function(args) args\n",
    "add.R": "add <- function(args) list(sum = args$a + args$b, nonce = args$nonce)\n",
    "add.py": "def add(args):\n    return args['a'] + args['b']\n",
}
REQUESTS, CALLERS, REPLICAS = 10_000, 16, 3


@pytest.fixture(scope="module")
def served(new_folder: NewFolder) -> Iterator[tuple[Gateway, dict[str, Json]]]:
    """A gateway with one project of both languages, and its models by file."""
    r_prefix()
    root = new_folder("languages")
    with Gateway(root / "data") as gateway:
        project = gateway.project(write(root / "both", MODELS))
        models = {}
        for file, function, replicas in (
            ("echo.R", "echo", 1),
            ("add.R", "add", REPLICAS),
            ("add.py", "add", 1),
        ):
            model = gateway.model(project, file.replace(".", " of "))
            build = gateway.build(model, file, function)
            assert build["status"] == "built", build["failure"]
            deployed = gateway.deploy(model, build, replicas=replicas)
            assert deployed["status"] == "deployed", deployed["failure"]
            models[file] = model
        yield gateway, models


def test_one_project_has_models_of_both_languages(
    served: tuple[Gateway, dict[str, Json]],
) -> None:
    """The ending of the file says which language serves it; both answer at once."""
    gateway, models = served
    assert gateway.call(models["add.py"], {"a": 3, "b": 5}).body["response"] == 8
    answer = gateway.call(models["add.R"], {"a": 3, "b": 5, "nonce": "x"}).body
    assert answer["response"] == {"sum": 8, "nonce": "x"}


def test_ten_thousand_predictions_are_right_and_leave_nothing(
    served: tuple[Gateway, dict[str, Json]],
) -> None:
    """10,000 predictions of 16 callers on 3 replicas are each right; afterwards the same processes
    serve, with the memory and the descriptors that they had after the first thousand."""
    gateway, models = served
    model = models["add.R"]
    until(lambda: len(replica_pids(gateway, model)) == REPLICAS)
    pids = sorted(replica_pids(gateway, model))

    def ask(numbers: range) -> None:
        with gateway.new_client() as client:
            for number in numbers:
                request = {"a": number, "b": 0.5, "nonce": str(number)}
                answer = client.call(model["access_key"], request)
                assert answer["response"] == {"sum": number + 0.5, "nonce": str(number)}

    def ask_all(first: int, last: int) -> None:
        parts = [range(first + caller, last, CALLERS) for caller in range(CALLERS)]
        with ThreadPoolExecutor(CALLERS) as callers:
            list(callers.map(ask, parts))

    def now() -> Tables:
        return Tables(len(gateway.processes()), descriptors(gateway), thread_count(gateway))

    ask_all(0, REQUESTS // 10)
    before, memory = now(), [resident(pid) for pid in pids]
    ask_all(REQUESTS // 10, REQUESTS)
    assert sorted(replica_pids(gateway, model)) == pids
    until(lambda: within(now(), before))
    for grown in (resident(pid) - kept for pid, kept in zip(pids, memory, strict=True)):
        assert grown < 20_000_000


@pytest.mark.parametrize(
    "value",
    [
        {"text": "Größe 🌸", "none": None, "nested": [{"a": []}, {"a": {}}], "empty": {}},
        [0.1, 1e-300, 12345678.9, 9007199254740991],
        "x" * 4_900_000,
        [random.Random(1).random() for _ in range(200_000)],
    ],
    ids=["nested", "numbers", "5 MB of text", "4 MB of numbers"],
)
def test_values_cross_both_ways(served: tuple[Gateway, dict[str, Json]], value: object) -> None:
    """Values of each kind and of the largest request come back from R as they were."""
    gateway, models = served
    answer = gateway.call(models["echo.R"], value)
    assert answer.status == 200
    assert answer.body["response"] == value


def test_model_of_r_has_metrics(tmp_path: Path, gateway: Gateway) -> None:
    """A model of R tracks its predictions; another reads them and adds to them, with nothing but
    its environment."""
    r_prefix()
    project = gateway.project(copy("tracked", tmp_path / "tracked"))
    made = {}
    for function in ("predict", "sdk"):
        model = made[function] = gateway.model(project, function)
        build = gateway.build(model, "tracked.R", function)
        deployment = gateway.deploy(model, build)
        assert deployment["status"] == "deployed", deployment["failure"]
        if function == "predict":
            crn = deployment["crn"]
    answer = gateway.call(made["predict"], 4.5).body["response"]
    assert (answer["prediction"], answer["model_deployment_crn"]) == (4.5, crn)
    assert gateway.call(made["predict"], "raise").status == 500
    asked = {"crn": crn, "uuid": answer["uuid"], "truth": 7}
    found = gateway.call(made["sdk"], asked).body["response"]
    by_uuid = {row["predictionUuid"]: row["metrics"] for row in found}
    assert by_uuid == {answer["uuid"]: {"input": 4.5, "truth": 7}, "": {"mean": 0.5}}
