"""The Metrics tab in a real browser: filters, values, a zoom by dragging, predictions and truth."""

import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gateway.client import Json
from tests.support.chromium import Complaints, Person
from tests.support.served_gateway import Gateway, at, write

_CODE = """
import cdsw

@cdsw.model_metrics
def predict(args):
    cdsw.track_metric("predict_result", args["x"] / 2)
    cdsw.track_metric("kind", "even" if args["x"] % 2 == 0 else "odd")
    return args["x"] / 2
"""
_PREDICTIONS = 40


@pytest.fixture
def model(gateway: Gateway, person: Person, tmp_path: Path) -> Json:
    """A model with predictions whose truth is known for half of them."""
    gateway.client.patch(f"/users/{person.name}", {"administrator": True})
    folder = write(tmp_path / "iris", {"predict.py": _CODE})
    model = gateway.model(gateway.project(folder), "predict")
    gateway.deploy(model, gateway.build(model, "predict.py", "predict"))
    for x in range(_PREDICTIONS):
        uuid = gateway.call(model, {"x": x}).body["response"]["uuid"]
        if x % 2:
            truth = {"prediction_uuid": uuid, "metrics": {"actual_result": x / 2 + 1}}
            gateway.client.post("/metrics/delayed", truth)
    return model


def test_metrics_are_looked_at(
    gateway: Gateway, signed_in: Page, model: Json, complaints: Complaints
) -> None:
    """From the table of values to one of them, to a part of its time, to its truth."""
    page = signed_in
    page.goto(at(model))
    page.get_by_role("link", name="Metrics", exact=True).click()
    table = page.get_by_role("region", name="Tracked values")
    row = table.get_by_role("row", name="actual_result")
    expect(row).to_contain_text("(50 %)")
    numbers = page.locator("figure", has_text="Distribution of").locator("details")
    numbers.locator("summary").click()
    gateway.call(model, {"x": 2})
    expect(page.get_by_text(f"{_PREDICTIONS + 1} predictions")).to_be_visible()
    expect(row).to_contain_text("(48 %)")
    expect(numbers).to_have_attribute("open", "")
    table.get_by_role("link", name="kind").click()
    expect(page.get_by_role("heading", name="kind", exact=True)).to_be_visible()
    expect(page.get_by_role("img", name="Labels of kind over time")).to_be_visible()

    table.get_by_role("link", name="predict_result").click()
    chart = page.get_by_role("img", name="predict_result over time", exact=True)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    expect(page.locator(".chart-tip")).to_contain_text("mean")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 40)
    page.mouse.up()
    page.wait_for_url("**start_ms=**")
    expect(page.get_by_label("Time", exact=True)).to_have_value("custom")
    expect(page.get_by_label("From (UTC)", exact=True)).to_be_visible()
    expect(page.get_by_text(f"{_PREDICTIONS + 1} predictions")).to_have_count(0)

    newest = page.locator("#newest time")
    before = newest.get_attribute("datetime")
    time.sleep(1.1)  # the time is in seconds
    gateway.call(model, {"x": 2})
    expect(newest).not_to_have_attribute("datetime", str(before))
    page.get_by_role("link", name="Compare", exact=True).click()
    page.get_by_label("Time", exact=True).select_option("1 hour")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text(f"{_PREDICTIONS // 2} have both values")).to_be_visible()
    expect(page.get_by_role("img", name="actual_result against predict_result")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert len(download.value.path().read_text().splitlines()) == _PREDICTIONS + 3
