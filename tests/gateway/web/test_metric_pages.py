"""The Metrics pages over HTTP: what a model tracked, its truth, its drift, its aggregates."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.web.metric_charts import cell, crosstab, first_shown, flattened, guessed_pair
from gateway.web.metric_query import MetricQuery
from tests.support.browsers import Browser, browser_of, fresh_name
from tests.support.gateway import Gateway, copy_of

NOW = 1_795_262_400_000
HOUR = 3_600_000


@pytest.fixture
async def administrator(shared: Gateway) -> AsyncIterator[Browser]:
    async with browser_of(shared, administrator=True) as browser:
        yield browser


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """What the first test deploys, for all."""
    return {}


@pytest.fixture
async def model(shared: Gateway, made: dict[str, str], tmp_path: Path) -> str:
    """The path of a model whose predictions have a number and a text, and their truth."""
    if not made:
        project = await shared.project(copy_of("tracked", tmp_path), name=fresh_name())
        made["model"] = await shared.model(project, "predict")
        build = await shared.built(made["model"], "tracked.py:predict")
        deployment = await shared.get(await shared.deployed(build))
        made["id"] = deployment["id"]
        key = await shared.key(made["model"])
        for n in range(30):
            request = {"predicted": n + 0.5, "kind": "<b>odd</b>" if n % 3 else "plain"}
            request["<i>name</i>"] = n
            uuid = (await shared.call(key, request)).json()["response"]["uuid"]
            truth = {"actual": 2.0 * n, "actual_kind": "plain"}
            await shared.post("/metrics/delayed", {"prediction_uuid": uuid, "metrics": truth})
        aggregate = {
            "model_deployment_crn": deployment["crn"],
            "metrics": {"mean": {"error": 7.25}},
        }
        await shared.post("/metrics/aggregate", aggregate)
    return made["model"]


async def test_values_of_a_model(administrator: Browser, model: str) -> None:
    """Each value with its numbers, charts and labels; a link shows another one."""
    page = (await administrator.get(f"{model}/metrics")).text
    assert ">Metrics</a>" in (await administrator.get(model)).text
    assert "30 predictions" in page
    for name in ("input.predicted", "input.kind", "actual", "actual_kind"):
        assert f">{name}</a>" in page
    assert "Distribution of actual" in page
    assert "<b>odd</b>" not in page
    assert "&lt;b&gt;odd&lt;/b&gt; 67 %, plain 33 %" in page
    kinds = (await administrator.get(f"{model}/metrics?value=input.kind")).text
    assert "Labels of input.kind over time" in kinds
    nothing = await administrator.get(f"{model}/metrics?time=custom&to=2020-01-01T00:00")
    assert (nothing.status_code, "No metrics here" in nothing.text) == (200, True)
    wrong = await administrator.get(f"{model}/metrics?time=custom&from=yesterday")
    assert (wrong.status_code, "not a time such as" in wrong.text) == (200, True)


async def test_drift_of_a_window(
    administrator: Browser, model: str, made: dict[str, str], shared: Gateway
) -> None:
    """A window beside the time before it, and beside a deployment."""
    crn = (await shared.get(model))["crn"]
    records = (await shared.get("/metrics/latest", model_crn=crn))["metrics"]
    middle = sorted(each["startTimeStampMs"] for each in records)[15]
    drifted = f"{model}/metrics?start_ms={middle}&end_ms={middle + HOUR}&reference=before"
    page = (await administrator.get(drifted)).text
    assert "Strong" in page
    assert "in % of the values" in page
    same = (await administrator.get(f"{model}/metrics?reference={made['id']}")).text
    assert ("Stable" in same, "Strong" in same) == (True, False)
    note = (await administrator.get(f"{model}/metrics?reference=previous")).text
    assert "Choose a time" in note


async def test_predictions_in_pages(administrator: Browser, model: str, shared: Gateway) -> None:
    """The latest first, with their values as columns; an unknown page is refused."""
    page = (await administrator.get(f"{model}/metrics/predictions")).text
    assert page.count('data-label="Prediction"') == 30
    assert "29.5" in page
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    odd = await administrator.get(f"{model}/metrics/predictions?page_token=odd")
    assert (odd.status_code, "is not a token" in odd.text) == (400, True)


async def test_predictions_beside_their_truth(administrator: Browser, model: str) -> None:
    """The pair is found by its names; texts are a table of counts."""
    page = (await administrator.get(f"{model}/metrics/compare")).text
    assert "actual against input.predicted" in page
    assert "30 have both values" in page
    assert "Mean absolute error" in page
    kinds = f"{model}/metrics/compare?x=input.kind&y=actual_kind"
    labels = (await administrator.get(kinds)).text
    assert "33.3 <small>%</small>" in labels
    assert "Equal over time" in labels
    odd = (await administrator.get(f"{model}/metrics/compare?x=nothing&y=%3Ci%3E")).text
    assert ("<i>" in odd, "No prediction has both" in odd) == (False, True)


async def test_names_of_values_stay_text(administrator: Browser, model: str) -> None:
    """Markup in the name of a value is shown as what it is, in tables, charts and forms."""
    name = quote("input.<i>name</i>")
    for path in ("", f"?value={name}", "/predictions", "/compare", f"/compare?x={name}&y={name}"):
        page = (await administrator.get(f"{model}/metrics{path}")).text
        assert ("<i>" in page, "&lt;i&gt;name&lt;/i&gt;" in page) == (False, True), path


async def test_aggregates_of_a_model(administrator: Browser, model: str) -> None:
    """Aggregates are charts and a table of their own."""
    page = (await administrator.get(f"{model}/metrics/aggregates")).text
    assert "mean.error" in page
    assert "7.25" in page


async def test_export_links_work(administrator: Browser, model: str) -> None:
    """The links of the page export what it shows, with the session."""
    page = (await administrator.get(f"{model}/metrics?time=1h")).text
    links = [part.partition('"')[0].replace("&amp;", "&") for part in page.split('href="/api/')[1:]]
    rows = {}
    for link in links:
        if "/metrics/export" in link:
            answer = await administrator.get(f"/api/{link}")
            rows[link.rpartition("format=")[2]] = answer.text
    assert set(rows) == {"csv", "json", "jsonl"}
    assert len(json.loads(rows["json"])) == len(rows["jsonl"].splitlines()) == 31
    assert "metrics.actual" in rows["csv"].partition("\n")[0]


async def test_metrics_of_others_are_not_found(shared: Gateway, model: str) -> None:
    """A user who may not view the project sees no page of its metrics."""
    async with browser_of(shared) as other:
        for part in ("", "/predictions", "/compare", "/aggregates"):
            assert (await other.get(f"{model}/metrics{part}")).status_code == 404


def query_of(**query: str) -> MetricQuery:
    return MetricQuery(query, "crn:model", {"d1": "crn:d1", "d2": "crn:d2"}, NOW)


def test_windows_of_a_query() -> None:
    """A named time ends now; a zoom wins; a deployment of another model is none."""
    assert query_of().window == {"model_crn": "crn:model"}
    assert query_of(time="1h").window["start_timestamp_ms"] == NOW - HOUR
    zoomed = query_of(time="1h", start_ms="1000", end_ms="3000")
    assert zoomed.window | {"model_crn": ""} == {
        "model_crn": "",
        "start_timestamp_ms": 1000,
        "end_timestamp_ms": 3000,
    }
    assert zoomed.kept["from"] == "1970-01-01T00:00:01"
    assert query_of(deployment="d2").window == {"model_deployment_crn": "crn:d2"}
    assert query_of(deployment="odd", time="odd").window == {"model_crn": "crn:model"}


def test_references_of_a_query() -> None:
    """The time before is as long as the window, and ends where it begins."""
    previous = query_of(time="1h", reference="previous").reference_window
    assert previous["reference_end_timestamp_ms"] == NOW - HOUR - 1
    assert previous["reference_start_timestamp_ms"] == NOW - 2 * HOUR - 1
    before = query_of(start_ms="5000", end_ms="9000", reference="before").reference_window
    assert before == {"reference_start_timestamp_ms": 0, "reference_end_timestamp_ms": 4999}
    custom = query_of(reference="custom", reference_from="1970-01-01T00:00:02")
    assert custom.reference_window == {"reference_start_timestamp_ms": 2000}
    assert query_of(reference="d1").reference_window == {"reference_model_deployment_crn": "crn:d1"}
    assert query_of(reference="odd").reference_window == {}


def value(name: str, numbers: bool = True) -> dict[str, Any]:
    return {"name": name, "numbers": {} if not numbers else {"mean": 1}, "labels": []}


def test_values_that_are_shown_first() -> None:
    """A result before an input, and beside its truth."""
    values = [value(name) for name in ("input.x", "input.y", "risk", "left_truth")]
    assert first_shown(values) == "risk"
    assert guessed_pair(values) == ("risk", "left_truth")
    assert guessed_pair([value("a"), value("b")]) == ("b", "a")
    assert (guessed_pair([]), first_shown([])) == (("", ""), "")


def test_records_as_cells() -> None:
    """Objects are opened as the API opens them; a long text is cut."""
    metrics = {"a": {"b": {"c": {"d": 1}}}, "e": [1], "f": None, "g": True}
    flat = flattened(metrics)
    assert flat == {"a.b.c": {"d": 1}, "e": [1], "f": None, "g": True}
    assert [cell(each) for each in flat.values()] == ["{'d': 1}", "[1]", "", "true"]
    assert len(cell("x" * 1000)) == 60
    cells = [("a", "a", 5), ("a", "b", 1), *((f"x{n}", "b", 1) for n in range(20))]
    table = crosstab(cells)
    assert (len(table["labels"]), table["more"]) == (10, 12)
    assert dict(table["rows"])["a"][table["labels"].index("a")] == 5
