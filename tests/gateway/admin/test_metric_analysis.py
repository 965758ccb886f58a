"""What tracked values say together, over HTTP: of real predictions, with truth that came later."""

import json
from typing import Any

import pytest

from tests.support.browsers import fresh_name
from tests.support.gateway import PROJECTS, Gateway, refusal


class Tracked:
    """A model with predictions of 0 to 11, each a third of the truth."""

    def __init__(self, gateway: Gateway, crns: dict[str, str], starts: list[int]) -> None:
        self.gateway = gateway
        self.crns = crns
        self.starts = starts

    async def get(self, what: str, **query: str | int) -> Any:
        return await self.gateway.get(f"/metrics/{what}", model_crn=self.crns["model"], **query)


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """What the first test deploys, for all."""
    return {}


@pytest.fixture
async def tracked(shared: Gateway, made: dict[str, Any]) -> Tracked:
    if not made:
        project = await shared.project(PROJECTS / "tracked", name=fresh_name())
        model = await shared.model(project, "predict")
        deployment = await shared.deployed(await shared.built(model, "tracked.py:predict"))
        key = await shared.key(model)
        for n in range(12):
            answer = await shared.call(key, {"n": n, "even": n % 2 == 0})
            uuid = answer.json()["response"]["uuid"]
            truth = {"truth": {"n": 3 * n, "even": n < 6}}
            await shared.post("/metrics/delayed", {"prediction_uuid": uuid, "metrics": truth})
        made["model"] = (await shared.get(model))["crn"]
        made["deployment"] = (await shared.get(deployment))["crn"]
        await shared.post(
            "/metrics/aggregate",
            {
                "model_deployment_crn": made["deployment"],
                "metrics": {"mean": 1},
                "start_timestamp_ms": 5,
            },
        )
    rows = (await shared.get("/metrics/latest", model_crn=made["model"]))["metrics"]
    starts = [row["startTimeStampMs"] for row in reversed(rows)]
    return Tracked(shared, made, starts)


async def test_summary_of_tracked_values(tracked: Tracked) -> None:
    """Each value by its name, with its distribution; aggregates are not among them."""
    found = await tracked.get("summary")
    assert (found["records"]["records"], found["records"]["read"]) == (12, 12)
    assert found["records"]["first_ms"] == tracked.starts[0]
    assert (found["reference"], found["not_shown"]) == (None, 0)
    values = {each["name"]: each for each in found["values"]}
    assert list(values) == ["input.even", "input.n", "truth.even", "truth.n"]
    numbers = values["truth.n"]["numbers"]
    assert (numbers["count"], numbers["mean"], numbers["p50"]) == (12, 16.5, 16.5)
    assert (numbers["min"], numbers["max"]) == (0, 33)
    assert sum(values["truth.n"]["histogram"]["counts"]) == 12
    assert values["input.even"]["labels"] == [
        {"label": "false", "count": 6, "reference_count": None},
        {"label": "true", "count": 6, "reference_count": None},
    ]
    none = await tracked.get("summary", end_timestamp_ms=10)
    assert (none["records"]["records"], none["values"]) == (0, [])


async def test_summary_beside_a_reference(tracked: Tracked) -> None:
    """A reference is a window, a deployment, or both; few values have no drift."""
    middle = tracked.starts[6]
    window = {"start_timestamp_ms": middle, "reference_end_timestamp_ms": middle - 1}
    found = await tracked.get("summary", **window)
    assert (found["records"]["records"], found["reference"]["records"]) == (6, 6)
    value = next(each for each in found["values"] if each["name"] == "input.n")
    assert (value["reference_count"], value["reference_numbers"]["max"]) == (6, 5)
    assert value["drift"] is None
    same = await tracked.get("summary", reference_model_deployment_crn=tracked.crns["deployment"])
    assert {each["drift"]["level"] for each in same["values"]} == {"stable"}


async def test_series_of_tracked_values(tracked: Tracked) -> None:
    """Spans have the count and mean of their numbers, and null where there are none."""
    found = await tracked.get("series", spans=7)
    assert len(found["times"]) == 7
    assert [each["name"] for each in found["numbers"]] == ["input.n", "truth.n"]
    assert found["labels"] == []
    (numbers,) = (await tracked.get("series", spans=7, name="input.n"))["numbers"]
    assert sum(numbers["count"]) == 12
    total = sum(n * (mean or 0) for n, mean in zip(numbers["count"], numbers["mean"], strict=True))
    assert total == pytest.approx(66)
    labels = (await tracked.get("series", name="input.even"))["labels"]
    assert {each["label"]: sum(each["count"]) for each in labels} == {"true": 6, "false": 6}


async def test_pairs_of_tracked_values(tracked: Tracked) -> None:
    """A prediction beside its truth: errors, correlation, points; labels that are equal."""
    found = await tracked.get("pairs", x="input.n", y="truth.n")
    assert (found["both"], len(found["points"])) == (12, 12)
    numbers = found["numbers"]
    assert (numbers["mean_error"], numbers["mean_absolute_error"]) == (-11, 11)
    assert numbers["correlation"] == pytest.approx(1)
    assert sum(found["count"]) == 12
    labels = await tracked.get("pairs", x="input.even", y="truth.even")
    assert (labels["numbers"], labels["equal_labels"]) == (None, 6)
    assert sum(n for _, _, n in labels["cells"]) == 12
    none = await tracked.get("pairs", x="input.n", y="nothing")
    assert (none["both"], none["points"], none["numbers"]) == (0, [], None)
    answer = await tracked.gateway.admin.get(
        "/metrics/pairs", params={"model_crn": tracked.crns["model"], "x": "a"}
    )
    assert refusal(answer) == (400, "argument.invalid")


async def test_latest_predictions_and_aggregates(tracked: Tracked) -> None:
    """The newest are first, in pages; aggregates are a list of their own."""
    found = await tracked.get("latest", page_size=5)
    assert [row["metrics"]["input"]["n"] for row in found["metrics"]] == [11, 10, 9, 8, 7]
    rest = await tracked.get("latest", page_token=found["next_page_token"])
    assert [row["metrics"]["input"]["n"] for row in rest["metrics"]] == [6, 5, 4, 3, 2, 1, 0]
    assert rest["next_page_token"] == ""
    (aggregate,) = (await tracked.get("latest", of="aggregates"))["metrics"]
    assert (aggregate["metrics"], aggregate["startTimeStampMs"]) == ({"mean": 1}, 5)


async def test_export_as_json(tracked: Tracked) -> None:
    """A list of the rows that JSON Lines has; of none an empty list."""
    query = {"model_crn": tracked.crns["model"]}
    lines, whole, none = [
        (await tracked.gateway.admin.get("/metrics/export", params={**query, **more})).text
        for more in ({}, {"format": "json"}, {"format": "json", "end_timestamp_ms": "1"})
    ]
    assert json.loads(whole) == [json.loads(line) for line in lines.splitlines()]
    assert len(json.loads(whole)) == 13
    assert json.loads(none) == []
