"""Experiments in a real browser: run, watch, compare, and take the result into the project."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gateway.client import Json
from tests.support.chromium import Complaints, Person
from tests.support.served_gateway import Gateway, write

FIT = """\
import sys, time, cdsw
rate = float(sys.argv[1])
print("rate", rate, flush=True)
while not __import__("os").path.exists({gate!r}):
    time.sleep(0.05)
cdsw.track_metric("r2", 1 - rate)
cdsw.track_metric("loss", rate)
open("model.txt", "w").write(str(rate))
print("fitted")
"""


@pytest.fixture
def project(gateway: Gateway, person: Person, tmp_path: Path) -> Json:
    code = FIT.format(gate=str(tmp_path / "gate"))
    made = gateway.project(write(tmp_path / f"fit-{person.name}", {"fit.py": code}))
    role = {"permission": "contributor"}
    gateway.client.put(f"/projects/{made['id']}/collaborators/{person.name}", role)
    return made


def test_experiments_are_run_compared_and_their_output_is_taken(
    signed_in: Page, project: Json, tmp_path: Path, complaints: Complaints
) -> None:
    """The session moves while the script runs; two runs are compared; a file of the better one is
    added to the project."""
    page, base = signed_in, f"/projects/{project['id']}"
    for rate in ("0.25", "0.125"):
        page.goto(f"{base}/experiments")
        page.get_by_role("link", name="Run Experiment").first.click()
        page.get_by_label("Script").fill("fit.py")
        page.get_by_label("Arguments").fill(rate)
        page.get_by_role("button", name="Start Run").click()
        if rate == "0.25":
            page.get_by_role("link", name="Session").click()
            log = page.get_by_role("log")
            expect(log).to_contain_text("rate 0.25", timeout=60_000)
            expect(log).not_to_contain_text("fitted")
            (tmp_path / "gate").touch()
            expect(log).to_contain_text("fitted")
        expect(page.get_by_text("Succeeded", exact=True)).to_be_visible(timeout=60_000)
    page.goto(f"{base}/experiments")
    for number in (1, 2):
        page.get_by_label(f"Compare Run-{number}").check()
    page.get_by_role("button", name="Compare").click()
    table = page.get_by_role("region", name="Comparison")
    expect(table.get_by_role("row", name="r2")).to_contain_text("0.875")
    expect(table.get_by_role("row", name="Arguments")).to_contain_text("0.125")
    expect(page.get_by_role("figure").first).to_be_visible()
    table.get_by_role("link", name="Run-2").click()
    page.get_by_role("checkbox", name="model.txt").check()
    page.get_by_role("button", name="Add to Project").click()
    expect(page.get_by_role("status")).to_contain_text("in the project")
    page.goto(f"{base}/file/model.txt")
    expect(page.get_by_label("Text of model.txt")).to_have_value("0.125")
